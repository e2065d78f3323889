"""The safetensors files of a folder as one mapping from names to memory-mapped tensors.

Knows single and sharded files and what can be wrong with them; nothing of what the names mean. Pickled
weights (.bin, .pt) are never opened: unpickling runs code of whoever wrote the file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ovexport.checkpoint.json_fields import bad_checkpoint, read_json

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

_CONVERT_HINT = (
    "pickled weights are never loaded; convert them where you trust them: load the model with transformers, "
    "then save_pretrained(folder, safe_serialization=True)"
)


class TensorFiles:
    """All tensors of a checkpoint folder, by the names in the files.

    Raises OVError (BAD_INPUT): no safetensors, a shard missing, truncated or broken, an unsafe file name in
    the index, tensors that the index lists but no shard has, or a dtype other than float32, float16,
    bfloat16.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = shard_paths(folder)
        self._shards: dict[str, Any] = {path.name: _open_shard(path) for path in self._paths}
        self._shard_of = {name: shard for shard in self._shards.values() for name in shard.keys()}  # noqa: SIM118
        self._specs = {name: _spec(shard, name) for name, shard in self._shard_of.items()}
        self._sha256: str | None = None

    def names(self) -> list[str]:
        return list(self._specs)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._specs[name][0]

    def dtype(self, name: str) -> torch.dtype:
        return self._specs[name][1]

    def tensor(self, name: str) -> torch.Tensor:
        """A view of the mapped file in its stored dtype; pages are read when touched."""
        return self._shard_of[name].get_tensor(name)

    def sha256(self) -> str:
        """Hash of the files' content in the order of their names; streamed once, then remembered."""
        if self._sha256 is None:
            digest = hashlib.sha256()
            for path in self._paths:
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
            self._sha256 = digest.hexdigest()
        return self._sha256

    def close(self) -> None:
        """Let go of the mappings; tensors handed out keep theirs until they are dropped too."""
        self._shards.clear()
        self._shard_of.clear()


def shard_paths(folder: Path) -> list[Path]:
    """The weight files of a folder, sorted by name. Raises OVError (BAD_INPUT) naming what is missing."""
    if (folder / INDEX_FILE).is_file():
        return [_existing(folder / name) for name in index_shards(folder / INDEX_FILE)]
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickled:
        raise bad_checkpoint(f"the checkpoint has no safetensors, only {pickled[0]}", _CONVERT_HINT)
    raise bad_checkpoint(
        f"the checkpoint has neither {SINGLE_FILE} nor {INDEX_FILE} (looked in {folder})",
        "give the folder that holds config.json and the weights",
    )


def index_shards(index_path: Path) -> list[str]:
    """File names in an index, sorted. Raises OVError (BAD_INPUT) for anything but bare names in the same folder."""
    index = read_json(index_path)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise bad_checkpoint(f"{index_path.name} has no weight_map")
    for name in weight_map.values():
        if not isinstance(name, str) or not name.endswith(".safetensors") or set(name) & set("/\\:\0"):
            raise bad_checkpoint(
                f"{index_path.name} names the file {name!r}, which is not a bare *.safetensors name",
                "do not use this checkpoint unless you know where it is from",
            )
    return sorted(set(weight_map.values()))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise bad_checkpoint(
            f"the shard {path.name} is missing (named in {INDEX_FILE})", "download the checkpoint again"
        )
    return path


def _open_shard(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError, ValueError) as err:
        raise bad_checkpoint(
            f"{path.name} ({path.stat().st_size} bytes) is truncated or not safetensors: {err}",
            "download it again",
        ) from err


def _spec(shard: Any, name: str) -> tuple[tuple[int, ...], torch.dtype]:
    piece = shard.get_slice(name)
    dtype = DTYPES.get(piece.get_dtype())
    if dtype is None:
        raise bad_checkpoint(
            f"the tensor {name} is stored as {piece.get_dtype()}; only {', '.join(DTYPES)} are read",
            "use the unquantised checkpoint",
        )
    return tuple(piece.get_shape()), dtype
