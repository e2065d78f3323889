"""bfloat16 for ONNX Runtime: refused where it can't run, proved as far as a CPU can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from ovengines import Bundle, open_bundle
from ovengines.devices import open_engine
from ovengines.errors import ExitCode, OVError
from ovengines.onnxruntime.planes import PlaneShape
from ovengines.onnxruntime.sessions import open_session
from ovexport.verify.widened import open_to_compare

ROLES = ("vision", "projector", "decoder")


@pytest.fixture(scope="module")
def bundle(build_tiny: Callable[[str], Path]) -> Bundle:
    """Compared with PyTorch when it was built."""
    return open_bundle(build_tiny("bf16"))


def test_it_has_no_decoder_for_cpus(bundle: Bundle) -> None:
    assert bundle.manifest.roles("ort") == ROLES
    assert bundle.manifest.graph("decoder", "ort").cache_dtype == "bfloat16"


@pytest.mark.parametrize("role", ROLES)
def test_onnxruntime_takes_its_types(bundle: Bundle, role: str) -> None:
    """A session fails on a CPU for want of a kernel only: before that, the types of all nodes are checked."""
    with pytest.raises(Exception, match=r"NOT_IMPLEMENTED.*Could not find an implementation"):
        ort.InferenceSession(
            str(bundle.graph_file(bundle.manifest.graph(role, "ort"))), providers=["CPUExecutionProvider"]
        )


def test_a_cpu_refuses_it(bundle: Bundle) -> None:
    with pytest.raises(OVError, match="bfloat16") as caught:
        open_engine(bundle, "cpu")
    assert caught.value.code is ExitCode.USAGE and "--device cuda" in caught.value.hint
    with pytest.raises(OVError, match="device cuda is not available"):
        open_engine(bundle)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_float32_with_rounded_weights(bundle: Bundle, seed: int, build_tiny: Callable[[str], Path]) -> None:
    exact = open_to_compare(open_bundle(build_tiny("fp32")), 1)
    rounded = open_to_compare(bundle, 1)
    ids_1S = np.random.default_rng(seed).integers(10, 400, (1, 40))
    logits = [
        engine.decode(engine.new_cache(40), ids_1S, logits_index_BK=np.arange(40)[None]) for engine in (exact, rounded)
    ]
    error = np.abs(logits[0] - logits[1]).max() / np.abs(logits[0]).max()
    assert 1e-5 < error < 5e-2, f"{seed=}"  # 2**-9 for each weight


def test_what_is_too_old_is_told(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "__version__", "1.26.0")
    with pytest.raises(OVError, match=r"needs onnxruntime 1\.27 or newer, and this is 1\.26") as caught:
        open_session(bundle, "vision", 1)
    assert caught.value.code is ExitCode.MISSING_DEPENDENCY and "--upgrade" in caught.value.hint


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_is_not_there_is_an_error(build_tiny: Callable[[str], Path]) -> None:
    """ONNX Runtime itself warns, and goes on with the CPU."""
    bundle = open_bundle(build_tiny("fp16"))
    assert "CUDAExecutionProvider" not in ort.get_available_providers()
    with pytest.raises(OVError, match="could not load its CUDAExecutionProvider") as caught:
        open_session(bundle, "projector", 1, ("CUDAExecutionProvider", "CPUExecutionProvider"))
    assert caught.value.code is ExitCode.MISSING_DEPENDENCY and "doctor" in caught.value.hint


def test_memory_is_bound_by_onnx_numbers(bundle: Bundle) -> None:
    """What the cache hands to ONNX Runtime for the type that NumPy lacks."""
    shape = PlaneShape(count=2, slots=1, heads=2, head_dim=16, dtype="bfloat16")
    assert (shape.item_bytes, shape.element) == (2, 16)
