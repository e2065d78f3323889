"""Answers decoded together, on an engine whose logits depend on all that came before in their own slot.

The oracle is one answer at a time over a fresh cache: no prefix, no neighbours, no drafts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from fake_engine import WIDTH, FakeEngine, make_model

from ovengines.errors import ExitCode, OVError
from ovrun.decode.answer import Answer
from ovrun.decode.prompt import Prompt, make_prompt
from ovrun.decode.rows import Row, Rows
from ovrun.options import GenerationOptions
from ovrun.prompt.expand import expand

VOCAB = 40
IMAGE = 3
CONTEXT = 256


def decode(ids: Sequence[int]) -> str:
    return "".join(chr(ord("a") + id_ % 26) for id_ in ids)


class World:
    """Sights by name, and how often each was looked at."""

    def __init__(self) -> None:
        self.looked: list[str] = []

    def prompt(self, ids: Sequence[int], sights: Sequence[str] = (), tokens: int = 5) -> Prompt:
        """Where an id is IMAGE the next sight stands."""

        def look(needed: Sequence[int]) -> np.ndarray:
            self.looked += [sights[number] for number in needed]
            rows = [np.random.default_rng(hash(sights[n]) % 2**32).standard_normal((tokens, WIDTH)) for n in needed]
            return np.concatenate(rows).astype(np.float32)

        counts = [tokens] * len(sights)
        return make_prompt(
            expand(ids, IMAGE, counts, pad_id=0), ids, counts, [sight.encode() for sight in sights], look
        )


def row_of(prompt: Prompt, **options: object) -> Row:
    chosen = GenerationOptions(**{"max_new_tokens": 12, **options})  # type: ignore[arg-type]
    return Row(prompt=prompt, answer=Answer(chosen, decode, eos_ids=(1, 2), prompt_ids=prompt.marked_ids))


def alone(prompt: Prompt, **options: object) -> tuple[list[int], str | None]:
    engine = FakeEngine(make_model(VOCAB, CONTEXT))
    rows, row = Rows(engine, 1, CONTEXT), row_of(prompt, **options)
    rows.add(row)
    list(rows.answers(row))
    return row.answer.token_ids, row.answer.finish_reason


def random_prompt(world: World, rng: random.Random, stems: Sequence[list[int]]) -> Prompt:
    """Beginnings are shared, so that there is something to keep."""
    ids = list(rng.choice(stems)) + [rng.randrange(4, VOCAB) for _ in range(rng.randint(1, 20))]
    return world.prompt(ids, [rng.choice("xyz") for _ in range(ids.count(IMAGE))])


@pytest.mark.parametrize("seed", range(60))
def test_rows_that_come_and_go_answer_as_if_alone(seed: int) -> None:
    rng, world = random.Random(seed), World()
    stems = [[5, IMAGE, 7], [5, IMAGE, *range(4, 39)], [9], [*range(4, 38), IMAGE, 8, IMAGE, 4]]
    engine = FakeEngine(make_model(VOCAB, CONTEXT))
    engine.best_is_cheap = rng.random() < 0.5
    rows = Rows(engine, rng.randint(1, 5), CONTEXT)
    waiting = [
        (
            random_prompt(world, rng, stems),
            {"max_new_tokens": rng.randint(1, 15), "temperature": rng.choice((0, 0, 1.5))},
        )
        for _ in range(25)
    ]
    running: list[tuple[Row, Prompt, dict[str, object], int]] = []
    while waiting or running:
        while waiting and rows.has_room and rng.random() < 0.6:
            prompt, options = waiting.pop()
            how = {"prefill_chunk_tokens": rng.randint(1, 30), "prompt_lookup_num_tokens": rng.choice((0, 3))}
            row = row_of(prompt, seed=seed, **options, **how)
            rows.add(row)
            running.append((row, prompt, options, rng.choice((0, 0, 0, 5))))
        said = rows.step()
        assert all(row.answer.text.endswith(piece) for row, piece in said), f"{seed=}"
        for entry in list(running):
            row, prompt, options, patience = entry
            if row.is_done:
                expected = alone(prompt, seed=seed, **options)
                assert (row.answer.token_ids, row.answer.finish_reason) == expected, f"{seed=}"
            elif patience and len(row.answer.token_ids) >= patience:
                rows.drop(row)  # somebody went away
            else:
                continue
            running.remove(entry)
    assert len(rows) == 0


def test_rows_step_together() -> None:
    engine, world = FakeEngine(make_model(VOCAB, CONTEXT)), World()
    rows = Rows(engine, 3, CONTEXT)
    for first in (5, 6, 7):
        rows.add(row_of(world.prompt([first, 8, 9])))
    while len(rows):
        rows.step()
    assert max(engine.rows) == 3 and len(engine.rows) < 3 * 12


def test_no_step_and_no_logits_too_many() -> None:
    engine, world = FakeEngine(make_model(VOCAB, CONTEXT)), World()
    rows, row = Rows(engine, 1, CONTEXT), row_of(world.prompt(range(5, 15)), max_new_tokens=7, prefill_chunk_tokens=4)
    rows.add(row)
    list(rows.answers(row))
    assert len(row.answer.token_ids) == 7 or row.answer.finish_reason == "stop"
    assert engine.chunks[:3] == [(4, 0), (4, 0), (2, 1)]
    assert len(engine.chunks) == 3 + len(row.answer.token_ids) - 1  # the last token needs no logits after it


def test_what_was_read_before_is_not_read_again() -> None:
    engine, world = FakeEngine(make_model(VOCAB, CONTEXT)), World()
    rows = Rows(engine, 2, CONTEXT)
    stem = [4, IMAGE, *range(5, 39)]
    for number, question in enumerate(([20, 21], [22], [20, 21])):
        row = row_of(world.prompt([*stem, *question], ["x"]))
        rows.add(row)
        list(rows.answers(row))
        kept = len(stem) + 4  # five positions for one marker
        assert row.num_reused == (0, kept, kept)[number]
    assert world.looked == ["x"]


def test_two_with_the_same_beginning_read_it_once_between_them() -> None:
    engine, world = FakeEngine(make_model(VOCAB, CONTEXT)), World()
    rows = Rows(engine, 4, CONTEXT)
    stem = [4, IMAGE, *range(5, 39)]
    added = [row_of(world.prompt([*stem, number], ["x"])) for number in (30, 31, 32)]
    for row in added:
        rows.add(row)
    while len(rows):
        rows.step()
    assert [row.num_reused for row in added] == [0, len(stem) + 4, len(stem) + 4] and world.looked == ["x"]


@pytest.mark.parametrize("sights", [["y"], ["x", "y"]])
def test_another_picture_at_the_same_place_is_another_prompt(sights: list[str]) -> None:
    engine, world = FakeEngine(make_model(VOCAB, CONTEXT)), World()
    rows = Rows(engine, 1, CONTEXT)
    stem = [4, 5, IMAGE] if len(sights) == 1 else [4, IMAGE, IMAGE]
    first = row_of(world.prompt([*stem, 20], ["x"] * len(sights)))
    rows.add(first)
    list(rows.answers(first))
    prompt = world.prompt([*stem, 20], sights)
    second = row_of(prompt)
    rows.add(second)
    list(rows.answers(second))
    assert second.num_reused == (2 if len(sights) == 1 else 1 + 5)
    assert second.answer.token_ids == alone(prompt)[0]


@pytest.mark.parametrize(
    ("cheap", "options", "asked"),
    [
        (True, {}, True),
        (True, {"repetition_penalty": 1.2}, False),
        (True, {"temperature": 1.0, "seed": 3}, False),
        (False, {}, False),
    ],
)
def test_logits_are_asked_for_only_where_they_are_needed(cheap: bool, options: dict[str, object], asked: bool) -> None:
    engine, world = FakeEngine(make_model(VOCAB, CONTEXT)), World()
    engine.best_is_cheap = cheap
    rows, row = Rows(engine, 1, CONTEXT), row_of(world.prompt(range(5, 15)), **options)
    rows.add(row)
    list(rows.answers(row))
    assert engine.best_asked == (len(engine.chunks) if asked else 0)
    assert row.answer.token_ids == alone(world.prompt(range(5, 15)), **options)[0]


@pytest.mark.parametrize("seed", range(20))
def test_drafts_change_steps_and_not_answers(seed: int) -> None:
    """Logits of the fake repeat nothing, so it is made to: some drafts are right, some are not."""
    rng = random.Random(seed)
    loop = [rng.randrange(4, VOCAB) for _ in range(rng.randint(2, 5))]
    forced = (loop * 8)[: rng.randint(8, 24)]
    steps = {}
    for draft_tokens in (0, 4):
        engine, world = FakeEngine(make_model(VOCAB, CONTEXT)), World()
        engine.best_is_cheap = bool(seed % 2)
        engine.script = {10 + number: token for number, token in enumerate(forced)}  # by position
        rows = Rows(engine, 1, CONTEXT)
        row = row_of(world.prompt(range(5, 16)), max_new_tokens=30, prompt_lookup_num_tokens=draft_tokens)
        rows.add(row)
        text = "".join(rows.answers(row))
        assert text == row.answer.text
        steps[draft_tokens] = row.num_steps, row.answer.token_ids
    assert steps[0][1] == steps[4][1], f"{seed=}"
    assert steps[4][0] < steps[0][0] or len(forced) < 10


def test_logits_that_are_no_numbers_end_one_row_only(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, world = FakeEngine(make_model(VOCAB, CONTEXT)), World()
    rows = Rows(engine, 2, CONTEXT)
    bad, good = row_of(world.prompt([5, 6])), row_of(world.prompt([7, 8]))
    rows.add(bad)
    rows.add(good)
    rows.step()
    rows.step()
    monkeypatch.setattr(bad.answer._sampler, "pick", _broken)
    while len(rows):
        rows.step()
    assert bad.error and bad.error.code is ExitCode.BUNDLE_INVALID and bad.is_done
    assert good.answer.token_ids == alone(world.prompt([7, 8]))[0]


def _broken(logits_V: np.ndarray) -> int:
    raise OVError(ExitCode.BUNDLE_INVALID, "not numbers", "use another precision")


def test_a_prompt_that_can_not_be_seen_ends_alone() -> None:
    engine, world = FakeEngine(make_model(VOCAB, CONTEXT)), World()
    rows = Rows(engine, 2, CONTEXT)
    prompt = world.prompt([5, IMAGE], ["x"])

    def out_of_memory(needed: Sequence[int]) -> np.ndarray:
        raise OVError(ExitCode.OUT_OF_MEMORY, "the tower ran out of memory", "use a smaller image")

    broken = row_of(Prompt(**{**vars(prompt), "look": out_of_memory}))
    fine = row_of(world.prompt([7, 8]))
    rows.add(broken)
    rows.add(fine)
    while len(rows):
        rows.step()
    assert broken.error and broken.error.code is ExitCode.OUT_OF_MEMORY and not broken.answer.token_ids
    assert fine.answer.token_ids == alone(world.prompt([7, 8]))[0]
    with pytest.raises(OVError):
        row = row_of(Prompt(**{**vars(prompt), "look": out_of_memory}))
        rows.add(row)
        list(rows.answers(row))


def test_long_prompts_are_forgotten_when_all_is_done() -> None:
    engine, world = FakeEngine(make_model(VOCAB, CONTEXT)), World()
    rows = Rows(engine, 2, CONTEXT, keep_tokens=30)
    for length, reused in ((60, 0), (60, 0), (10, 0), (10, 9)):
        row = row_of(world.prompt([*range(4, 34), *range(4, 34)][:length]), max_new_tokens=2)
        rows.add(row)
        list(rows.answers(row))
        assert row.num_reused == reused, length


def test_pixels_are_let_go_once_a_prompt_is_read() -> None:
    engine, world = FakeEngine(make_model(VOCAB, CONTEXT)), World()
    rows, row = Rows(engine, 1, CONTEXT), row_of(world.prompt([5, IMAGE], ["x"]))
    rows.add(row)
    list(rows.answers(row))
    assert row.embeds_TD is None
    with pytest.raises(RuntimeError):
        row.prompt.look([0])
