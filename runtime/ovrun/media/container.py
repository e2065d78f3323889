"""Opens a video file for libav with nothing but its bytes, and turns what libav raises into our errors.

Untrusted: only formats that hold pictures themselves are tried, so that no playlist can name another file, and
nothing else can be opened from within one. Knows no frames.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import av

from ovengines.errors import ExitCode, OVError
from ovrun.limits import limit_error, limit_value
from ovrun.media.chosen import check_frame_size

FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "mxf", "nut", "ivf"),
    *("h264", "hevc", "m4v", "obu", "mjpeg", "yuv4mpegpipe"),
)
FORMAT_HINT = (
    "give a video file such as MP4, MKV, WebM, AVI, MPEG-TS or GIF, and all of it: an MP4's index may be its end"
)
_DISCARD = getattr(av.stream, "Discard", None)  # newer versions of PyAV: packets of the sound are not even read
READ_BYTES = 1 << 18  # per call back into Python


@dataclass(frozen=True, kw_only=True, eq=False)
class Video:
    """An open file and its first video stream; `label` is its name in messages."""

    container: av.container.InputContainer
    stream: av.video.stream.VideoStream
    label: str

    @property
    def fps(self) -> float | None:
        """Frames per second as the header or libav's first look says; None if neither does."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(rate) if rate else None


@contextmanager
def open_video(file: IO[bytes], label: str, num_threads: int = 1) -> Iterator[Video]:
    """The video in `file` (from its start, seekable). Closes the container, not the file.

    Raises:
        OVError: BAD_INPUT for what is no video, LIMIT_EXCEEDED for frames that are too large.
    """
    file.seek(0)
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
    with av.open(file, "r", container_options=options, metadata_errors="replace", buffer_size=READ_BYTES) as container:
        stream = _first_video(container, label)
        context = stream.codec_context
        check_frame_size(context.width, context.height, label)
        context.options = {"max_pixels": str(limit_value("video_pixels"))}  # for sizes that change on the way
        context.thread_count = num_threads
        context.thread_type = "AUTO" if num_threads > 1 else "SLICE"
        yield Video(container=container, stream=stream, label=label)


def _first_video(container: av.container.InputContainer, label: str) -> av.video.stream.VideoStream:
    found = None
    for stream in container.streams:
        if found is None and isinstance(stream, av.video.stream.VideoStream) and not _is_cover(stream):
            found = stream
        elif _DISCARD is not None:
            stream.discard = _DISCARD.all
    if found is None:
        raise OVError(ExitCode.BAD_INPUT, f"{label} has no video in it", FORMAT_HINT)
    return found


def _is_cover(stream: av.stream.Stream) -> bool:
    """The picture of an album in a sound file is a video stream too."""
    return bool(int(getattr(stream, "disposition", 0)) & 0x400)  # AV_DISPOSITION_ATTACHED_PIC


@contextmanager
def decoder_errors(label: str) -> Iterator[None]:
    """Everything that decoders raise as an OVError without a word of theirs; lack of memory as its limit."""
    try:
        yield
    except OVError:
        raise
    except Exception as err:  # decoders raise nearly every type there is on damaged files
        if _is_out_of_memory(err):
            raise limit_error("video_memory_bytes", f"{label} needs too much memory to decode") from err
        raise OVError(ExitCode.BAD_INPUT, f"{label} is not a video that can be decoded", FORMAT_HINT) from err


def pass_on_no_memory(err: Exception) -> None:
    """Raises `err` again if it is lack of memory, which is no fault of the file and must not pass for one."""
    if _is_out_of_memory(err):
        raise err


def _is_out_of_memory(err: Exception) -> bool:
    """EAGAIN: there was no address space for another thread."""
    return isinstance(err, MemoryError) or getattr(err, "errno", None) in (errno.ENOMEM, errno.EAGAIN)
