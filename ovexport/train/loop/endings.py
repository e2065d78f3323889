"""What ends a stage early, as an error that says what is kept and what the next run does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from ovengines.errors import ExitCode, OVError
from ovengines.replacement import FULL
from ovexport.train.loop.state import latest_state, step_of


@contextmanager
def told_endings(states: Path) -> Iterator[None]:
    """Raises OVError: INTERRUPTED, OUT_OF_MEMORY, LIMIT_EXCEEDED for a full disk, UNEXPECTED for a loss of NaN and for
    another process that has ended.
    """
    try:
        yield
    except tuple(_ENDINGS) as err:
        told = next(tell for kind, tell in _ENDINGS.items() if isinstance(err, kind))
        error = told(err, _goes_on(states))
        if error is None:
            raise
        raise error from err


def _goes_on(states: Path) -> str:
    latest = latest_state(states)
    return f"the same command goes on after step {step_of(latest)}" if latest else "no state was saved yet"


def _interrupted(err: BaseException, then: str) -> OVError:
    return OVError(ExitCode.INTERRUPTED, "interrupted", then)


def _diverged(err: BaseException, then: str) -> OVError:
    return OVError(ExitCode.UNEXPECTED, str(err), f"give lower rates or look at the data of that step; {then}")


def _no_device_memory(err: BaseException, then: str) -> OVError:
    return OVError(
        ExitCode.OUT_OF_MEMORY,
        "the device is out of memory",
        "give a smaller --device-batch or --max-length, --recompute true, or more devices with --parallel fsdp",
    )


def _disk(err: BaseException, then: str) -> OVError | None:
    if not isinstance(err, OSError) or err.errno not in FULL:
        return None
    return OVError(ExitCode.LIMIT_EXCEEDED, f"the disk is full: {err.filename or err.strerror}", f"free space; {then}")


def _alone(err: BaseException, then: str) -> OVError | None:
    if not isinstance(err, dist.DistError) and "gloo" not in str(err):
        return None
    return OVError(ExitCode.UNEXPECTED, "another process has ended, and all are needed", f"see what it said; {then}")


_ENDINGS: dict[type[BaseException], Callable[[BaseException, str], OVError | None]] = {
    KeyboardInterrupt: _interrupted,
    FloatingPointError: _diverged,
    torch.OutOfMemoryError: _no_device_memory,
    OSError: _disk,
    RuntimeError: _alone,  # after its kinds above
}
