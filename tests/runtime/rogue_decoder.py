"""Stands in for the decoding process and behaves as badly as OV_ROGUE says."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time


def say(message: object) -> None:
    sys.stdout.buffer.write((message if isinstance(message, str) else json.dumps(message)).encode() + b"\n")
    sys.stdout.buffer.flush()


def frame(index: object = 0, width: object = 2, height: object = 2, num_bytes: int = 12) -> None:
    say({"frame": index, "width": width, "height": height})
    sys.stdout.buffer.write(bytes(num_bytes))


def chosen(**changes: object) -> None:
    fields = {"num_frames": 1, "duration_s": 1.0, "indices": [0], "times_s": [0.0], "warnings": []}
    say({"chosen": fields | changes})


def frames_without_end() -> None:
    for index in range(1_000_000):
        frame(index, 1000, 1000, 3_000_000)


def attempts_after_locking_in() -> None:
    """Says which of the things succeed that the real process must not be able to do."""
    from ovrun.media import decoder

    decoder._import_rest()
    decoder._lock_in(1)
    done = []
    for name, attempt in {
        "read": lambda: open("/etc/hostname"),  # noqa: SIM115
        "write": lambda: open("/tmp/ovrun-rogue", "w"),  # noqa: SIM115
        "pipe": os.pipe,
        "memory": lambda: bytearray(8 << 30),
    }.items():
        try:
            attempt()
            done.append(name)
        except (OSError, MemoryError):
            pass
    say({"error": {"code": 3, "message": f"did {done}", "hint": ""}})


ROGUES = {
    "crash": lambda: ctypes.string_at(0),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "processor time": lambda: os.kill(os.getpid(), signal.SIGXCPU),
    "exit": lambda: sys.exit(1),
    "nothing": lambda: None,
    "sleep": lambda: time.sleep(60),
    "half a frame": lambda: frame(num_bytes=5),
    "text": lambda: say("Segmentation fault at 0x7fffdeadbeef"),
    "a list": lambda: say([1]),
    "deep": lambda: say("[" * 500_000),
    "line without end": lambda: [sys.stdout.buffer.write(b"x" * 1_000_000) for _ in range(100_000)],
    "frames without end": frames_without_end,
    "huge frame": lambda: frame(0, 1 << 30, 1 << 30),
    "negative size": lambda: frame(0, -2, -2),
    "size of text": lambda: frame(0, "2", 2),
    "size of nan": lambda: say('{"frame": 0, "width": NaN, "height": 2}'),
    "no frames": chosen,
    "other frames": lambda: (frame(1), chosen()),
    "times missing": lambda: (frame(), chosen(times_s=[])),
    "many indices": lambda: (frame(), chosen(indices=[0] * 5000, times_s=[0.0] * 5000)),
    "indices of text": lambda: (frame(), chosen(indices=["0"])),
    "unknown code": lambda: say({"error": {"code": 0, "message": "", "hint": ""}}),
    "control characters": lambda: say({"error": {"code": 3, "message": "\x1b[2Jgone\n" + "x" * 9000, "hint": ""}}),
    "environment": lambda: say({"error": {"code": 3, "message": " ".join(os.environ), "hint": ""}}),
    "attempts": attempts_after_locking_in,
}

if __name__ == "__main__":
    ROGUES[os.environ["OV_ROGUE"]]()
