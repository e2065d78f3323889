"""How large activations become: float16 ends at 65,504, and what is beyond it is infinite on a GPU.

PyTorch's float32 run is watched: what each matrix takes and gives, and the residual stream that each norm takes. The
stream is float32 in the files for TensorRT, and float16 in those of ONNX Runtime's fp16.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ovexport.model.qwen2 import RMSNorm

FLOAT16_MAX = 65504.0
STREAM = "stream into "
PARTS = {"vision_tower": "vision tower", "projector": "projector", "language_model": "language model"}

Peaks = dict[str, float]  # largest magnitude by the name of what was watched


@contextmanager
def watched(module: nn.Module, name: str, peaks: Peaks) -> Iterator[None]:
    """Inside, `peaks` gathers the magnitudes of `module`'s activations, under the names of its parameters' owners."""
    handles = []
    for path, leaf in module.named_modules(prefix=name):
        if isinstance(leaf, nn.Linear):
            handles.append(leaf.register_forward_hook(_matrix_hook(path, peaks)))
        elif isinstance(leaf, (nn.LayerNorm, RMSNorm)):
            handles.append(leaf.register_forward_hook(_norm_hook(path, peaks)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _matrix_hook(path: str, peaks: Peaks) -> Any:
    def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        _note(peaks, f"{path} input", inputs[0])
        _note(peaks, f"{path} output", output)

    return hook


def _norm_hook(path: str, peaks: Peaks) -> Any:
    return lambda _, inputs, output: _note(peaks, f"{STREAM}{path}", inputs[0])


def _note(peaks: Peaks, name: str, x: torch.Tensor) -> None:
    peaks[name] = max(peaks.get(name, 0.0), float(x.detach().abs().max())) if x.numel() else peaks.get(name, 0.0)


@dataclass(frozen=True, kw_only=True)
class RangeRow:
    """The largest activation of a part. `judged`: some graph of the bundle holds it in float16."""

    part: str
    largest: str
    peak: float
    beyond: tuple[str, ...]  # what exceeds float16
    judged: bool

    @property
    def stage(self) -> str:
        return f"range of the {self.part}"

    @property
    def passed(self) -> bool:
        return not (self.judged and self.beyond)

    @property
    def finding(self) -> str:
        if self.passed:
            return ""
        more = f" and {len(self.beyond) - 1} more" if len(self.beyond) > 1 else ""
        return f"{self.beyond[0]}{more} exceeds float16's {FLOAT16_MAX:,.0f}"

    @property
    def badness(self) -> float:
        return self.peak / FLOAT16_MAX


def range_rows(peaks: Peaks, *, float16: bool, float16_stream: bool) -> list[RangeRow]:
    """A row per part. `float16`: matrices take and give it; `float16_stream`: the residual stream does as well."""
    rows = []
    for prefix, part in PARTS.items():
        own = {name: peak for name, peak in peaks.items() if name.removeprefix(STREAM).startswith(prefix)}
        held = {name: peak for name, peak in own.items() if float16_stream or not name.startswith(STREAM)}
        if not held:
            continue
        largest = max(held, key=lambda name: held[name])
        beyond = tuple(name for name, peak in held.items() if not peak <= FLOAT16_MAX)
        rows.append(RangeRow(part=part, largest=largest, peak=held[largest], beyond=beyond, judged=float16))
    return rows
