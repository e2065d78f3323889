"""One safetensors file, written a tensor at a time: the header needs shapes only, so no two tensors are in memory.

Knows the format (eight bytes of length, a JSON header, the bytes of all tensors); nothing of what the names mean.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from ovexport.checkpoint.tensor_files import DTYPES

_CODES = {dtype: code for code, dtype in DTYPES.items()}
_ALIGNMENT = 8  # of the first tensor in the file


def write_shard(
    path: Path, shapes: Mapping[str, tuple[int, ...]], tensors: Iterable[torch.Tensor], dtype: torch.dtype
) -> None:
    """`tensors`, on the CPU and of `dtype`, in the order of `shapes`. Raises OSError as the disk does."""
    with path.open("wb") as file:
        file.write(_header(shapes, dtype))
        for (name, shape), tensor in zip(shapes.items(), tensors, strict=True):
            assert tuple(tensor.shape) == shape and tensor.dtype == dtype, name
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _header(shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, shape in shapes.items():
        end = start + math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
