"""The order of an epoch against the released sampler, done again on lists, and what a plan of steps must keep."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from ovengines.errors import ExitCode, OVError
from ovexport.train.data.grouping import MODES, epoch_batches


class Permutations:
    """The permutations that one epoch draws, in their order."""

    def __init__(self, seed: int, epoch: int) -> None:
        self.generator = np.random.default_rng((seed, epoch))

    def __call__(self, count: int) -> list[int]:
        return [int(place) for place in self.generator.permutation(count)]


def released_order(lengths: list[int], batch_size: int, num_batches: int, draw: Permutations) -> list[int]:
    """What the released sampler gives: `num_batches` is its world size times its accumulation."""

    def even(step: list[int], of: dict[int, int]) -> list[list[int]]:
        if len(step) % num_batches:
            return [step[part::num_batches] for part in range(num_batches)]
        parts: list[list[int]] = [[] for _ in range(num_batches)]
        for number in step:
            with_room = [part for part in range(num_batches) if len(parts[part]) < len(step) // num_batches]
            least = min(with_room, key=lambda part: (sum(of[other] for other in parts[part]), part))
            parts[least].append(number)
        return parts

    def by_length(numbers: list[int]) -> list[list[int]]:
        of = {number: abs(lengths[number]) for number in numbers}
        shuffled = [numbers[place] for place in draw(len(numbers))]
        size = batch_size * num_batches
        steps = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
        return [[number for part in even(sorted(step, key=lambda n: -of[n]), of) for number in part] for step in steps]

    multimodal = [number for number, length in enumerate(lengths) if length > 0]
    language = [number for number, length in enumerate(lengths) if length < 0]
    if not multimodal or not language:
        return [number for step in by_length(multimodal or language) for number in step]
    multimodal_steps, language_steps = by_length(multimodal), by_length(language)
    steps = multimodal_steps[:-1] + language_steps[:-1]
    steps = [steps[place] for place in draw(len(steps))]
    return [number for step in steps for number in step] + sorted(multimodal_steps[-1] + language_steps[-1])


def random_lengths(rng: random.Random) -> list[int]:
    share = rng.choice((0, 0.3, 0.5, 1))
    return [rng.randint(1, 40) * (-1 if rng.random() < share else 1) for _ in range(rng.randint(1, 300))]


def flat(steps: list[list[list[int]]]) -> list[int]:
    return [number for step in steps for micro_batch in step for number in micro_batch]


@pytest.mark.parametrize("seed", range(150))
def test_modality_length_is_the_released_order(seed: int) -> None:
    rng = random.Random(seed)
    lengths, device_batch, num_batches = random_lengths(rng), rng.randint(1, 4), rng.randint(1, 6)
    epoch = rng.randint(0, 3)
    sizes = {"global_batch": device_batch * num_batches, "device_batch": device_batch}
    steps = epoch_batches(lengths, **sizes, seed=seed, epoch=epoch, drop_last=False)
    assert flat(steps) == released_order(lengths, device_batch, num_batches, Permutations(seed, epoch)), f"seed {seed}"


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(40))
def test_steps_are_whole_and_hold_every_sample_once(seed: int, mode: str, drop_last: bool) -> None:
    rng = random.Random(seed)
    lengths, device_batch, num_batches = random_lengths(rng), rng.randint(1, 4), rng.randint(1, 6)
    global_batch = device_batch * num_batches
    arguments: dict[str, Any] = {"global_batch": global_batch, "device_batch": device_batch, "seed": seed, "mode": mode}
    steps = epoch_batches(lengths, **arguments, drop_last=drop_last, max_length=60)
    seen = flat(steps)
    assert len(seen) == len(set(seen)) and set(seen) <= set(range(len(lengths))), f"seed {seed}"
    whole = steps if drop_last else steps[:-1]
    assert all(len(step) == num_batches for step in whole), f"seed {seed}"
    if mode != "packed":
        assert all(len(micro_batch) == device_batch for step in whole for micro_batch in step), f"seed {seed}"
        assert len(seen) == (len(lengths) // global_batch * global_batch if drop_last else len(lengths))
    elif not drop_last:
        assert len(seen) == len(lengths)


@pytest.mark.parametrize("seed", range(20))
def test_a_step_is_text_alone_or_no_text(seed: int) -> None:
    rng = random.Random(seed)
    lengths = [rng.randint(1, 40) * rng.choice((-1, 1)) for _ in range(200)]
    steps = epoch_batches(lengths, global_batch=8, device_batch=2, seed=seed)
    mixed = [step for step in steps if len({lengths[number] > 0 for batch in step for number in batch}) == 2]
    assert all(step in steps[-2:] for step in mixed), f"seed {seed}: only the joined last steps may mix"
    kinds = [lengths[step[0][0]] > 0 for step in steps[:-2]]
    assert kinds != sorted(kinds) and kinds != sorted(kinds, reverse=True)


@pytest.mark.parametrize("seed", range(30))
def test_packed_rows_are_full_and_never_too_long(seed: int) -> None:
    rng = random.Random(seed)
    lengths = [rng.randint(20, 400) for _ in range(rng.randint(300, 1500))]
    steps = epoch_batches(
        lengths, global_batch=8, device_batch=2, seed=seed, mode="packed", max_length=1000, drop_last=False
    )
    rows = [sum(lengths[number] for number in row) for step in steps for row in step]
    assert max(rows) <= 1000, f"seed {seed}"
    assert sum(rows) / len(rows) > 950, f"seed {seed}: rows of {sum(rows) / len(rows):.0f} tokens on average"
    assert all(len(step) == 4 for step in steps[:-1])


@pytest.mark.parametrize("seed", range(10))
def test_like_length_pads_least(seed: int) -> None:
    rng = random.Random(seed)
    lengths = [rng.randint(20, 400) for _ in range(rng.randint(800, 3000))]

    def padding(mode: str) -> float:
        """Padded positions per token."""
        steps = epoch_batches(lengths, global_batch=16, device_batch=8, seed=seed, mode=mode)
        rows = [[lengths[number] for number in micro_batch] for step in steps for micro_batch in step]
        return sum(len(row) * max(row) for row in rows) / sum(map(sum, rows)) - 1

    assert padding("like-length") < 0.03 < 0.3 < min(padding("modality-length"), padding("none")), f"seed {seed}"
    steps = epoch_batches(lengths, global_batch=8, device_batch=8, seed=seed, mode="like-length")
    firsts = [lengths[step[0][0]] for step in steps]
    assert firsts != sorted(firsts), "steps of short and of long samples come in a random order"


def test_a_sample_longer_than_a_row_has_one_of_its_own() -> None:
    steps = epoch_batches(
        [50, 120, 50], global_batch=1, device_batch=1, seed=0, mode="packed", max_length=100, drop_last=False
    )
    assert sorted(sorted(row) for step in steps for row in step) == [[0, 2], [1]]


@pytest.mark.parametrize("mode", MODES)
def test_seed_and_epoch_decide(mode: str) -> None:
    lengths = random_lengths(random.Random(5))
    arguments: dict[str, Any] = {"global_batch": 4, "device_batch": 2, "mode": mode, "max_length": 60}
    first = epoch_batches(lengths, seed=1, epoch=0, **arguments)
    random.seed(9)
    np.random.seed(9)
    assert epoch_batches(np.array(lengths), seed=1, epoch=0, **arguments) == first
    assert epoch_batches(lengths, seed=1, epoch=1, **arguments) != first
    assert epoch_batches(lengths, seed=2, epoch=0, **arguments) != first


def test_no_samples_no_steps() -> None:
    for mode in MODES:
        assert epoch_batches([], global_batch=4, device_batch=2, seed=0, mode=mode, max_length=9) == []


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        ({"mode": "length"}, "grouping is 'length'"),
        ({"device_batch": 3}, "device batch of 3 does not divide"),
        ({"device_batch": 0}, "device batch of 0"),
        ({"global_batch": 0}, "global batch of 0"),
        ({"mode": "packed"}, "without a max_length"),
    ],
)
def test_plans_that_do_not_exist(arguments: dict[str, Any], finding: str) -> None:
    with pytest.raises(OVError, match=finding) as caught:
        epoch_batches([1, 2], **{"global_batch": 4, "device_batch": 2, "seed": 0, **arguments})
    assert caught.value.code == ExitCode.USAGE
