"""Bilinear token pooling on the CPU against `torch.nn.functional.embedding_bag`: `python -m benchmarks.token_pool`.

Both apply the token plan of one picture to the same float32 rows on as many threads, each into memory of its own
choosing, in turns. The peer is measured in both of its forms, with all four sources of every token and with a list of
those that have a weight; what counts is the faster of the two.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from ovengines.bundle.manifest import Geometry
from ovkernels.native import NativeTokenPool, default_file
from ovrun.tiling.plan import TokenPlan, plan_image

PICTURE_PX = (3000, 4000)  # height, width: 7,309 tokens, most of them of four sources
PAUSE_S = 0.01
DIMS = (896, 3584)  # of the 0.5B and the 7B checkpoint
SIDES = range(1, 7)
RELEASED = Geometry(
    image_size_px=384,
    patch_size_px=14,
    grid_pinpoints=tuple((384 * rows, 384 * columns) for rows in SIDES for columns in SIDES),
    max_tiles=9,
    unpad_rounding="hf",
)


def speedup(dim: int, threads: int, rounds: int) -> tuple[float, str]:
    """Median over rounds of theirs / ours, and both medians as text. Raises ovkernels.abi.Unavailable."""
    plan = plan_image(*PICTURE_PX, RELEASED)
    rows_RD = np.random.default_rng(0).standard_normal((plan.num_rows, dim), dtype=np.float32)
    pool = NativeTokenPool(default_file())

    def ours() -> None:
        pool(rows_RD, plan.indices_T4, plan.weights_T4, threads)

    with torch_threads(threads):
        works = (ours, *embedding_bags(rows_RD, plan))
        times = [[took_ms(work) for work in works] for _ in range(rounds + 1)][1:]  # the first one warms up
    ours_ms, *peers_ms = (statistics.median(column) for column in zip(*times, strict=True))
    ratios = [statistics.median(row[peer] / row[0] for row in times) for peer in range(1, len(works))]
    faster = ratios.index(min(ratios))
    return ratios[faster], f"{ours_ms:.1f} ms against {peers_ms[faster]:.1f} ms"


def embedding_bags(rows_RD: np.ndarray, plan: TokenPlan) -> list[Callable[[], torch.Tensor]]:
    """The peer over all four sources of every token, and over a list of those that have a weight."""
    table, indices_T4, weights_T4 = map(torch.from_numpy, (rows_RD, plan.indices_T4, plan.weights_T4))
    used_T4 = weights_T4 != 0
    counts_T = used_T4.sum(dim=1, dtype=torch.int32)
    starts_T = (torch.cumsum(counts_T, dim=0) - counts_T).int()
    some, their_weights = indices_T4[used_T4], weights_T4[used_T4]
    bag = torch.nn.functional.embedding_bag
    return [
        lambda: bag(indices_T4, table, per_sample_weights=weights_T4, mode="sum"),
        lambda: bag(some, table, starts_T, per_sample_weights=their_weights, mode="sum"),
    ]


def took_ms(work: Callable[[], object]) -> float:
    """After a pause in which OpenMP's threads stop looking out for more of the peer's work and leave their cores."""
    until = time.perf_counter() + PAUSE_S
    while time.perf_counter() < until:  # not asleep: this core is to stay as it is
        pass
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.token_pool", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=31)
    args = parser.parse_args(argv)
    print("| D | times as fast | ours against embedding_bag |\n|---|---|---|")
    for dim in DIMS:
        ratio, detail = speedup(dim, args.threads, args.rounds)
        print(f"| {dim} | {ratio:.2f} | {detail} |")


if __name__ == "__main__":
    main()
