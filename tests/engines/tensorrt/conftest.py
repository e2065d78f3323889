"""Engines of the tiny model on the host's device."""

from __future__ import annotations

from pathlib import Path

import pytest
from host_device import OrtBackend
from tiny_engine import OpenTiny, write_recipe
from tiny_model import TinyModel, write_bundle

from ovengines import open_bundle
from ovengines.tensorrt.engine import TensorRTEngine
from ovengines.tensorrt.presence import PLUGIN_VARIABLE


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, and a file in place of the plugin, which the tiny graphs do without."""
    monkeypatch.setenv("OV_HOME", str(tmp_path / "home"))
    plugin = tmp_path / "libovk_tensorrt.so"
    plugin.write_bytes(b"plugin")
    monkeypatch.setenv(PLUGIN_VARIABLE, str(plugin))
    return tmp_path / "home"


@pytest.fixture
def open_tiny(tmp_path: Path) -> OpenTiny:
    """A function from what differs in the recipe to an engine of the tiny model, built and past the gate."""

    def open_(*, head_dim: int = 32, **changes: str) -> tuple[TensorRTEngine, OrtBackend, TinyModel]:
        model, backend = TinyModel(head_dim), OrtBackend()
        bundle = open_bundle(write_bundle(tmp_path / f"bundle-{head_dim}", model))
        return TensorRTEngine(bundle, backend, recipe=write_recipe(tmp_path, **changes)), backend, model

    return open_
