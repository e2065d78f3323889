"""The language model and the tower of a checkpoint as checkpoints of their own, for peers that know only such.

Both are in float32, so that a peer may read them with NumPy, and hold the checkpoint's very numbers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

LANGUAGE, TOWER = "language", "tower"
LANGUAGE_PREFIX, TOWER_PREFIX = "language_model.", "vision_tower."


def write_parts(checkpoint: Path, target: Path) -> Path:
    """Write (once) `target/language` and `target/tower`; returns `target`."""
    config = json.loads((checkpoint / "config.json").read_text())
    language = {"architectures": ["Qwen2ForCausalLM"], **config["text_config"], "torch_dtype": "float32"}
    tower = {"architectures": ["SiglipVisionModel"], **config["vision_config"], "torch_dtype": "float32"}
    _write_part(checkpoint, target / LANGUAGE, language, lambda name: name.removeprefix(LANGUAGE_PREFIX))
    _write_part(checkpoint, target / TOWER, tower, lambda name: name.removeprefix(TOWER_PREFIX))
    return target


def _write_part(checkpoint: Path, target: Path, config: dict[str, Any], rename: Callable[[str], str]) -> None:
    if (target / "config.json").exists():
        return
    target.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(file, "pt") as source:
            names = [name for name in source.keys() if rename(name) != name]  # noqa: SIM118 (not a dict)
            tensors |= {rename(name): source.get_tensor(name).float() for name in names}
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(checkpoint / name, target / name)
    if config["model_type"] == "siglip_vision_model":
        shutil.copyfile(checkpoint / "preprocessor_config.json", target / "preprocessor_config.json")
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n")
