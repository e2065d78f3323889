"""The decoding process: `python -m ovrun.media.decoder REQUEST` reads a video from stdin and sends frames to stdout.

It is started by `ovrun.media.isolated` for one video and locks itself in before it reads a byte: limits on memory,
processor time and files. REQUEST is JSON: label, sampling, num_threads.
"""

from __future__ import annotations

import json
import os
import pkgutil
import sys
from contextlib import suppress
from importlib import import_module
from typing import IO, Any

import av
from PIL import Image

from ovengines.errors import OVError
from ovrun.limits import limit_value
from ovrun.media import wire
from ovrun.media.decoding import decode_clip
from ovrun.media.frames import FrameSampling

try:
    import resource
except ImportError:  # Windows: the parent's clock is the only limit
    resource = None  # type: ignore[assignment]


def main() -> int:
    request = json.loads(sys.argv[1])
    av.logging.set_level(av.logging.PANIC)  # libav's words hold addresses
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    file = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    try:
        _import_rest()
        _lock_in(request["num_threads"])
        _decode(file, pipe, request)
    except OVError as err:
        wire.send_error(pipe, err)
    pipe.flush()
    return 0


def _decode(file: IO[bytes], pipe: IO[bytes], request: dict[str, Any]) -> None:
    chosen = decode_clip(
        file,
        FrameSampling(**request["sampling"]),
        label=request["label"],
        emit=lambda index, image: wire.send_frame(pipe, index, image),
        num_threads=request["num_threads"],
    )
    wire.send_chosen(pipe, chosen)


def _import_rest() -> None:
    """What PyAV and Pillow import on first use, which is too late once nothing can be opened. Takes 40 ms."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith(("__main__", "datasets")):
            with suppress(ImportError):  # what can't be imported now could not have been later
                import_module(module.name)
    Image.preinit()
    import_module("PIL.WebPImagePlugin")


def _lock_in(num_threads: int) -> None:
    """From here on: no new file, socket or pipe, nothing written to disk, no core, bounded memory and time."""
    if resource is None:
        return
    _limit("RLIMIT_AS", limit_value("video_memory_bytes"))
    _limit("RLIMIT_CPU", limit_value("video_seconds") * num_threads)
    _limit("RLIMIT_CORE", 0)
    _limit("RLIMIT_FSIZE", 0)
    _limit("RLIMIT_NOFILE", 0)


def _limit(name: str, value: int) -> None:
    """Lowers a limit for good. Where the system has none of the name or refuses, the parent's clock remains."""
    with suppress(AttributeError, ValueError, OSError):
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    sys.exit(main())
