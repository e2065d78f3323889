"""Opens the TensorRT engine of a bundle on this machine's GPU, or says what is missing."""

from __future__ import annotations

from functools import partial

from ovengines.bundle.reader import Bundle
from ovengines.tensorrt.backend import Progress
from ovengines.tensorrt.child import build_in_child
from ovengines.tensorrt.engine import TensorRTEngine
from ovengines.tensorrt.presence import require_tensorrt


def open_tensorrt(
    bundle: Bundle,
    *,
    recipe: str | None = None,
    build: bool = True,
    force: bool = False,
    apart: bool = True,
    progress: Progress | None = None,
) -> TensorRTEngine:
    """Engines are opened when first needed, or by `load`; see TensorRTEngine for the arguments.

    Those that have to be built are, `apart`, in a process of their own each.

    Raises:
        OVError: MISSING_DEPENDENCY without TensorRT, CUDA or a GPU.
    """
    require_tensorrt()
    from ovengines.tensorrt.native import NativeBackend  # imports tensorrt

    elsewhere = partial(build_in_child, bundle.path, recipe=recipe, force=force) if apart else None
    return TensorRTEngine(
        bundle, NativeBackend(), recipe=recipe, build=build, force=force, progress=progress, elsewhere=elsewhere
    )
