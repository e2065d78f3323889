"""The chosen frames of an animated GIF, WebP or PNG, by Pillow: libav reads no animated WebP.

Frames are whole pictures as a viewer shows them, without their alpha, as `ovrun.media.image` takes a still.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, count
from typing import IO

from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit
from ovrun.media.chosen import ChosenFrames, Emit, check_clip_bytes, check_frame_size
from ovrun.media.container import pass_on_no_memory
from ovrun.media.frames import FrameSampling

FORMATS = ("GIF", "WEBP", "PNG")
UNTIMED_MS = 100.0  # viewers show a frame that asks for 10 ms or less for so long


def is_animation(file: IO[bytes]) -> bool:
    """Whether the file begins as one of the formats does; nothing is decoded."""
    file.seek(0)
    head = file.read(12)
    return head[:4] == b"GIF8" or (head[:4] == b"RIFF" and head[8:] == b"WEBP") or head[:8] == b"\x89PNG\r\n\x1a\n"


def decode_animation(file: IO[bytes], sampling: FrameSampling, *, label: str, emit: Emit) -> ChosenFrames:
    """Gives the chosen frames to `emit`. Decodes twice: how many frames there are is only known at the end.

    Raises:
        OVError: BAD_INPUT for a still picture, LIMIT_EXCEEDED for too many or too large frames; and whatever Pillow
            raises for a file that it can't open.
    """
    with _opened(file, label) as image:
        durations_ms, damaged = _durations_ms(image, label)
    if not durations_ms:
        raise OVError(ExitCode.BAD_INPUT, f"{label} has no frame that can be decoded", "get the file again")
    if len(durations_ms) == 1 and not damaged:
        raise OVError(ExitCode.BAD_INPUT, f"{label} is a still picture, not a video", "give it as an image")
    ends_s = [end_ms / 1000 for end_ms in accumulate(durations_ms)]
    indices = sampling.choose(len(ends_s), len(ends_s) / ends_s[-1])
    warning = f"{label} is damaged or cut off: only {len(ends_s):,} frames can be decoded"
    with _opened(file, label) as image:
        check_clip_bytes(indices, *image.size, label)
        for index in _loaded(image, max(indices)):
            if index in indices:
                emit(index, image.convert("RGB"))
    return ChosenFrames(
        num_frames=len(ends_s),
        duration_s=ends_s[-1],
        indices=tuple(indices),
        times_s=tuple(ends_s[index - 1] if index else 0.0 for index in indices),
        warnings=(warning,) if damaged else (),
    )


def _opened(file: IO[bytes], label: str) -> Image.Image:
    file.seek(0)
    image = Image.open(file, formats=FORMATS)
    check_frame_size(*image.size, label)
    return image


def _loaded(image: Image.Image, last: int | None = None) -> Iterator[int]:
    """The number of each frame, up to `last`, once its pixels are there."""
    for index in count():
        try:
            image.seek(index)
        except EOFError:
            return
        image.load()
        yield index
        if index == last:
            return


def _durations_ms(image: Image.Image, label: str) -> tuple[list[float], bool]:
    """For how long each frame is shown, and whether the file ended in an error."""
    durations_ms: list[float] = []
    try:
        for index in _loaded(image):
            check_limit("video_frames", index + 1, f"{label} has at least")
            shown_ms = float(image.info.get("duration", 0))
            durations_ms.append(shown_ms if shown_ms > 10 else UNTIMED_MS)
    except OVError:
        raise
    except Exception as err:  # decoders raise nearly every type there is on damaged files
        pass_on_no_memory(err)
        return durations_ms, True
    return durations_ms, False
