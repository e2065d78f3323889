"""Micro-batches in the order of the epochs, made ahead by workers, from any step on.

Joins grouping (which samples), the training set (what they are) and collation. A process makes its own share only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from ovengines.errors import ExitCode, OVError
from ovexport.model.onevision import IGNORE_LABEL
from ovexport.train.data.collate import Batch, collate
from ovexport.train.data.dataset import TrainingSet
from ovexport.train.loop.parallel import Processes

Steps = Sequence[Sequence[Sequence[int]]]  # steps -> micro-batches -> samples
_IDLE: Sequence[int] = ()  # the micro-batch of a process for which the step has none
_WORKER_GONE = ("DataLoader worker", "killed by signal", "exited unexpectedly")


@dataclass(frozen=True)
class _Refusal:
    """An OVError on its way out of a worker, where it would arrive as a RuntimeError with a traceback in its text."""

    code: ExitCode
    message: str
    hint: str


class MicroBatches(Dataset["Batch | _Refusal"]):
    """Number -> collated micro-batch; `packed`: all its samples in one row."""

    def __init__(self, samples: TrainingSet, micro_batches: Sequence[Sequence[int]], pad_id: int, packed: bool) -> None:
        self.samples, self.micro_batches = samples, micro_batches
        self.pad_id, self.packed = pad_id, packed

    def __len__(self) -> int:
        return len(self.micro_batches)

    def __getitem__(self, number: int) -> Batch | _Refusal:
        if not self.micro_batches[number]:
            return idle_batch(self.pad_id)
        try:
            pairs = [self.samples[index] for index in self.micro_batches[number]]
        except OVError as err:
            return _Refusal(err.code, err.message, err.hint)
        skipped = tuple(skip for _, skips in pairs for skip in skips)
        return collate([sample for sample, _ in pairs], self.pad_id, skipped, packed=self.packed)


def step_batches(
    samples: TrainingSet,
    steps: Steps,
    processes: Processes,
    *,
    first_step: int,
    pad_id: int,
    packed: bool,
    workers: int,
) -> Iterator[list[Batch]]:
    """From `first_step` on, this process's micro-batches of each step, as many as any other process has.

    Raises OVError: what a sample raised, or OUT_OF_MEMORY when the system ended a worker.
    """
    own = [processes.share(step, _IDLE) for step in steps[first_step:]]
    flat = [micro for step in own for micro in step]
    loader = DataLoader(
        MicroBatches(samples, flat, pad_id, packed),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        persistent_workers=False,
    )
    batches = iter(loader) if flat else iter(())
    for step in own:
        yield [_next(batches) for _ in step]


def idle_batch(pad_id: int) -> Batch:
    """One position of padding: takes part in everything that processes do together, and teaches nothing."""
    zero_BS = torch.zeros(1, 1, dtype=torch.int64)
    return Batch(
        ids_BS=torch.full_like(zero_BS, pad_id),
        labels_BS=torch.full_like(zero_BS, IGNORE_LABEL),
        embed_index_BS=torch.full_like(zero_BS, -1),
        positions_BS=zero_BS,
        sample_BS=torch.full_like(zero_BS, -1, dtype=torch.int32),
        exchange_BS=zero_BS.int(),
        pixels_NCHW=None,
        plan=None,
        skipped=(),
        num_tokens=0,
        num_supervised=0,
        needs_mask=False,
    )


def _next(batches: Iterator[Batch | _Refusal]) -> Batch:
    try:
        made = next(batches)
    except RuntimeError as err:
        text = str(err)
        if text.startswith(_WORKER_GONE[0]) and any(word in text for word in _WORKER_GONE[1:]):
            raise OVError(
                ExitCode.OUT_OF_MEMORY, f"a process that loads data was ended by the system: {text.splitlines()[0]}",
                "give fewer --workers, or make memory (also shared memory, /dev/shm) free",
            ) from err  # fmt: skip
        raise
    if isinstance(made, _Refusal):
        raise OVError(made.code, made.message, made.hint)
    return made
