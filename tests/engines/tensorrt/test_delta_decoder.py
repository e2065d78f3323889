"""The decode loop on the tiny model: what is read, stepped, rewound, copied or swapped gives the logits of one pass.

The oracle keeps the embeddings that each slot has seen and computes everything anew in NumPy.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from host_device import HostDevice
from tiny_engine import OpenTiny
from tiny_model import HIDDEN, LAYERS, POSITIONS, VOCAB, TinyModel

from ovengines.engine import Best
from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt import cache as cache_module
from ovengines.tensorrt import profiles, stepper
from ovengines.tensorrt.cache import Region
from ovengines.tensorrt.decoder import Decoder
from ovengines.tensorrt.engine import TensorRTEngine
from ovengines.tensorrt.profiles import PAST_STEP
from ovengines.tensorrt.stepper import rounded_past

TOLERANCE = 2e-5  # of the largest logit
DIRECT, BY_SCRATCH = 32, 8  # head widths whose row of the cache is a multiple of 256 bytes, and not


@dataclass
class Oracle:
    """What each slot holds, as embeddings."""

    model: TinyModel
    held: list[np.ndarray]
    random: np.random.Generator = field(default_factory=np.random.default_rng)

    def append(self, slot: int, tokens: int, *, pictures: bool) -> dict[str, np.ndarray]:
        """Random tokens at the end of a slot, as the engine's arguments."""
        ids_S, index_S = self.random.integers(0, VOCAB, tokens), np.full(tokens, -1)
        embeds_TD = self.random.standard_normal((7, HIDDEN)).astype(np.float32)
        if pictures:
            index_S = np.where(self.random.random(tokens) < 0.5, self.random.integers(0, 7, tokens), -1)
        new_SD = np.where((index_S >= 0)[:, None], embeds_TD[index_S], self.model.embed(ids_S))
        self.held[slot] = np.concatenate([self.held[slot], new_SD])
        arguments = {"ids_BS": ids_S[None]}
        return arguments | ({"embed_index_BS": index_S[None], "image_embeds_TD": embeds_TD} if pictures else {})

    def logits(self, slot: int, last: int) -> np.ndarray:
        """Of the last so many tokens."""
        return self.model.logits(self.held[slot])[len(self.held[slot]) - last :]


def make_oracle(model: TinyModel, slots: int, seed: int) -> Oracle:
    return Oracle(model, [np.zeros((0, HIDDEN), np.float32)] * slots, np.random.default_rng(seed))


def assert_close(actual: np.ndarray, expected: np.ndarray, what: object) -> None:
    assert actual.shape == expected.shape, what
    if expected.size:
        assert np.abs(actual - expected).max() <= TOLERANCE * np.abs(expected).max(), what


def assert_best(best_K: list[Best], expected_KV: np.ndarray, what: object) -> None:
    """The likeliest, or one that rounding can't tell from it."""
    assert len(best_K) == len(expected_KV) and all(best.finite for best in best_K), what
    for best, logits_V in zip(best_K, expected_KV, strict=True):
        assert logits_V[best.token] >= logits_V.max() - TOLERANCE * np.abs(expected_KV).max(), what


@pytest.mark.parametrize("seed", range(12))
def test_any_history_gives_the_logits_of_one_pass(open_tiny: OpenTiny, seed: int) -> None:
    choose, slots = random.Random(seed), 3
    graphs = choose.choice(("yes", "no"))
    engine, _, model = open_tiny(head_dim=choose.choice((DIRECT, BY_SCRATCH)), cuda_graphs=graphs)
    oracle, cache = make_oracle(model, slots, seed), engine.new_cache(600, slots)
    for number in range(40):
        what = f"{seed=} action {number}"
        one, other = choose.sample(range(slots), 2)
        action = choose.choice(("read", "read", "step", "step", "step all", "rewind", "copy", "swap", "trim"))
        room = cache.capacity - cache.lengths[one]
        if action in ("read", "step") and room:
            tokens = 1 if action == "step" else min(room, choose.choice((1, 2, 7, 48, 49, 130, 230)))
            rows = choose.randint(0, min(tokens, 12))
            wanted_K = np.array(choose.sample(range(tokens), rows), np.int64)
            arguments = oracle.append(one, tokens, pictures=choose.random() < 0.5)
            arguments |= {"logits_index_BK": wanted_K[None], "slots": slice(one, one + 1)}
            expected_KV = oracle.logits(one, tokens)[wanted_K]
            if choose.random() < 0.5:
                assert_close(engine.decode(cache, **arguments)[0], expected_KV, what)
            else:
                assert_best(engine.decode_best(cache, **arguments)[0], expected_KV, what)
        elif action == "step all" and max(cache.lengths) < cache.capacity:
            ids_BS = np.concatenate([oracle.append(slot, 1, pictures=False)["ids_BS"] for slot in range(slots)])
            is_best, rows_BK = choose.random() < 0.5, np.zeros((slots, 1), np.int64)
            actual = (engine.decode_best if is_best else engine.decode)(cache, ids_BS, logits_index_BK=rows_BK)
            for slot in range(slots):
                check = assert_best if is_best else assert_close
                check(actual[slot], oracle.logits(slot, 1), f"{what} slot {slot}")
        elif action == "rewind":
            length = choose.randint(0, cache.lengths[one])
            cache.rewind(one, length)
            oracle.held[one] = oracle.held[one][:length]
        elif action == "copy":
            length = choose.randint(0, cache.lengths[one])
            cache.copy(one, other, length)
            oracle.held[other] = oracle.held[one][:length]
        elif action == "swap":
            cache.swap(one, other)
            oracle.held[one], oracle.held[other] = oracle.held[other], oracle.held[one]
        elif action == "trim":
            cache.trim()
        assert cache.lengths == [len(held) for held in oracle.held], what


@pytest.mark.parametrize("head_dim", [DIRECT, BY_SCRATCH])
def test_steps_across_every_rounding_of_the_past(open_tiny: OpenTiny, head_dim: int) -> None:
    engine, _, model = open_tiny(head_dim=head_dim)
    oracle, cache = make_oracle(model, 1, 1), engine.new_cache(600)
    for length in (0, PAST_STEP - 2, 2 * PAST_STEP - 2):
        if missing := length - cache.lengths[0]:
            arguments, none_BK = oracle.append(0, missing, pictures=True), np.zeros((1, 0), np.int64)
            assert engine.decode(cache, **arguments, logits_index_BK=none_BK).shape == (1, 0, VOCAB)
        for step in range(5):
            actual = engine.decode(
                cache, **oracle.append(0, 1, pictures=step == 2), logits_index_BK=np.zeros((1, 1), np.int64)
            )
            assert_close(actual[0], oracle.logits(0, 1), f"step {step} after {length}")


def test_to_the_last_row_and_not_beyond(open_tiny: OpenTiny) -> None:
    engine, _, model = open_tiny(context_tokens="256")
    oracle, cache = make_oracle(model, 1, 2), engine.new_cache(POSITIONS)
    assert cache.capacity == 256, "as much of what was asked for as the engine was built for"
    engine.decode(cache, **oracle.append(0, 255, pictures=False), logits_index_BK=np.zeros((1, 0), np.int64))
    actual = engine.decode(cache, **oracle.append(0, 1, pictures=False), logits_index_BK=np.zeros((1, 1), np.int64))
    assert_close(actual[0], oracle.logits(0, 1), "the last token")
    for call in (
        lambda: engine.decode(cache, np.zeros((1, 1), np.int64), logits_index_BK=np.zeros((1, 1), np.int64)),
        lambda: engine.new_cache(POSITIONS + 1),
    ):
        with pytest.raises(OVError) as caught:
            call()
        assert caught.value.code == ExitCode.LIMIT_EXCEEDED and caught.value.hint
    with pytest.raises(ValueError, match="can't rewind to 257"):
        cache.rewind(0, 257)
    with pytest.raises(ValueError, match="can't copy -1"):
        cache.copy(0, 0, -1)


def test_what_is_rewound_never_comes_back(open_tiny: OpenTiny) -> None:
    engine, _, model = open_tiny()
    oracle, cache, one_row = make_oracle(model, 1, 3), engine.new_cache(300), np.zeros((1, 1), np.int64)
    engine.decode(cache, **oracle.append(0, 20, pictures=False), logits_index_BK=one_row)
    nothing = np.full((1, HIDDEN), np.nan, np.float32)
    engine.decode(
        cache,
        np.zeros((1, 30), np.int64),
        embed_index_BS=np.zeros((1, 30), np.int64),
        image_embeds_TD=nothing,
        logits_index_BK=one_row,
    )
    cache.rewind(0, 20)
    for _ in range(4):
        actual = engine.decode(cache, **oracle.append(0, 1, pictures=False), logits_index_BK=one_row)
        assert_close(actual[0], oracle.logits(0, 1), "after NaN")


def test_what_is_copied_over_never_comes_back(open_tiny: OpenTiny) -> None:
    engine, _, model = open_tiny()
    oracle, cache, one_row = make_oracle(model, 2, 3), engine.new_cache(300, 2), np.zeros((1, 1), np.int64)
    engine.decode(cache, **oracle.append(0, 20, pictures=False), logits_index_BK=one_row, slots=slice(0, 1))
    engine.decode(
        cache,
        np.zeros((1, 90), np.int64),
        embed_index_BS=np.zeros((1, 90), np.int64),
        image_embeds_TD=np.full((1, HIDDEN), np.nan, np.float32),
        logits_index_BK=one_row,
        slots=slice(1, 2),
    )
    cache.copy(0, 1, 20)
    oracle.held[1] = oracle.held[0]
    actual = engine.decode(cache, **oracle.append(1, 1, pictures=False), logits_index_BK=one_row, slots=slice(1, 2))
    assert_close(actual[0], oracle.logits(1, 1), "over NaN")


def test_a_past_longer_than_needed_is_hidden_and_stays_within_the_region(open_tiny: OpenTiny) -> None:
    engine, _, model = open_tiny()
    decoder, oracle = engine._stage("decoder", Decoder), make_oracle(model, 1, 5)
    for capacity in (100, 700):
        cache, oracle.held[0] = decoder.new_cache(capacity, 1), np.zeros((0, HIDDEN), np.float32)
        for least_past in (0, 300, 10_000):
            arguments = oracle.append(0, 1, pictures=False)
            actual = decoder.decode(
                cache, **arguments, logits_index_BK=np.zeros((1, 1), np.int64), least_past=least_past
            )
            assert_close(actual[0], oracle.logits(0, 1), f"{capacity=} {least_past=}")


def test_an_output_over_an_input_is_noticed(open_tiny: OpenTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the stand-in: the real one would read what it has just written."""
    engine, _, _ = open_tiny()
    cache, none_BK = engine.new_cache(600), np.zeros((1, 0), np.int64)
    engine.decode(cache, np.zeros((1, 40), np.int64), logits_index_BK=none_BK)
    monkeypatch.setattr(Region, "at", lambda self, plane, row: self.address + plane * self.pitch_bytes)
    with pytest.raises(AssertionError, match=r"new_key_values.0.key and past_key_values.0.key lie over each other"):
        engine.decode(cache, np.zeros((1, 40), np.int64), logits_index_BK=none_BK)
        engine._workshop.backend.device.synchronize()


def decode_steps(engine: TensorRTEngine, cache: object, slots: int, steps: int) -> None:
    for _ in range(steps):
        ids_BS, rows_BK = np.ones((slots, 1), np.int64), np.zeros((slots, 1), np.int64)
        engine.decode(cache, ids_BS, logits_index_BK=rows_BK)  # type: ignore[arg-type]


def counts(device: HostDevice) -> dict[str, int]:
    return {name: value for name, value in vars(device).items() if isinstance(value, int)}


def test_the_loop_allocates_nothing_and_launches_what_it_captured(open_tiny: OpenTiny) -> None:
    engine, backend, _ = open_tiny()
    device, cache, slots = backend.device, engine.new_cache(700, 2), 2
    for slot in range(slots):
        ids_BS, none_BK = np.zeros((1, 200), np.int64), np.zeros((1, 0), np.int64)
        engine.decode(cache, ids_BS, logits_index_BK=none_BK, slots=slice(slot, slot + 1))
    decode_steps(engine, cache, slots, 1)
    before, executors = counts(device), backend.plans["decoder"].executors
    decode_steps(engine, cache, slots, 130)  # from 201 to 331: across a rounding of the past
    after = counts(device)
    assert after["allocations"] == before["allocations"] and backend.plans["decoder"].executors == executors
    assert after["captures"] - before["captures"] == slots, "once for each region in the new rounding"
    assert after["launches"] - before["launches"] == 130 * slots - slots, "all but the first of each kind"
    assert after["waits"] - before["waits"] <= 130 + 2, "once a step, and for what has to make room"
    row_bytes = 2 * DIRECT * 4
    assert after["copied_bytes"] - before["copied_bytes"] == 130 * slots * 2 * LAYERS * row_bytes, "the new rows alone"


def test_conversations_of_more_lengths_than_are_kept_are_still_launched(
    open_tiny: OpenTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine slots at nine roundings, in turn: a cycle, of which the least recently used is the next that is needed."""
    monkeypatch.setattr(stepper, "GRAPHS_KEPT", 2)
    monkeypatch.setattr(stepper, "PAST_STEP", 64)
    monkeypatch.setattr(cache_module, "PAST_STEP", 64)
    monkeypatch.setattr(profiles, "PAST_STEP", 64)
    engine, backend, _ = open_tiny()
    device, slots = backend.device, 9
    cache = engine.new_cache(700, slots)
    for slot in range(slots):
        ids_BS, none_BK = np.zeros((1, 10 + 64 * slot), np.int64), np.zeros((1, 0), np.int64)
        engine.decode(cache, ids_BS, logits_index_BK=none_BK, slots=slice(slot, slot + 1))
    decode_steps(engine, cache, slots, 1)
    before, executors = counts(device), backend.plans["decoder"].executors
    decode_steps(engine, cache, slots, 20)
    after = counts(device)
    assert after["launches"] - before["launches"] == 20 * slots and after["captures"] == before["captures"]
    assert backend.plans["decoder"].executors == executors
    decode_steps(engine, cache, slots, 60)  # each of them to the next rounding
    assert counts(device)["captures"] - after["captures"] == slots, "each drives out its own"
    assert backend.plans["decoder"].executors == executors


def test_a_greedy_step_brings_an_id_and_a_sum(open_tiny: OpenTiny) -> None:
    engine, backend, _ = open_tiny()
    cache, one_BK = engine.new_cache(600), np.zeros((1, 1), np.int64)
    for ids_BS in (np.ones((1, 1), np.int64), np.ones((1, 60), np.int64)):
        before = backend.device.downloaded_bytes
        engine.decode_best(cache, ids_BS, logits_index_BK=one_BK)
        assert backend.device.downloaded_bytes - before == 8


def test_logits_that_are_no_numbers_are_told(open_tiny: OpenTiny) -> None:
    engine, _, _ = open_tiny()
    cache, one_BK = engine.new_cache(600), np.zeros((1, 1), np.int64)
    picture = {"embed_index_BS": one_BK, "image_embeds_TD": np.full((1, HIDDEN), np.nan, np.float32)}
    (((_, finite),),) = engine.decode_best(cache, one_BK, logits_index_BK=one_BK, **picture)
    assert not finite


def test_reading_binds_new_rows_into_the_cache(open_tiny: OpenTiny) -> None:
    engine, backend, _ = open_tiny()
    cache = engine.new_cache(600)
    engine.load("decoder")
    before = backend.device.copied_bytes
    engine.decode(cache, np.zeros((1, 300), np.int64), logits_index_BK=np.zeros((1, 0), np.int64))
    assert backend.device.copied_bytes == before


def test_without_graphs_nothing_is_captured(open_tiny: OpenTiny) -> None:
    engine, backend, _ = open_tiny(cuda_graphs="no")
    decode_steps(engine, engine.new_cache(100), 1, 5)
    assert backend.device.captures == backend.device.launches == 0


def test_a_step_that_can_not_be_captured_names_the_way_out(
    open_tiny: OpenTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OVError(ExitCode.UNEXPECTED, "cudaStreamEndCapture failed", "please report this")

    engine, _, _ = open_tiny()
    monkeypatch.setattr(HostDevice, "capture", fail)
    with pytest.raises(OVError, match="a step can't be captured: cudaStreamEndCapture failed") as caught:
        engine.load("decoder")
    assert caught.value.hint == "take a recipe with cuda_graphs = no"


def test_streamed_weights_are_not_captured(open_tiny: OpenTiny) -> None:
    engine, backend, _ = open_tiny(resident_weights_percent="50")
    decode_steps(engine, engine.new_cache(100), 1, 3)
    assert backend.device.captures == 0


def test_a_swap_copies_nothing_and_a_copy_only_what_is_held(open_tiny: OpenTiny) -> None:
    engine, backend, _ = open_tiny()
    device, cache = backend.device, engine.new_cache(600, 2)
    engine.decode(cache, np.ones((1, 60), np.int64), logits_index_BK=np.zeros((1, 0), np.int64), slots=slice(0, 1))
    before = device.copied_bytes
    cache.swap(0, 1)
    device.synchronize()
    assert device.copied_bytes == before and cache.lengths == [0, 60]
    cache.copy(1, 0, 25)
    device.synchronize()
    assert device.copied_bytes - before == 25 * 2 * LAYERS * 2 * DIRECT * 4 and cache.lengths == [25, 60]
    cache.copy(1, 1, 30)
    assert cache.lengths == [25, 30]


def test_only_used_slots_take_memory_and_trim_gives_it_back(open_tiny: OpenTiny) -> None:
    engine, _, _ = open_tiny()
    cache = engine.new_cache(600, 8)
    assert cache.allocated_bytes == 0
    for slot in (2, 5):
        ids_BS, none_BK = np.ones((1, 3), np.int64), np.zeros((1, 0), np.int64)
        engine.decode(cache, ids_BS, logits_index_BK=none_BK, slots=slice(slot, slot + 1))
    region_bytes = 2 * LAYERS * 768 * 2 * DIRECT * 4
    assert cache.allocated_bytes == 2 * region_bytes
    cache.rewind(5, 0)
    cache.trim()
    assert cache.allocated_bytes == region_bytes


def test_little_is_kept_of_what_is_not_used(open_tiny: OpenTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepper, "PASTS_KEPT", 2)
    monkeypatch.setattr(stepper, "GRAPHS_KEPT", 1)
    engine, _, model = open_tiny()
    slots, rows_BK = 2, np.zeros((2, 1), np.int64)
    oracle, cache = make_oracle(model, slots, 4), engine.new_cache(700, slots)
    for length in (100, 300, 600, 300, 100):
        for slot in range(slots):
            if length < cache.lengths[slot]:
                cache.rewind(slot, length)
                oracle.held[slot] = oracle.held[slot][:length]
            else:
                arguments = oracle.append(slot, length - cache.lengths[slot], pictures=False)
                none_BK, own = np.zeros((1, 0), np.int64), slice(slot, slot + 1)
                engine.decode(cache, **arguments, logits_index_BK=none_BK, slots=own)
        for step in range(3):
            ids_BS = np.concatenate([oracle.append(slot, 1, pictures=False)["ids_BS"] for slot in range(slots)])
            actual = engine.decode(cache, ids_BS, logits_index_BK=rows_BK)
            for slot in range(slots):
                assert_close(actual[slot], oracle.logits(slot, 1), f"{step=} {slot=} after {length}")
    kept = engine._stage("decoder", Decoder)._stepper
    assert len(kept._shaped) == 2 and len(kept._graphs) == 2


def test_rounded_pasts() -> None:
    most = 32_768
    for length in range(most):
        past = rounded_past(length, most)
        assert past % PAST_STEP == 0 and length <= past <= most
        assert past - length < max(PAST_STEP + 1, length / 8 + 1)
    assert len({rounded_past(length, most) for length in range(most)}) == 40
    assert rounded_past(0, 256) == rounded_past(256, 256) == PAST_STEP
    assert rounded_past(4097, 4352) == 4352, "not beyond what there is"
