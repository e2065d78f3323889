"""Finds what a video is made of: the bytes of one file, or the images of a folder. Knows no formats."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit
from ovrun.media.frames import FOLDER_FRAMES, FrameSampling, spread_frames
from ovrun.media.image import ImageSource, load_image
from ovrun.progress import Progress, no_progress, told

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|(data|concat|subfile|pipe):")
_PATH_HINT = "check the path"


def open_file(path: str | os.PathLike[str]) -> IO[bytes]:
    """The plain file, unbuffered, links followed. Raises OVError (BAD_INPUT, or LIMIT_EXCEEDED for its size)."""
    label = str(path)
    if _URL.match(label) and not os.path.lexists(label):
        raise OVError(ExitCode.BAD_INPUT, f"{label} is an address, and only files are read", "download it first")
    try:
        # Not to wait for the other end of a pipe.
        descriptor = os.open(label, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as err:
        raise OVError(ExitCode.BAD_INPUT, f"{label} does not exist", _PATH_HINT) from err
    except (OSError, ValueError) as err:  # ValueError: a null character in the path
        reason = getattr(err, "strerror", None) or "not a usable path"
        raise OVError(ExitCode.BAD_INPUT, f"{label} can't be read: {reason}", _PATH_HINT) from err
    file = os.fdopen(descriptor, "rb", buffering=0)
    try:
        _check_file(os.fstat(descriptor), label)
    except OVError:
        file.close()
        raise
    return file


def _check_file(info: os.stat_result, label: str) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise OVError(ExitCode.BAD_INPUT, f"{label} is not a plain file", "give a video file, or a folder of images")
    if not info.st_size:
        raise OVError(ExitCode.BAD_INPUT, f"{label} is empty (0 bytes)", "get the file again")
    check_limit("video_bytes", info.st_size, f"{label} has")


def open_bytes(encoded: bytes | bytearray | memoryview, label: str) -> IO[bytes]:
    """A temporary file that has no name and ends with its last user. Raises OVError as `open_file` does."""
    if not encoded:
        raise OVError(ExitCode.BAD_INPUT, f"{label} is empty (0 bytes)", "get the file again")
    check_limit("video_bytes", len(encoded), f"{label} has")
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the caller closes it
    rest = memoryview(encoded)
    while rest:  # the system takes at most 2 GiB at a time
        rest = rest[file.write(rest) :]
    return file


def folder_files(folder: Path) -> list[Path]:
    """The files of a folder of frames by name, hidden ones left out. Raises OVError (BAD_INPUT) if there are none."""
    try:
        files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    except OSError as err:
        raise OVError(ExitCode.BAD_INPUT, f"the folder {folder} can't be read: {err.strerror}", _PATH_HINT) from err
    if not files:
        raise OVError(ExitCode.BAD_INPUT, f"the folder {folder} has no frames", "use another video")
    return files


def choose_files(num_files: int, sampling: FrameSampling) -> list[int]:
    """Of a folder ten frames (at most `max_frames`), the released rule; or `num_frames`, if that is given."""
    count = sampling.num_frames or min(FOLDER_FRAMES, sampling.max_frames)
    check_limit("frames", count, "asked for")
    return spread_frames(num_files, count)


def load_images(
    sources: Sequence[ImageSource], indices: Sequence[int], on_progress: Progress = no_progress
) -> list[Image.Image]:
    """The images with these numbers, each loaded once."""
    numbers = told(sorted(set(indices)), "opening the frames", on_progress)
    loaded = {index: load_image(sources[index]) for index in numbers}
    return [loaded[index] for index in indices]
