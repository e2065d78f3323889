"""What this machine can do at most, measured with the threads of everything else: bytes read and operations a second.

The rates are those of the faster of PyTorch's and ONNX Runtime's matrix products, so a stage at its floor runs as fast
as a large matrix product does here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

READ_BYTES = 1 << 29  # far more than any cache
SIDE = 2048
REPEATS = 25  # of which the fastest counts: others may be at work


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Rates are in 10**9 a second; a multiplication and an addition are two operations."""

    device: str
    read_gb_per_s: float
    gop_per_s: dict[str, float]  # by type of the operands

    def rate_for(self, precision: str) -> float:
        """Operations a second of the fastest type that a precision may calculate in."""
        wanted = {"fp32": "fp32", "bf16": "bf16", "fp16": "fp16"}.get(precision, "int8")
        return self.gop_per_s.get(wanted, self.gop_per_s["fp32"])


def measure(threads: int) -> dict[str, Any]:
    """`Limits` as a dictionary, for a worker. On a GPU if PyTorch sees one: copying, and products in half precision."""
    import torch

    torch.set_num_threads(threads)
    limits = _of_gpu(torch) if torch.cuda.is_available() else _of_cpu(torch, threads)
    return asdict(limits)


def _of_cpu(torch: Any, threads: int) -> Limits:
    data = torch.ones(READ_BYTES // 4)  # zeros would all be one page that nobody has written
    rates = {name: _product_rate(torch, dtype, "cpu") for name, dtype in _types(torch, "fp32", "bf16").items()}
    rates["fp32"] = max(rates["fp32"], _onnxruntime_rate("MatMul", np.float32, np.float32, threads))
    rates["int8"] = _onnxruntime_rate("MatMulInteger", np.uint8, np.int8, threads)
    return Limits(device="cpu", read_gb_per_s=READ_BYTES / best_s(data.sum) / 1e9, gop_per_s=rates)


def _of_gpu(torch: Any) -> Limits:
    source = torch.zeros(READ_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        torch.cuda.synchronize()

    rates = {name: _product_rate(torch, dtype, "cuda") for name, dtype in _types(torch, "fp32", "fp16", "bf16").items()}
    return Limits(
        device=torch.cuda.get_device_name(), read_gb_per_s=2 * READ_BYTES / best_s(copy) / 1e9, gop_per_s=rates
    )


def _types(torch: Any, *names: str) -> dict[str, Any]:
    known = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    return {name: known[name] for name in names}


def _product_rate(torch: Any, dtype: Any, device: str) -> float:
    a, b = (torch.randn(SIDE, SIDE).to(device, dtype) for _ in range(2))

    def product() -> None:
        torch.mm(a, b)
        if device == "cuda":
            torch.cuda.synchronize()

    return 2 * SIDE**3 / best_s(product) / 1e9


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
