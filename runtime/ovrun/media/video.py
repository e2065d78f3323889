"""The frames of a video that the model looks at: from a video file, or from a folder of frame images.

Decodes in this process and from the start of the file; knows nothing of tiles or tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import av
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit
from ovrun.log import logger
from ovrun.media.frames import FOLDER_FRAMES, sample_frames, spread_frames
from ovrun.media.image import load_image


def load_frames(path: str | Path, *, fps: float, max_frames: int) -> list[Image.Image]:
    """The frames that `ovrun.media.frames` chooses, as RGB; of a folder ten (at most max_frames), in order of names.

    Raises:
        OVError: BAD_INPUT for what is no video that can be read, LIMIT_EXCEEDED for frames that are too large.
    """
    path = Path(path)
    if path.is_dir():
        return [load_image(file) for file in _folder_files(path, max_frames)]
    num_frames, source_fps = _counted(path)
    images, num_seen = _decode(path, sample_frames(num_frames, source_fps, fps, max_frames))
    if not images and num_seen:
        # The header promised more than there is: choose again among what can be decoded.
        logger.warning("%s: only %d of %d frames can be decoded", path, num_seen, num_frames)
        images, num_seen = _decode(path, sample_frames(num_seen, source_fps, fps, max_frames))
    if not images:
        raise OVError(ExitCode.BAD_INPUT, f"{path} has no frame that can be decoded", "use another video")
    return images


def count_frames(path: str | Path, *, fps: float, max_frames: int) -> int:
    """How many frames `load_frames` gives of a sound video, without decoding one. Raises as it does."""
    path = Path(path)
    if path.is_dir():
        return len(_folder_files(path, max_frames))
    return len(sample_frames(*_counted(path), fps, max_frames))


def _folder_files(folder: Path, max_frames: int) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    if not files:
        raise OVError(ExitCode.BAD_INPUT, f"the folder {folder} has no frames", "use another video")
    return [files[index] for index in spread_frames(len(files), min(FOLDER_FRAMES, max_frames))]


def _counted(path: Path) -> tuple[int, float]:
    """Frames and frames per second; the packets are counted where the header does not say."""
    with _opened(path) as (container, stream):
        context = stream.codec_context
        check_limit("image_pixels", context.width * context.height, f"{path} has frames of")
        num_frames = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
        return num_frames, float(stream.average_rate or stream.guessed_rate or 1)


def _decode(path: Path, wanted: Sequence[int]) -> tuple[list[Image.Image], int]:
    """The wanted frames and how many were seen until the last of them; no frames if the video ends before it."""
    images: dict[int, Image.Image] = {}
    last, num_seen = max(wanted, default=-1), 0
    with _opened(path) as (container, stream):
        stream.codec_context.thread_count = 1  # videos are decoded side by side, in the workers of a loader
        missing = set(wanted)
        for frame in container.decode(stream):
            if num_seen in missing:
                images[num_seen] = frame.to_image()
            num_seen += 1
            if num_seen > last:
                return [images[index] for index in wanted], num_seen
    return [], num_seen


@contextmanager
def _opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    if not path.is_file():
        raise OVError(ExitCode.BAD_INPUT, f"{path} does not exist", "check the path")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise OVError(ExitCode.BAD_INPUT, f"{path} has no video in it", "use another video")
            yield container, container.streams.video[0]
    except (MemoryError, OVError):
        raise
    except Exception as err:  # decoders raise nearly every type there is on damaged files
        raise OVError(ExitCode.BAD_INPUT, f"{path} is not a video that can be decoded", "use another video") from err
