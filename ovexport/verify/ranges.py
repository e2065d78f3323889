"""How large activations become: float16 ends at 65,504, and what is beyond it is infinite on a GPU.

PyTorch's float32 run is watched for all that a matrix product takes or gives in a file:

- what each weight matrix takes, and gives before and after its bias is added; the head's as well (`note_head`);
- attention: queries and keys, which the rotation can make larger, and the scores: scaled queries times every key, for
  the mask comes after the product. Weights are at most 1, and what they make of the values is what the next matrix
  takes;
- the residual stream that each norm takes.

Not all of it is float16 in every file (HELD_BY).
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from ovexport.model.qwen2 import GroupedQueryAttention, RMSNorm
from ovexport.model.siglip import VisionAttention

FLOAT16_MAX = 65504.0
STREAM, QUERIES, SCORES = "stream into ", " queries", " scores"
# What is float16 in an fp16 file of one target only; all else is so in both. For TensorRT the stream is float32, and
# queries are scaled before they become float16, which makes them smaller than what their matrix gave. ONNX Runtime's
# fused attention keeps scores in float32.
HELD_BY = {STREAM: "ort", QUERIES: "ort", SCORES: "trt"}
PARTS = {"vision_tower": "vision tower", "projector": "projector", "language_model": "language model"}

Peaks = dict[str, float]  # largest magnitude by the name of what was watched


@contextmanager
def watched(module: nn.Module, name: str, peaks: Peaks) -> Iterator[None]:
    """Inside, `peaks` gathers the magnitudes of `module`'s activations, under the names of its parameters' owners."""
    handles, attention = [], _AttentionWatch(peaks)
    for path, leaf in module.named_modules(prefix=name):
        if isinstance(leaf, nn.Linear):
            handles.append(leaf.register_forward_hook(_matrix_hook(path, peaks)))
        elif isinstance(leaf, (nn.LayerNorm, RMSNorm)):
            handles.append(leaf.register_forward_hook(_norm_hook(path, peaks)))
        elif isinstance(leaf, (GroupedQueryAttention, VisionAttention)):
            handles.append(leaf.register_forward_pre_hook(attention.enter(path)))
    try:
        with attention:
            yield
    finally:
        for handle in handles:
            handle.remove()


def note_head(peaks: Peaks, hidden_KD: torch.Tensor, logits_KV: torch.Tensor) -> None:
    """The head is no module of its own where it is the embedding table."""
    _note(peaks, "language_model.head input", hidden_KD)
    _note(peaks, "language_model.head output", logits_KV)


class _AttentionWatch(TorchFunctionMode):
    """Sees the one function that all attention goes through, so that the model need not know of being watched."""

    def __init__(self, peaks: Peaks) -> None:
        super().__init__()
        self._peaks, self._path = peaks, ""

    def enter(self, path: str) -> Any:
        def hook(*_: Any) -> None:
            self._path = path

        return hook

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            self._see(*args[:2])
        return func(*args, **(kwargs or {}))

    def _see(self, q_BHSE: torch.Tensor, k_BHCE: torch.Tensor) -> None:
        _note(self._peaks, f"{self._path}{QUERIES}", q_BHSE)
        _note(self._peaks, f"{self._path} keys", k_BHCE)
        scale = q_BHSE.shape[-1] ** -0.5
        for q_SE, k_CE in zip(q_BHSE.flatten(0, 1), k_BHCE.flatten(0, 1), strict=True):  # all heads: gigabytes
            _note(self._peaks, f"{self._path}{SCORES}", scale * q_SE @ k_CE.T)


def _matrix_hook(path: str, peaks: Peaks) -> Any:
    def hook(matrix: nn.Linear, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        _note(peaks, f"{path} input", inputs[0])
        _note(peaks, f"{path} output", output)
        if matrix.bias is not None:
            _note(peaks, f"{path} product", output - matrix.bias)

    return hook


def _norm_hook(path: str, peaks: Peaks) -> Any:
    return lambda _, inputs, output: _note(peaks, f"{STREAM}{path}", inputs[0])


def _note(peaks: Peaks, name: str, x: torch.Tensor) -> None:
    low, high = x.detach().aminmax() if x.numel() else (torch.zeros(()), torch.zeros(()))
    peaks[name] = max(peaks.get(name, 0.0), -float(low), float(high))


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


def range_rows(peaks: Peaks, float16: Set[str]) -> list[RangeRow]:
    """A row per part. `float16`: the targets (ort, trt) whose files are float16; none, and nothing is judged."""
    rows = []
    for prefix, part in PARTS.items():
        own = {name: peak for name, peak in peaks.items() if name.removeprefix(STREAM).startswith(prefix)}
        held = {name: peak for name, peak in own.items() if _held(name, float16)}
        if not held:
            continue
        largest = max(held, key=lambda name: held[name])
        beyond = tuple(name for name, peak in held.items() if not peak <= FLOAT16_MAX)
        rows.append(RangeRow(part=part, largest=largest, peak=held[largest], beyond=beyond, judged=bool(float16)))
    return rows


def _held(name: str, float16: Set[str]) -> bool:
    return all(target in float16 for kind, target in HELD_BY.items() if kind in name)
