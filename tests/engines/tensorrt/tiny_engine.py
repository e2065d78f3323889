"""A recipe small enough that every bound is met, and an engine of the tiny model on the host's device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from host_device import OrtBackend
from tiny_model import TinyModel

from ovengines.tensorrt.engine import TensorRTEngine

OpenTiny = Callable[..., tuple[TensorRTEngine, OrtBackend, TinyModel]]
RECIPE = {
    "context_tokens": "700",
    "chunk_tokens": "48",
    "logits_rows": "5",
    "tower_tiles": "2",
    "pooled_tiles": "4",
    "workspace_mib": "64",
    "optimization_level": "3",
    "hardware_compatibility": "none",
    "resident_weights_percent": "100",
    "cuda_graphs": "yes",
}


def write_recipe(folder: Path, **changes: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "test.ini"
    lines = [f"{name} = {value}" for name, value in {**RECIPE, **changes}.items()]
    file.write_text("[device]\n[build]\n" + "\n".join(lines))
    return str(file)
