"""The language model and the tower of a checkpoint as checkpoints of their own, for peers that know only such.

Both are in float32, so that a peer may read them with NumPy, and hold the checkpoint's very numbers; names and
configuration are transformers', whatever layout the checkpoint has.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.bundles import weight_files
from ovexport.checkpoint import Checkpoint, open_checkpoint
from ovexport.checkpoint.hf_files import json_files
from ovexport.checkpoint.layouts import HF_DISK

LANGUAGE, TOWER = "language", "tower"
PREFIXES = {LANGUAGE: "language_model.", TOWER: "vision_tower."}  # in our names and in transformers' files
ARCHITECTURES = {LANGUAGE: "Qwen2ForCausalLM", TOWER: "SiglipVisionModel"}


def write_parts(checkpoint: Path, target: Path) -> Path:
    """Write `target/language` and `target/tower`, once for the weights there are; returns `target`.

    Raises OVError for what is no checkpoint, ValueError for one without weights of a part.
    """
    newest = max((file.stat().st_mtime for file in weight_files(checkpoint)), default=0.0)
    marks = [target / part / "config.json" for part in PREFIXES]
    if all(mark.exists() and mark.stat().st_mtime > newest for mark in marks):
        return target
    with open_checkpoint(checkpoint) as opened:
        files = json_files(opened.config, json.loads(opened.tokenizer_json), opened.chat_template, torch.float32)
        configs = {LANGUAGE: files["config.json"]["text_config"], TOWER: files["config.json"]["vision_config"]}
        for part, config in configs.items():
            _write_part(opened, part, target / part, config, files)
    return target


def _write_part(opened: Checkpoint, part: str, target: Path, config: dict[str, Any], files: dict[str, Any]) -> None:
    """The configuration comes last: a part that has one is whole."""
    tensors = part_tensors(opened, part)
    target.mkdir(parents=True, exist_ok=True)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    (target / "tokenizer.json").write_bytes(opened.tokenizer_json)
    for name in ("tokenizer_config.json", *(["preprocessor_config.json"] if part == TOWER else [])):
        (target / name).write_text(json.dumps(files[name], indent=1, ensure_ascii=False) + "\n")
    whole = {"architectures": [ARCHITECTURES[part]], **config, "torch_dtype": "float32"}
    (target / "config.json").write_text(json.dumps(whole, indent=1) + "\n")


def part_tensors(opened: Checkpoint, part: str) -> dict[str, torch.Tensor]:
    """By transformers' names in a checkpoint of that part alone. Raises ValueError if there are none."""
    prefix = PREFIXES[part]
    names = [name for name in opened.names() if name.startswith(prefix)]
    if not names:
        raise ValueError(f"{opened.name} has no weights of its {part} part")
    return {HF_DISK.file_name(name).removeprefix(prefix): opened.tensor(name).float() for name in names}
