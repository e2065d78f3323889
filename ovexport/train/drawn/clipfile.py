"""Writes a few frames as an MP4 of one frame per second.

The bytes depend on the frames alone: one encoder thread, no time stamps. Knows nothing of what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import cast

import av
from PIL import Image

_CODECS: dict[str, dict[str, str]] = {  # by preference; yuv420p decodes everywhere
    "libx264": {"crf": "12", "preset": "ultrafast", "x264-params": "threads=1"},
    "mpeg4": {"qmin": "1", "qmax": "2"},
}


@cache
def _codec() -> str:
    return next(name for name in _CODECS if name in av.codecs_available)


def write_clip(path: Path, frames: Sequence[Image.Image]) -> None:
    """`frames` are RGB, all of one size with even sides."""
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = cast(av.VideoStream, container.add_stream(_codec(), rate=1, options=_CODECS[_codec()]))
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = 1  # any frame can be read without the ones before it
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
