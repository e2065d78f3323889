"""A video, from wherever it comes, as the frames that the model looks at and when each is shown.

Video files are untrusted and decoded in a process of their own (`ovrun.media.isolated`). Knows nothing of tiles.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit
from ovrun.media.frames import RELEASED_SAMPLING, FrameSampling, spread_frames
from ovrun.media.image import ImageSource
from ovrun.media.isolated import decode_isolated
from ovrun.media.source import choose_files, folder_files, load_images, open_bytes, open_file
from ovrun.progress import Progress, no_progress

VideoSource = str | os.PathLike[str] | bytes | Sequence[ImageSource]


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """Chosen frames: upright RGB, when each is shown, and its number among the clip's `num_frames`.

    A frame that is chosen twice is the same object twice. `times_s` and `duration_s` count from the first frame;
    frame images have no times: () and None. `warnings` are sentences for a person.
    """

    frames: tuple[Image.Image, ...]
    times_s: tuple[float, ...]
    indices: tuple[int, ...]
    num_frames: int
    duration_s: float | None
    warnings: tuple[str, ...]


def load_clip(
    source: VideoSource, sampling: FrameSampling = RELEASED_SAMPLING, on_progress: Progress = no_progress
) -> Clip:
    """The frames of a video that `sampling` chooses.

    Args:
        source: path of a video file or animation (MP4, MKV, WebM, AVI, MPEG-TS, GIF, animated WebP ...), or its bytes;
            path of a folder of frame images, in order of their names; or the frames themselves.
        sampling: of a folder, neither number given means ten frames, as released; of frames, all of them.
        on_progress: called several times a second; what it raises ends the decoding.

    Raises:
        OVError: BAD_INPUT for what is no video that can be read, LIMIT_EXCEEDED for one that is too much, USAGE for
            frames per second of frames that have no times.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        with open_bytes(source, "the video") as file:
            return _from_file(file, sampling, "the video", on_progress)
    if isinstance(source, (str, os.PathLike)):
        if os.path.isdir(source):
            files = folder_files(Path(source))
            _refuse_fps(sampling, f"the folder {source}")
            return _from_images(files, choose_files(len(files), sampling), on_progress)
        with open_file(source) as file:
            return _from_file(file, sampling, str(source), on_progress)
    if isinstance(source, (list, tuple)):
        return _from_sequence(source, sampling, on_progress)
    raise OVError(
        ExitCode.BAD_INPUT, f"{type(source).__name__} is not a video", "give a path, bytes, or a list of frames"
    )


def _from_file(file: IO[bytes], sampling: FrameSampling, label: str, on_progress: Progress) -> Clip:
    images, chosen = decode_isolated(file, sampling, label, on_progress)
    return Clip(
        frames=tuple(images[index] for index in chosen.indices),
        times_s=chosen.times_s,
        indices=chosen.indices,
        num_frames=chosen.num_frames,
        duration_s=chosen.duration_s,
        warnings=chosen.warnings,
    )


def _from_sequence(frames: Sequence[ImageSource], sampling: FrameSampling, on_progress: Progress) -> Clip:
    if not frames:
        raise OVError(ExitCode.BAD_INPUT, "the video has no frames", "give at least one")
    _refuse_fps(sampling, "a list of frames")
    count = len(frames) if sampling.num_frames is None else sampling.num_frames
    check_limit("frames", count, "the video has")
    return _from_images(frames, spread_frames(len(frames), count), on_progress)


def _refuse_fps(sampling: FrameSampling, what: str) -> None:
    if sampling.fps is not None:
        raise OVError(ExitCode.USAGE, f"{what} has no times to take frames per second from", "give num_frames instead")


def _from_images(sources: Sequence[ImageSource], indices: Sequence[int], on_progress: Progress) -> Clip:
    return Clip(
        frames=tuple(load_images(sources, indices, on_progress)),
        times_s=(),
        indices=tuple(indices),
        num_frames=len(sources),
        duration_s=None,
        warnings=(),
    )
