"""The sampler against transformers' logits processors on random logits, and its draws against probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from ovengines.errors import ExitCode, OVError
from ovrun.decode.sampler import Sampler, penalise, top_k, top_p
from ovrun.options import GenerationOptions

CASES = 60


def _logits_V(random: np.random.Generator, size: int) -> np.ndarray:
    return (random.standard_normal(size) * random.uniform(0.1, 20)).astype(np.float32)


@pytest.mark.parametrize("seed", range(CASES))
def test_scores_equal_transformers_processors(seed: int) -> None:
    import torch
    from transformers.generation import logits_process

    torch.set_num_threads(1)
    random = np.random.default_rng(seed)
    logits_V = _logits_V(random, int(random.integers(1, 3000)))
    ids = random.integers(0, logits_V.size, int(random.integers(1, 50))).tolist()
    penalty, k = float(random.uniform(0.5, 2)), int(random.integers(1, 100))
    p, temperature = float(random.uniform(0.01, 0.999)), float(random.uniform(0.05, 3))

    ids_BS, theirs = torch.tensor([ids]), torch.tensor(logits_V)[None]
    theirs = logits_process.RepetitionPenaltyLogitsProcessor(penalty)(ids_BS, theirs)
    ours = penalise(logits_V, set(ids), penalty)
    np.testing.assert_array_equal(ours, theirs[0].numpy(), err_msg=f"{seed=}")
    theirs = logits_process.TemperatureLogitsWarper(temperature)(ids_BS, theirs)
    ours = ours / np.float32(temperature)
    np.testing.assert_array_equal(ours, theirs[0].numpy(), err_msg=f"{seed=}")
    if seed % 2:
        theirs = logits_process.TopKLogitsWarper(k)(ids_BS, theirs)
        ours = top_k(ours, k)
        np.testing.assert_array_equal(ours, theirs[0].numpy(), err_msg=f"{seed=}")
    before = ours
    theirs_V = logits_process.TopPLogitsWarper(p)(ids_BS, theirs)[0].numpy()
    ours = top_p(ours, p)
    # Sums of probabilities are rounded differently: a token right on the edge may go either way.
    differing = np.flatnonzero(ours != theirs_V)
    probabilities = np.exp(before.astype(np.float64) - before.max())
    probabilities /= probabilities.sum()
    for token in differing:
        reached = probabilities[before <= before[token]].sum()
        assert abs(reached - (1 - p)) < 1e-5, f"{seed=} {token=}"
    assert len(differing) <= 1, f"{seed=}"
    assert ours.argmax() == before.argmax()


def test_ties_at_the_kth_place_stay_as_in_transformers() -> None:
    import torch
    from transformers.generation.logits_process import TopKLogitsWarper

    logits_V = np.array([1, 3, 3, 3, 2], dtype=np.float32)
    theirs = TopKLogitsWarper(2)(torch.tensor([[0]]), torch.tensor(logits_V)[None])[0].numpy()
    np.testing.assert_array_equal(top_k(logits_V, 2), theirs)
    assert np.isfinite(theirs).sum() == 3


def test_greedy_takes_the_first_of_the_best() -> None:
    logits_V = np.array([0, 5, 5, 1], dtype=np.float32)
    assert Sampler(GenerationOptions()).pick(logits_V) == 1


@pytest.mark.parametrize("options", [{}, {"top_k": 4}, {"top_p": 0.6}, {"top_k": 6, "top_p": 0.8}])
def test_draws_follow_the_probabilities(options: dict[str, float]) -> None:
    logits_V = np.random.default_rng(3).standard_normal(12).astype(np.float32)
    chosen = GenerationOptions(temperature=0.7, seed=11, **options)  # type: ignore[arg-type]
    warped = top_p(top_k(logits_V / np.float32(0.7), chosen.top_k), chosen.top_p).astype(np.float64)
    expected = np.exp(warped - warped.max())
    expected /= expected.sum()
    sampler, draws = Sampler(chosen), 20_000
    counts = np.bincount([sampler.pick(logits_V) for _ in range(draws)], minlength=12)
    assert counts[expected == 0].sum() == 0
    possible = expected > 0
    chi_squared = ((counts - draws * expected) ** 2)[possible] / (draws * expected)[possible]
    assert chi_squared.sum() < 40  # 11 degrees of freedom: beyond 40 once in 30,000


@pytest.mark.parametrize(("uniform", "expected"), [(0.0, 2), (1 - 2**-53, 5)])
def test_draws_at_the_ends_of_the_range_are_possible_tokens(uniform: float, expected: int) -> None:
    class Fixed:
        def random(self) -> float:
            return uniform

    sampler = Sampler(GenerationOptions(temperature=1.0, top_k=3))
    sampler._random = Fixed()  # type: ignore[assignment]
    assert sampler.pick(np.array([-9, -9, 1.1, -9, 0.7, 1.3, -9], dtype=np.float32)) == expected


def test_seed_repeats_and_other_seeds_differ() -> None:
    random = np.random.default_rng(0)
    rows = [_logits_V(random, 500) / 10 for _ in range(20)]

    def run(seed: int | None) -> list[int]:
        sampler = Sampler(GenerationOptions(temperature=1.5, seed=seed))
        return [sampler.pick(row) for row in rows]

    assert run(7) == run(7) != run(8)
    assert run(None) != run(None)


def test_penalty_counts_prompt_and_own_tokens() -> None:
    logits_V = np.array([1.0, 0.9, 0.8, -5], dtype=np.float32)
    sampler = Sampler(GenerationOptions(repetition_penalty=2.0), prompt_ids=[0])
    assert [sampler.pick(logits_V) for _ in range(3)] == [1, 2, 0]


def test_penalty_passes_over_ids_without_a_score() -> None:
    """A prompt with an image whose token has no row in the table: everything else is as without it."""
    random = np.random.default_rng(5)
    logits_V = _logits_V(random, 40)
    ids = {3, 7, 39}
    expected_V = penalise(logits_V, ids, 1.7)
    assert (expected_V != logits_V).sum() == 3
    np.testing.assert_array_equal(penalise(logits_V, ids | {40, 151_646}, 1.7), expected_V)
    np.testing.assert_array_equal(penalise(logits_V, {40}, 1.7), logits_V)
    sampler = Sampler(GenerationOptions(repetition_penalty=1.7), prompt_ids=[*ids, 40, 151_646])
    assert sampler.pick(logits_V) == int(expected_V.argmax())


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_an_error_not_an_answer(temperature: float, bad: float) -> None:
    logits_V = np.zeros(10, dtype=np.float32)
    logits_V[4] = bad
    with pytest.raises(OVError) as caught:
        Sampler(GenerationOptions(temperature=temperature)).pick(logits_V)
    assert caught.value.code is ExitCode.BUNDLE_INVALID
