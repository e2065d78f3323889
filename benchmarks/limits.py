"""What this machine can do at most, measured with the threads of everything else: bytes read and operations a second.

The rates are those of the faster of PyTorch's and ONNX Runtime's matrix products, so a stage at its floor runs as fast
as a large matrix product does here. Others may be at work meanwhile: measured several times, and the best counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.measure import short

READ_BYTES = 1 << 29  # far more than any cache
SIDE, GPU_SIDE = 2048, 8192  # of a matrix
REPEATS = 15  # of which the fastest counts: others may be at work
APART = 1.1  # best over worst from which it is told


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Rates are in 10**9 a second; a multiplication and an addition are two operations."""

    device: str
    read_gb_per_s: float  # on a GPU read and written, by a copy
    gop_per_s: dict[str, float]  # by type of the operands

    def rate_for(self, precision: str) -> float:
        """Operations a second of the fastest type that a precision may calculate in."""
        wanted = {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16"}.get(precision, "int8")
        return self.gop_per_s.get(wanted, self.gop_per_s["fp32"])

    def figures(self) -> dict[str, float]:
        return {"reading": self.read_gb_per_s, **{f"{name} products": rate for name, rate in self.gop_per_s.items()}}


def best_of(times: Sequence[Limits]) -> Limits:
    """The best of each figure of several times that they were measured."""
    rates = {name: max(one.gop_per_s[name] for one in times) for name in times[0].gop_per_s}
    return Limits(device=times[0].device, read_gb_per_s=max(one.read_gb_per_s for one in times), gop_per_s=rates)


def apart(times: Sequence[Limits]) -> list[str]:
    """What is to be told of figures that were not the same each time: the machine was not left alone."""
    told = []
    for name in times[0].figures():
        found = [one.figures()[name] for one in times]
        if max(found) > APART * min(found):
            told.append(f"{name}: {short(min(found))} to {short(max(found))} in {len(found)} times")
    return told


def measure(threads: int, device: str = "cpu") -> dict[str, Any]:
    """`Limits` as a dictionary, for a worker."""
    import torch

    torch.set_num_threads(threads)
    return asdict(of_gpu(torch) if device == "cuda" else _of_cpu(torch, threads))


def _of_cpu(torch: Any, threads: int) -> Limits:
    data = torch.ones(READ_BYTES // 4)  # zeros would all be one page that nobody has written
    rates = {name: _product_rate(torch, dtype) for name, dtype in _types(torch, "fp32", "bf16").items()}
    rates["fp32"] = max(rates["fp32"], _onnxruntime_rate("MatMul", np.float32, np.float32, threads))
    rates["int8"] = _onnxruntime_rate("MatMulInteger", np.uint8, np.int8, threads)
    return Limits(device="cpu", read_gb_per_s=READ_BYTES / best_s(data.sum) / 1e9, gop_per_s=rates)


def of_gpu(torch: Any) -> Limits:
    """Timed by the device's own events, as a launch costs the host more than a small product takes."""
    source = torch.zeros(READ_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copy_s = _best_gpu_s(torch, lambda: target.copy_(source))
    rates = {}
    for name, dtype in _types(torch, "fp32", "fp16", "bf16").items():
        a, b = (torch.randn(GPU_SIDE, GPU_SIDE, device="cuda", dtype=dtype) for _ in range(2))
        rates[name] = 2 * GPU_SIDE**3 / _best_gpu_s(torch, partial(torch.mm, a, b)) / 1e9
    return Limits(device=torch.cuda.get_device_name(), read_gb_per_s=2 * READ_BYTES / copy_s / 1e9, gop_per_s=rates)


def _best_gpu_s(torch: Any, work: Callable[[], object]) -> float:
    work()
    spent_ms = []
    for _ in range(REPEATS):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        began.record()
        work()
        ended.record()
        ended.synchronize()
        spent_ms.append(began.elapsed_time(ended))
    return float(min(spent_ms)) / 1e3


def _types(torch: Any, *names: str) -> dict[str, Any]:
    known = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    return {name: known[name] for name in names}


def _product_rate(torch: Any, dtype: Any) -> float:
    a, b = (torch.randn(SIDE, SIDE).to(dtype) for _ in range(2))
    return 2 * SIDE**3 / best_s(lambda: torch.mm(a, b)) / 1e9


def _onnxruntime_rate(operator: str, left: Any, right: Any, threads: int) -> float:
    """Of a product with a constant on its right, which is packed once as weights are."""
    import onnxruntime
    from onnx import helper, numpy_helper

    generator, shape = np.random.default_rng(0), (SIDE, SIDE)
    value, weights = (generator.integers(0, 100, shape).astype(dtype) for dtype in (left, right))
    types = [
        helper.np_dtype_to_tensor_dtype(np.dtype(dtype)) for dtype in (left, np.int32 if left == np.uint8 else left)
    ]
    a, c = (helper.make_tensor_value_info(name, kind, shape) for name, kind in zip("ac", types, strict=True))
    node = helper.make_node(operator, ["a", "b"], ["c"])
    graph = helper.make_graph([node], "product", [a], [c], [numpy_helper.from_array(weights, "b")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return 2 * SIDE**3 / best_s(lambda: session.run(None, {"a": value})) / 1e9


def best_s(work: Callable[[], object]) -> float:
    """Of the fastest repeat, as a limit is what nothing has disturbed."""
    work()
    spent = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return min(spent)
