"""Which frames of a video are looked at: pure index arithmetic, as in training.

Knows counts and rates; no files and no pixels. Used by whatever reads a clip (`ovrun.media.decoding`, `.animation`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit

FOLDER_FRAMES = 10  # of a folder of frame images, whatever it holds (LLaVA-NeXT, for ShareGPT4Video)


@dataclass(frozen=True, kw_only=True)
class FrameSampling:
    """How the frames of a clip are chosen; `num_frames` and `fps` exclude each other.

    `num_frames`: so many, evenly spread from the first frame to the last (the released inference).
    `fps`: one every 1/fps seconds, or `max_frames` evenly spread where that would be more (the released training).
    Neither: `max_frames` evenly spread; 32 is what lmms-eval takes to evaluate the released model.
    A clip of fewer frames than are to be spread gives some of them twice, as released.

    Raises:
        OVError: USAGE for both at once, or for a number that is not above zero.
    """

    num_frames: int | None = None
    fps: float | None = None
    max_frames: int = 32

    def __post_init__(self) -> None:
        if self.num_frames is not None and self.fps is not None:
            raise OVError(
                ExitCode.USAGE,
                "num_frames and fps are both given",
                "give one; max_frames is the cap that goes with fps",
            )
        for name, value in (("num_frames", self.num_frames), ("max_frames", self.max_frames)):
            if value is not None and value < 1:
                raise OVError(ExitCode.USAGE, f"{name} is {value}, not above zero", "give at least 1")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise OVError(ExitCode.USAGE, f"fps is {self.fps}, not above zero", "give frames per second, such as 1")

    def choose(self, num_frames: int, source_fps: float) -> list[int]:
        """The frames of a clip of `num_frames`, in order. Raises OVError (LIMIT_EXCEEDED) for too many."""
        count = self.num_frames or self.max_frames
        if self.fps is not None:
            count = min(count, num_frames)
        check_limit("frames", count, "asked for")
        if self.fps is not None:
            return sample_frames(num_frames, source_fps, self.fps, self.max_frames)
        return spread_frames(num_frames, count)


RELEASED_SAMPLING = FrameSampling()


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
