"""Which frames of a video are looked at: pure index arithmetic, as in training.

Knows counts and rates; no files and no pixels. Used by `ovrun.media.video`.
"""

from __future__ import annotations

import numpy as np

FOLDER_FRAMES = 10  # of a folder of frame images, whatever it holds (LLaVA-NeXT, for ShareGPT4Video)


def sample_frames(num_frames: int, source_fps: float, fps: float, max_frames: int) -> list[int]:
    """A frame every 1/fps seconds from the first on; where that is more than `max_frames`, so many evenly spread.

    As LLaVA-NeXT `process_video_with_decord`: the step is a whole number of frames. (A source slower than half of
    `fps` fails there; here every frame is taken.)
    """
    step = max(1, round(source_fps / fps))
    every = range(0, num_frames, step)
    return list(every) if len(every) <= max_frames else spread_frames(num_frames, max_frames)


def spread_frames(num_frames: int, count: int) -> list[int]:
    """`count` frames from the first to the last; fewer frames than that are repeated."""
    return np.linspace(0, num_frames - 1, count, dtype=int).tolist() if num_frames else []
