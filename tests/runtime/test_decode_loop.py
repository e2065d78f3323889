"""Prefill and decode on an engine whose logits depend on all that came before."""

from __future__ import annotations

import numpy as np
import pytest
from fake_engine import FakeEngine, make_model

from ovrun.decode.loop import generate_tokens, prefill
from ovrun.decode.sampler import Sampler
from ovrun.options import GenerationOptions
from ovrun.prompt.expand import PromptIds

VOCAB = 50


def _prompt(random: np.random.Generator, length: int, visual: int) -> tuple[PromptIds, np.ndarray]:
    embed_index_S = np.full(length, -1, dtype=np.int64)
    start = int(random.integers(0, length - visual + 1))
    embed_index_S[start : start + visual] = np.arange(visual)
    ids_S = random.integers(5, VOCAB, length)
    embeds_TD = random.standard_normal((visual, 8)).astype(np.float32)
    return PromptIds(ids_S=ids_S, embed_index_S=embed_index_S), embeds_TD


@pytest.mark.parametrize("seed", range(30))
def test_chunks_change_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    length = int(random.integers(1, 60))
    prompt, embeds_TD = _prompt(random, length, int(random.integers(0, length + 1)))
    whole_engine, engine = (FakeEngine(make_model(VOCAB)) for _ in range(2))
    whole = prefill(whole_engine, whole_engine.new_cache(length), prompt, embeds_TD, chunk_tokens=1000)
    chunk_tokens = int(random.integers(1, 20))
    done: list[tuple[int, int]] = []
    cache = engine.new_cache(length)
    logits_V = prefill(engine, cache, prompt, embeds_TD, chunk_tokens, lambda *now: done.append(now))
    np.testing.assert_array_equal(logits_V, whole, err_msg=f"{seed=}")
    assert max(tokens for tokens, _ in engine.chunks) <= chunk_tokens
    assert sum(rows for _, rows in engine.chunks) == 1, "only the last row may meet the head"
    assert cache.lengths == [length] and done[-1] == (length, length)


def test_every_token_and_every_visual_row_counts() -> None:
    """The fake does see each input, so that equality above means something."""
    prompt, embeds_TD = _prompt(np.random.default_rng(1), 20, 6)

    def logits(prompt: PromptIds, embeds_TD: np.ndarray) -> bytes:
        engine = FakeEngine(make_model(VOCAB))
        return prefill(engine, engine.new_cache(20), prompt, embeds_TD, 7).tobytes()

    seen = {logits(prompt, embeds_TD)}
    for position in np.flatnonzero(prompt.embed_index_S < 0):
        ids_S = prompt.ids_S.copy()
        ids_S[position] = 4
        seen.add(logits(PromptIds(ids_S=ids_S, embed_index_S=prompt.embed_index_S), embeds_TD))
    for row in range(6):
        changed_TD = embeds_TD.copy()
        changed_TD[row] += 1
        seen.add(logits(prompt, changed_TD))
    assert len(seen) == 1 + 14 + 6


def _run(options: GenerationOptions, eos_ids: tuple[int, ...] = ()) -> tuple[list[int], FakeEngine]:
    engine = FakeEngine(make_model(VOCAB))
    prompt, embeds_TD = _prompt(np.random.default_rng(2), 9, 3)
    cache = engine.new_cache(9 + options.max_new_tokens)
    logits_V = prefill(engine, cache, prompt, embeds_TD, options.prefill_chunk_tokens)
    tokens = list(generate_tokens(engine, cache, logits_V, Sampler(options), options, eos_ids))
    assert cache.lengths == [9 + len(tokens) - 1]
    return tokens, engine


def test_decoding_equals_prefilling_what_was_decoded() -> None:
    tokens, _ = _run(GenerationOptions(max_new_tokens=12))
    prompt, embeds_TD = _prompt(np.random.default_rng(2), 9, 3)
    for count in range(1, 12):
        longer = PromptIds(
            ids_S=np.append(prompt.ids_S, tokens[:count]), embed_index_S=np.append(prompt.embed_index_S, [-1] * count)
        )
        engine = FakeEngine(make_model(VOCAB))
        logits_V = prefill(engine, engine.new_cache(longer.num_tokens), longer, embeds_TD, 4)
        assert int(logits_V.argmax()) == tokens[count]


def test_max_new_tokens_and_no_step_too_many() -> None:
    tokens, engine = _run(GenerationOptions(max_new_tokens=7))
    assert len(tokens) == 7
    assert len(engine.chunks) == 1 + 6  # the last token needs no logits after it


def test_ends_with_an_end_token_which_is_given() -> None:
    tokens, _ = _run(GenerationOptions(max_new_tokens=30))
    end = tokens[4]
    shorter, _ = _run(GenerationOptions(max_new_tokens=30), eos_ids=(VOCAB + 1, end))
    assert shorter == tokens[: tokens.index(end) + 1]


def test_sampling_with_a_seed_repeats_and_differs_from_greedy() -> None:
    options = GenerationOptions(max_new_tokens=20, temperature=2.0, seed=3)
    assert _run(options)[0] == _run(options)[0] != _run(GenerationOptions(max_new_tokens=20))[0]
