"""The processes that train together, on PyTorch's own engines: one process, DDP, or FSDP2.

Every process has the same number of micro-batches of each step, so the curve is that of one process with as much
accumulation. Knows torch.distributed; nothing of data, stages or files. Legend of arrays: N numbers of any meaning.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from ovengines.errors import ExitCode, OVError
from ovexport.model import OneVision

MODES = ("auto", "ddp", "fsdp")
DDP_UP_TO_BYTES = 8 << 30  # of float32 weights, gradients and two moments; larger models are sharded
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among `size`; `mode` is "one", "ddp" or "fsdp"."""

    rank: int
    size: int
    device: torch.device
    mode: str

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[_Item], idle: _Item) -> list[_Item]:
        """This process's items, dealt to and fro, so that of items by length every process gets long and short ones.

        `idle` at the end where others have one more.
        """
        rounds = -(-len(items) // self.size)
        turns = (self.rank if number % 2 == 0 else self.size - 1 - self.rank for number in range(rounds))
        places = [number * self.size + turn for number, turn in enumerate(turns)]
        return [items[place] if place < len(items) else idle for place in places]

    def wrap(self, model: OneVision, precision: str, fill: Callable[[OneVision], None]) -> nn.Module:
        """The model as this mode trains it, filled by `fill`; it comes without storage, and FSDP shards it first."""
        if self.mode == "fsdp":
            shard(model, precision, self.device)
        fill(model)
        return DistributedDataParallel(model) if self.mode == "ddp" else model

    def unwrapped(self, model: nn.Module) -> OneVision:
        inner = model.module if isinstance(model, DistributedDataParallel) else model
        assert isinstance(inner, OneVision)
        return inner

    def sync(self, model: nn.Module, last: bool) -> AbstractContextManager[None]:
        """DDP exchanges gradients once per step; FSDP with every micro-batch, or whole gradients would be kept."""
        if isinstance(model, DistributedDataParallel) and not last:
            return model.no_sync()
        return nullcontext()

    def clip_gradients(self, model: nn.Module, max_norm: float) -> float:
        norm = nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], max_norm)
        full = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        return float(full)

    def mean_and_sum(self, to_mean: float, to_sum: float) -> tuple[float, float]:
        """The mean of one number and the sum of another, over all processes."""
        mean, total = self.total(np.array([to_mean / self.size, to_sum]))
        return float(mean), float(total)

    def total(self, numbers_N: NDArray) -> NDArray:
        """The sum of the arrays of all processes."""
        if self.mode == "one":
            return numbers_N
        sum_N = torch.as_tensor(numbers_N, device=self.device)
        dist.all_reduce(sum_N)
        return sum_N.cpu().numpy()

    def first_says(self, number: int) -> int:
        """The first process's number: what all of them read from a disk may differ for a moment."""
        return int(self.total(np.array([number if self.is_first else 0]))[0])

    def barrier(self) -> None:
        if self.mode != "one":
            dist.barrier()

    def close(self) -> None:
        if self.mode != "one" and dist.is_initialized():
            dist.destroy_process_group()


ONE_PROCESS = Processes(rank=0, size=1, device=torch.device("cpu"), mode="one")


def is_first_process() -> bool:
    """Whether this is the only process, or the first of those that torchrun started: the one that people hear from."""
    return os.environ.get("RANK", "0") == "0"


def join_processes(mode: str, device: str, weight_bytes: int) -> Processes:
    """Join those that torchrun started, or be alone. `weight_bytes`: of the float32 weights, to choose for "auto".

    Raises OVError: USAGE for an unknown mode, MISSING_DEPENDENCY for CUDA where there is none.
    """
    if mode not in MODES:
        raise OVError(ExitCode.USAGE, f"{mode!r} is no way to train on several devices", f"use {', '.join(MODES)}")
    size, rank, local_rank = (int(os.environ.get(n, d)) for n, d in (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0)))
    torch_device = _device(device, local_rank)
    backend = "nccl" if torch_device.type == "cuda" else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend)
    elif mode == "fsdp":  # one process that shards: what eight would do, on one device
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    else:
        return Processes(rank=0, size=1, device=torch_device, mode="one")
    if mode == "auto":
        mode = "ddp" if 4 * weight_bytes <= DDP_UP_TO_BYTES else "fsdp"
    return Processes(rank=rank, size=size, device=torch_device, mode=mode)


def shard(model: OneVision, precision: str, device: torch.device) -> None:
    """FSDP2: every layer a group of its own, the rest with the root. Weights stay float32; bf16 is for computing."""
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    dtype = torch.bfloat16 if precision == "bf16" else None
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    # The layers' keys and values are views. Nothing is done to them in place, which is what the warning is about.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    for layer in (*model.vision_tower.layers, *model.language_model.layers):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def _device(name: str, local_rank: int) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise OVError(ExitCode.MISSING_DEPENDENCY, "PyTorch sees no CUDA device here", "train with --device cpu")
        torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)
    if name != "cpu":
        raise OVError(ExitCode.USAGE, f"{name!r} is no device to train on", "use auto, cpu or cuda")
    return torch.device("cpu")
