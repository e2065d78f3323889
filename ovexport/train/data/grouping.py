"""In which order samples are seen: steps of micro-batches of sample numbers, for a whole epoch.

Pure functions of lengths, sizes and a seed. The plan of an epoch does not depend on how many processes share it, so a
run goes on with another number of them where it stopped.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ovengines.errors import ExitCode, OVError

Steps = list[list[list[int]]]
_WINDOW = 1024  # samples among which rows are packed: enough to fill them well, few enough to stay shuffled


def epoch_batches(
    lengths: ArrayLike,
    *,
    global_batch: int,
    device_batch: int,
    seed: int,
    epoch: int = 0,
    mode: str = "modality-length",
    drop_last: bool = True,
    max_length: int | None = None,
) -> Steps:
    """Steps -> micro-batches -> sample numbers; a step has global_batch / device_batch micro-batches.

    All modes but "packed" put device_batch samples in a micro-batch, and "packed" as many as fill one row of
    `max_length` tokens. `lengths` are numbers of tokens for "packed" and "like-length", and those of
    `Mixture.word_counts`, below zero for text, for "modality-length". The last step may have fewer micro-batches,
    unless `drop_last`.
    Raises OVError (USAGE) for an unknown mode or sizes that do not divide.
    """
    if mode not in MODES:
        raise OVError(ExitCode.USAGE, f"grouping is {mode!r}", f"use one of {', '.join(MODES)}")
    if global_batch < 1 or device_batch < 1 or global_batch % device_batch:
        raise OVError(
            ExitCode.USAGE, f"a device batch of {device_batch} does not divide a global batch of {global_batch}",
            "change one of them",
        )  # fmt: skip
    lengths_N = np.asarray(lengths, dtype=np.int64)
    generator = np.random.default_rng((seed, epoch))
    per_step = global_batch // device_batch
    if mode == "packed":
        if max_length is None:
            raise OVError(ExitCode.USAGE, "grouping packed without a max_length", "give max_length")
        micro_batches = _packed(np.abs(lengths_N), max_length, generator)
    else:
        micro_batches = _chunks(_ORDERS[mode](lengths_N, device_batch, per_step, generator), device_batch)
        if drop_last:
            micro_batches = [micro_batch for micro_batch in micro_batches if len(micro_batch) == device_batch]
    steps = _chunks(micro_batches, per_step)
    return steps[:-1] if drop_last and steps and len(steps[-1]) < per_step else steps


def _shuffled(
    lengths_N: NDArray[np.int64], device_batch: int, per_step: int, generator: np.random.Generator
) -> list[int]:
    order: list[int] = generator.permutation(len(lengths_N)).tolist()
    return order


def _by_modality(
    lengths_N: NDArray[np.int64], device_batch: int, per_step: int, generator: np.random.Generator
) -> list[int]:
    """As LLaVA-NeXT's `get_modality_length_grouped_indices`: a step is text alone, or everything else.

    The last steps of both kinds are joined and come last, in the order of the data set.
    """
    kinds = [numbers for numbers in (np.flatnonzero(lengths_N >= 0), np.flatnonzero(lengths_N < 0)) if len(numbers)]
    steps_of = [_by_length(numbers, np.abs(lengths_N), device_batch, per_step, generator) for numbers in kinds]
    if len(steps_of) == 1:
        return list(chain.from_iterable(steps_of[0]))
    steps = [step for of_kind in steps_of for step in of_kind[:-1]]
    shuffled = [steps[place] for place in generator.permutation(len(steps))]
    return [*chain.from_iterable(shuffled), *sorted(chain.from_iterable(of_kind[-1] for of_kind in steps_of))]


def _by_like_length(
    lengths_N: NDArray[np.int64], device_batch: int, per_step: int, generator: np.random.Generator
) -> list[int]:
    """Micro-batches of nearly one length, the least padding: each window of a shuffle is sorted, then cut.

    Those of a step stand longest first, for processes to share them evenly.
    """
    order = generator.permutation(len(lengths_N))
    windows = (order[start : start + _WINDOW] for start in range(0, len(order), _WINDOW))
    sorted_windows = [window[np.argsort(np.abs(lengths_N[window]), kind="stable")] for window in windows]
    micro_batches = [part for window in sorted_windows for part in _chunks(window.tolist(), device_batch)]
    whole = [part for part in micro_batches if len(part) == device_batch]
    rest = [part for part in micro_batches if len(part) < device_batch]
    shuffled = [whole[place] for place in generator.permutation(len(whole))]
    steps = (sorted(step, key=lambda part: -abs(int(lengths_N[part[-1]]))) for step in _chunks(shuffled, per_step))
    return [number for part in (*chain.from_iterable(steps), *rest) for number in part]


_ORDERS: dict[str, Callable[[NDArray[np.int64], int, int, np.random.Generator], list[int]]] = {
    "modality-length": _by_modality,
    "like-length": _by_like_length,
    "none": _shuffled,
}
MODES = (*_ORDERS, "packed")


def _by_length(
    numbers_K: NDArray[np.int64],
    lengths_N: NDArray[np.int64],
    device_batch: int,
    per_step: int,
    generator: np.random.Generator,
) -> list[list[int]]:
    """The numbers shuffled and cut into steps, of which each is split into micro-batches of like length in all."""
    shuffled = numbers_K[generator.permutation(len(numbers_K))].tolist()
    steps = _chunks(shuffled, device_batch * per_step)
    longest_first = (sorted(step, key=lambda number: lengths_N[number], reverse=True) for step in steps)
    return [list(chain.from_iterable(_even(step, lengths_N, per_step))) for step in longest_first]


def _even(step: Sequence[int], lengths_N: NDArray[np.int64], num_parts: int) -> list[list[int]]:
    """Parts of one size: each number, longest first, joins the shortest part that has room."""
    if len(step) % num_parts:
        return [list(step[part::num_parts]) for part in range(num_parts)]
    size = len(step) // num_parts
    parts: list[list[int]] = [[] for _ in range(num_parts)]
    shortest = [(0, part) for part in range(num_parts)]
    for number in step:
        length, part = heapq.heappop(shortest)
        parts[part].append(number)
        if len(parts[part]) < size:
            heapq.heappush(shortest, (length + int(lengths_N[number]), part))
    return parts


def _packed(lengths_N: NDArray[np.int64], max_length: int, generator: np.random.Generator) -> list[list[int]]:
    """Rows of at most max_length tokens, but for samples that are longer alone: the longest sample of a window first,
    each into the fullest row that has room.
    """
    rows: list[list[int]] = []
    for window in _chunks(generator.permutation(len(lengths_N)).tolist(), _WINDOW):
        rows += _fill(sorted(window, key=lambda number: lengths_N[number], reverse=True), lengths_N, max_length)
    return [rows[place] for place in generator.permutation(len(rows))]


def _fill(numbers: Sequence[int], lengths_N: NDArray[np.int64], max_length: int) -> list[list[int]]:
    rows: list[list[int]] = []
    room: list[int] = []
    for number in numbers:
        length = int(lengths_N[number])
        fitting = [(left, row) for row, left in enumerate(room) if left >= length]
        if fitting:
            _, row = min(fitting)
        else:
            row = len(rows)
            rows.append([])
            room.append(max_length)
        rows[row].append(number)
        room[row] -= length
    return rows


def _chunks(items: Sequence, size: int) -> list[list]:  # type: ignore[type-arg]
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
