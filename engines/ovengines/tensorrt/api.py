"""Where the versions of TensorRT's Python API differ, and the one logger. All else is the same from 10.3 to 11.4.

Checked against the real bindings of several versions by tests/engines/tensorrt/test_tensorrt_api.py.
"""

from __future__ import annotations

import tensorrt as trt

from ovengines.errors import ExitCode, OVError


class Log(trt.ILogger):
    """Keeps TensorRT's latest errors, to be told with what failed; says nothing itself."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
            self.errors = [*self.errors[-2:], " ".join(msg.split())[:300]]

    def take(self) -> str:
        """What was logged since the last call; what comes first is usually the cause."""
        text, self.errors = "; ".join(self.errors), []
        return text or "TensorRT gives no reason"


def hardware_level(name: str) -> trt.HardwareCompatibilityLevel:
    """One of recipe.HARDWARE_LEVELS. Raises OVError (USAGE) for one that came after this version."""
    level = trt.HardwareCompatibilityLevel.__members__.get(name.upper())  # SAME_COMPUTE_CAPABILITY is not in 10.3
    if level is None:
        raise OVError(
            ExitCode.USAGE,
            f"TensorRT {trt.__version__} has no hardware_compatibility = {name}",
            "set it to none in the recipe",
        )
    return level


def strongly_typed() -> int:
    """The network flag; a network is never anything else from 11.0 on, which still takes it."""
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
