"""Bilinear token pooling on a CUDA device: `python -m benchmarks.token_pool_cuda`. Never run on a device so far.

Against a device-to-device copy that moves as many bytes (the kernel: unique rows read plus rows written), and against
what it replaces: stitching tiles, cropping, `interpolate`, appending newlines. All are captured into CUDA graphs and
replayed in turns; a figure is the median over rounds of the time per call.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.token_pool import RELEASED
from ovkernels import abi
from ovkernels.cuda import CudaTokenPool
from ovrun.tiling.plan import TokenPlan, plan_flat, plan_image

DIMS = (896, 3584)
SIZES_PX = (None, (384, 384), (480, 640), (720, 1280), (3000, 4000), (1153, 944))  # None: one view; 729 to 8,765 tokens
CALLS = 20  # in a graph, so that the replay itself weighs little
SIDE = RELEASED.patches_per_side

Size = tuple[int, int]


@dataclass(frozen=True)
class Inputs:
    """One picture's plan, and on the device the rows that the kernel wants: features of all tiles, then the newline."""

    size_px: Size | None
    plan: TokenPlan
    rows_RD: torch.Tensor

    @property
    def traffic_bytes(self) -> int:
        used = np.unique(self.plan.indices_T4[self.plan.weights_T4 != 0])
        return (len(used) + self.plan.num_tokens) * self.rows_RD.shape[1] * self.rows_RD.element_size()


def make_inputs(size_px: Size | None, dim: int, dtype: torch.dtype, device: str) -> Inputs:
    plan = plan_image(*size_px, RELEASED) if size_px else plan_flat(RELEASED)
    rows_RD = torch.randn(plan.num_rows, dim, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    return Inputs(size_px, plan, rows_RD)


def kernel(inputs: Inputs, pool: CudaTokenPool, rows_in_flight: int) -> Callable[[], torch.Tensor]:
    rows_RD = inputs.rows_RD
    plan = [torch.from_numpy(array).to(rows_RD.device) for array in (inputs.plan.indices_T4, inputs.plan.weights_T4)]
    out_TD = torch.empty(inputs.plan.num_tokens, rows_RD.shape[1], dtype=rows_RD.dtype, device=rows_RD.device)
    addresses = (array.data_ptr() for array in (rows_RD, *plan, out_TD))
    name = str(rows_RD.dtype).removeprefix("torch.")
    arguments = abi.TokenPool(*addresses, len(rows_RD), *out_TD.shape, abi.DTYPES[name])

    def call() -> torch.Tensor:
        assert len(plan) == 2  # the arrays live as long as their addresses are used
        pool(arguments, stream=torch.cuda.current_stream().cuda_stream, rows_in_flight=rows_in_flight)
        return out_TD

    return call


def copy(inputs: Inputs) -> Callable[[], torch.Tensor]:
    """Moves as many bytes as the kernel: half of them read, half written."""
    source = torch.zeros(inputs.traffic_bytes // 2, dtype=torch.uint8, device=inputs.rows_RD.device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def replaced(inputs: Inputs) -> Callable[[], torch.Tensor]:
    """The same tokens by the operations of transformers' `pack_image_features`."""
    from transformers.models.llava_onevision.modeling_llava_onevision import unpad_image

    features_NPD = inputs.rows_RD[:-1].view(-1, SIDE * SIDE, inputs.rows_RD.shape[1])
    newline_D = inputs.rows_RD[-1]
    size_px, (tile_rows, tile_columns), map_size = inputs.size_px, inputs.plan.grid, inputs.plan.map_size

    def call() -> torch.Tensor:
        if size_px is None:
            return features_NPD[0].clone()
        tiles = features_NPD[1:].view(tile_rows, tile_columns, SIDE, SIDE, -1)
        map_DHW = tiles.permute(4, 0, 2, 1, 3).reshape(newline_D.shape[0], tile_rows * SIDE, tile_columns * SIDE)
        map_DHW = unpad_image(map_DHW, size_px)
        if map_DHW.shape[1:] != map_size:
            map_DHW = torch.nn.functional.interpolate(map_DHW[None], map_size, mode="bilinear")[0]
        column_DH1 = newline_D[:, None, None].expand(-1, map_size[0], 1)
        tokens_TD = torch.cat([map_DHW, column_DH1], dim=-1).flatten(1).T
        return torch.cat([features_NPD[0], tokens_TD])

    return call


def graph_of(call: Callable[[], torch.Tensor]) -> torch.cuda.CUDAGraph:
    call()  # whatever is set up at a first call is not captured
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()
    return graph


def replay_us(graph: torch.cuda.CUDAGraph) -> float:
    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    started.record()
    graph.replay()
    ended.record()
    ended.synchronize()
    return started.elapsed_time(ended) * 1e3 / CALLS


def measure(inputs: Inputs, pool: CudaTokenPool, rows_in_flight: int, rounds: int) -> str:
    """A line of the table, after a look at whether the kernel and what it replaces agree."""
    calls = kernel(inputs, pool, rows_in_flight), copy(inputs), replaced(inputs)
    torch.testing.assert_close(calls[0](), calls[2](), rtol=2e-3, atol=2e-3)
    graphs = [graph_of(call) for call in calls]
    times = [[replay_us(graph) for graph in graphs] for _ in range(rounds + 1)][1:]
    ours, copied, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    share = statistics.median(row[1] / row[0] for row in times)
    faster = statistics.median(row[2] / row[0] for row in times)
    size = f"{inputs.plan.num_tokens} | {inputs.rows_RD.shape[1]}"
    rate_GBps = inputs.traffic_bytes / ours / 1e3
    return f"| {size} | {ours:.1f} | {rate_GBps:.0f} | {copied:.1f} | {share:.2f} | {theirs:.1f} | {faster:.1f} |"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.token_pool_cuda", description=__doc__.splitlines()[0])
    parser.add_argument("--library", type=Path, default=Path("build/kernels/cuda/libovk_cuda.so"))
    parser.add_argument("--rows-in-flight", type=int, choices=(0, 1, 2, 4), default=0, help="0: as the library chooses")
    parser.add_argument("--rounds", type=int, default=31)
    args = parser.parse_args(argv)
    if not torch.cuda.is_available():
        parser.error("PyTorch sees no CUDA device")
    pool = CudaTokenPool(args.library)
    print(f"{torch.cuda.get_device_name()}, float16, {args.rows_in_flight} rows in flight")
    print("| T | D | kernel us | GB/s | copy us | share of the copy's rate | interpolate us | times faster |")
    print("|---" * 8 + "|")
    for dim in DIMS:
        for size_px in SIZES_PX:
            inputs = make_inputs(size_px, dim, torch.float16, "cuda")
            print(measure(inputs, pool, args.rows_in_flight, args.rounds), flush=True)


if __name__ == "__main__":
    main()
