"""IMAGE -> TEXT: answers questions about images with a bundle made by `ovexport build`. Never imports torch.

Lazy (PEP 562): importing the package costs nothing until a name is used, so that embedding it stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ovengines.errors import ExitCode, OVError
    from ovrun.options import GenerationOptions
    from ovrun.result import Result, TextStream
    from ovrun.session import Session

_HOME_OF = {
    "ExitCode": "ovengines.errors",
    "GenerationOptions": "ovrun.options",
    "OVError": "ovengines.errors",
    "Result": "ovrun.result",
    "Session": "ovrun.session",
    "TextStream": "ovrun.result",
}

__all__ = ["ExitCode", "GenerationOptions", "OVError", "Result", "Session", "TextStream"]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'ovrun' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
