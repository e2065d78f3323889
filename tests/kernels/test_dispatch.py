"""Which implementation is chosen, and that nothing about a library that is missing or foreign is an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import ovkernels
from ovkernels import abi, dispatch, implementation, native, reference
from ovrun.commands.doctor import kernels_fact

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def chosen_anew() -> Iterator[None]:
    dispatch.chosen.cache_clear()
    yield
    dispatch.chosen.cache_clear()


def pool_ones() -> np.ndarray:
    return ovkernels.bilinear_token_pool(
        np.ones((2, 3), np.float32), np.zeros((1, 4), np.int32), np.full((1, 4), 0.25, np.float32)
    )


def test_the_library_is_preferred_and_named(native_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVK_LIBRARY", str(native_library))
    assert ovkernels.implementation().startswith("native: libovk")
    assert str(native_library.parent) in ovkernels.implementation()
    assert isinstance(dispatch.chosen().token_pool, native.NativeTokenPool)
    assert pool_ones().tolist() == [[1, 1, 1]]


def test_without_a_library_numpy_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVK_LIBRARY", str(tmp_path / "libovk.so"))
    assert ovkernels.implementation().startswith("numpy: ") and "there is no" in ovkernels.implementation()
    assert dispatch.chosen().token_pool is reference.bilinear_token_pool
    assert pool_ones().tolist() == [[1, 1, 1]]


def test_a_file_that_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libovk.so").write_text("not a library")
    monkeypatch.setenv("OVK_LIBRARY", str(tmp_path / "libovk.so"))
    assert "does not load" in ovkernels.implementation()
    assert pool_ones().tolist() == [[1, 1, 1]]


def test_a_library_of_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    import _ctypes

    monkeypatch.setenv("OVK_LIBRARY", _ctypes.__file__)
    assert ovkernels.implementation().startswith("numpy: ") and "ovk_abi_version" in ovkernels.implementation()


def test_a_library_of_another_abi(native_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVK_LIBRARY", str(native_library))
    monkeypatch.setattr(abi, "ABI_VERSION", abi.ABI_VERSION + 1)
    assert f"has ABI {abi.ABI_VERSION - 1}, not {abi.ABI_VERSION}" in ovkernels.implementation()
    assert pool_ones().tolist() == [[1, 1, 1]]


def test_the_library_of_the_wheel_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OVK_LIBRARY", raising=False)
    assert native.default_file().parent == Path(native.__file__).parent


def test_only_the_library_resamples(native_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVK_LIBRARY", str(native_library))
    assert isinstance(ovkernels.native_resample(), native.NativeResample)
    dispatch.chosen.cache_clear()
    monkeypatch.setenv("OVK_LIBRARY", str(tmp_path / "libovk.so"))
    assert ovkernels.native_resample() is None and dispatch.chosen().resample is reference.resample


def test_doctor_says_what_runs_in_an_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fact = kernels_fact()
    assert fact.name == "kernels" and fact.value.startswith(implementation()) and "resizes pictures" in fact.value
    dispatch.chosen.cache_clear()
    monkeypatch.setenv("OVK_LIBRARY", str(tmp_path / "libovk.so"))
    assert kernels_fact().value.startswith("numpy: ") and "Pillow resizes pictures" in kernels_fact().value
    sources = [file for area in ("runtime", "engines") for file in (ROOT / area).rglob("*.py")]
    importing = {file.name for file in sources if "from ovkernels" in file.read_text()}
    assert importing == {"doctor.py", "resize.py"}, (
        "what else of the kernels runs in an answer now is for doctor to say"
    )
