"""A model -> a folder that transformers (4.x and 5.x) and `open_checkpoint` load: the other direction of this package.

Weights get the names of transformers on disk and pass through memory one at a time, also where FSDP spreads them over
processes. The folder takes its name when it is whole; what it replaces stays until then.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import torch

from ovengines.errors import ExitCode, OVError
from ovengines.replacement import Replacement, disk_errors
from ovexport.checkpoint.hf_files import json_files
from ovexport.checkpoint.layouts import HF_DISK
from ovexport.checkpoint.shard_file import write_shard
from ovexport.checkpoint.tensor_files import INDEX_FILE, SINGLE_FILE
from ovexport.model.config import OneVisionConfig
from ovexport.model.onevision import OneVision

DISK_HINT = "make room or choose another disk; what was there before is untouched"
_WEIGHT_FILES = "model*.safetensors*"  # of an older save: shards, a single file, an index
Shard = dict[str, tuple[int, ...]]  # shapes by the names in the file


def save_checkpoint(
    model: OneVision,
    folder: Path,
    *,
    tokenizer_json: bytes,
    chat_template: str,
    dtype: torch.dtype = torch.bfloat16,
    max_shard_bytes: int = 5 << 30,
    extra_files: Mapping[str, bytes] = MappingProxyType({}),
    write: bool = True,
) -> None:
    """Write weights (cast to `dtype`), configuration, tokenizer, template and extra files as `folder`, which may exist.

    Where the parameters are DTensors all processes call this, and one of them with `write`: each gathers every tensor.
    Other files of an older folder are kept. Raises OVError: BAD_INPUT for a model that transformers' format cannot
    describe (one of LLaVA-NeXT, with its other rounding and no video token), LIMIT_EXCEEDED for a full disk, USAGE for
    a folder that cannot be written. Also then this process takes part in all gathering, so that no other one hangs.
    """
    _check_describable(model.config)
    tensors = _whole_tensors(model, dtype, to_cpu=write)
    if not write:
        _exhaust(tensors)
        return
    try:
        with Replacement(Path(os.path.realpath(folder)), hint=DISK_HINT) as new:
            with disk_errors(folder, DISK_HINT):
                _write_weights(_shards(model, dtype, max_shard_bytes), new.folder, tensors, dtype)
                _write_small_files(model.config, new.folder, tokenizer_json, chat_template, dtype)
                for name, content in extra_files.items():
                    (new.folder / name).write_bytes(content)
                _keep_other_files(folder, new.folder)
            new.publish()
    except Exception:
        _exhaust(tensors)
        raise


def _check_describable(config: OneVisionConfig) -> None:
    if config.video_token_id is None or config.geometry.unpad_rounding != "hf":
        raise OVError(
            ExitCode.BAD_INPUT,
            "a LLaVA-NeXT model cannot be written in transformers' format without changing its answers",
            "keep the folder that it came from",
        )


def _whole_tensors(model: OneVision, dtype: torch.dtype, *, to_cpu: bool) -> Iterator[torch.Tensor]:
    """All parameters, cast and then gathered; a process that does not write drops each at once."""
    for parameter in model.parameters():
        tensor = parameter.detach().to(dtype)
        gather = getattr(tensor, "full_tensor", None)  # of a DTensor
        tensor = gather() if gather else tensor
        yield tensor.cpu() if to_cpu else tensor


def _exhaust(tensors: Iterator[torch.Tensor]) -> None:
    for _ in tensors:
        pass


def _shards(model: OneVision, dtype: torch.dtype, max_shard_bytes: int) -> list[Shard]:
    """Names and shapes in the order of the parameters, cut so that no file is larger (a tensor is never cut)."""
    shards: list[Shard] = [{}]
    size_bytes = 0
    for name, parameter in model.named_parameters():
        tensor_bytes = parameter.numel() * dtype.itemsize
        if shards[-1] and size_bytes + tensor_bytes > max_shard_bytes:
            shards.append({})
            size_bytes = 0
        shards[-1][HF_DISK.file_name(name)] = tuple(parameter.shape)
        size_bytes += tensor_bytes
    return shards


def _write_weights(shards: list[Shard], folder: Path, tensors: Iterator[torch.Tensor], dtype: torch.dtype) -> None:
    many = len(shards)
    files = [SINGLE_FILE if many == 1 else f"model-{i:05d}-of-{many:05d}.safetensors" for i in range(1, many + 1)]
    for file, shard in zip(files, shards, strict=True):
        write_shard(folder / file, shard, islice(tensors, len(shard)), dtype)
    if many > 1:
        weight_map = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
        total = sum(math.prod(shape) for shard in shards for shape in shard.values()) * dtype.itemsize
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write_small_files(
    config: OneVisionConfig, folder: Path, tokenizer_json: bytes, chat_template: str, dtype: torch.dtype
) -> None:
    for name, content in json_files(config, json.loads(tokenizer_json), chat_template, dtype).items():
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").write_bytes(tokenizer_json)
    (folder / "chat_template.jinja").write_text(chat_template, encoding="utf-8")


def _keep_other_files(old: Path, new: Path) -> None:
    """Whatever else lies in the folder to be replaced, as a second name of the same file where the disk has such."""
    for entry in sorted(old.iterdir()) if old.is_dir() else ():
        if (new / entry.name).exists() or fnmatch(entry.name, _WEIGHT_FILES):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, new / entry.name, symlinks=True, copy_function=_link_or_copy)
        else:
            _link_or_copy(entry, new / entry.name)


def _link_or_copy(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
