"""The frames of a video as training takes them: decoded in this process, from files that are trusted.

The same frames as `ovrun.media.clip` gives. Made for the workers of a data loader: one thread each.
"""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

from ovrun.log import logger
from ovrun.media.animation import is_animation
from ovrun.media.container import decoder_errors, open_video
from ovrun.media.decoding import decode_clip
from ovrun.media.frames import FrameSampling
from ovrun.media.source import choose_files, folder_files, load_images, open_file


def load_frames(path: str | Path, *, fps: float, max_frames: int) -> list[Image.Image]:
    """The frames that `ovrun.media.frames` chooses, as RGB; of a folder ten (at most max_frames), in order of names.

    Raises:
        OVError: BAD_INPUT for what is no video that can be read, LIMIT_EXCEEDED for frames that are too large.
    """
    path, sampling = Path(path), FrameSampling(fps=fps, max_frames=max_frames)
    if os.path.isdir(path):
        files = folder_files(path)
        return load_images(files, choose_files(len(files), sampling))
    images: dict[int, Image.Image] = {}
    with open_file(path) as file:
        chosen = decode_clip(file, sampling, label=str(path), emit=images.__setitem__)
    for warning in chosen.warnings:
        logger.warning("%s", warning)
    return [images[index] for index in chosen.indices]


def count_frames(path: str | Path, *, fps: float, max_frames: int) -> int:
    """How many frames `load_frames` gives of a sound video, without decoding one. Raises as it does."""
    path, sampling = Path(path), FrameSampling(fps=fps, max_frames=max_frames)
    if os.path.isdir(path):
        return len(choose_files(len(folder_files(path)), sampling))
    with open_file(path) as file, decoder_errors(str(path)):
        if is_animation(file):  # how many frames it has is only known at its end
            return len(decode_clip(file, sampling, label=str(path), emit=lambda index, image: None).indices)
        with open_video(file, str(path)) as video:
            counted = video.stream.frames or sum(1 for packet in video.container.demux(video.stream) if packet.size)
            return len(sampling.choose(counted, video.fps or 1.0))
