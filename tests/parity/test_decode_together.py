"""The real graphs on held-out drawings: decoded together, with drafts, in a conversation or over a window, the answer
is the one that each question gets alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ovexport.train.drawn.kinds import KINDS
from ovrun import Result, Session

NUM_REQUESTS = 100
NEW_TOKENS = 24


@pytest.fixture(scope="module", params=["fp32", "int8"])
def session(request: pytest.FixtureRequest, build_tiny: Callable[[str], Path]) -> Iterator[Session]:
    with Session.open(build_tiny(request.param), threads=1) as opened:
        yield opened


def requests(seed: int, count: int) -> list[dict[str, Any]]:
    """Text, one image, several, and clips; some about the same picture."""
    rng = random.Random(seed)
    made: list[dict[str, Any]] = []
    while len(made) < count:
        drawing = KINDS[rng.choice(list(KINDS))].draw(rng, held_out=True)
        for exchange in drawing.exchanges[: rng.randint(1, 3)]:
            request: dict[str, Any] = {"prompt": exchange.question, "max_new_tokens": rng.randint(2, NEW_TOKENS)}
            if drawing.images:
                request["images"] = list(drawing.images)
            if drawing.frames:
                request["video"] = list(drawing.frames)
            made.append(request)
    rng.shuffle(made)
    return made[:count]


@pytest.fixture(scope="module")
def alone(session: Session) -> list[Result]:
    return [session.generate(**request) for request in requests(1, NUM_REQUESTS)]


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_batched_equals_one_at_a_time(session: Session, alone: list[Result], slots: int) -> None:
    done = dict(session.batch(requests(1, NUM_REQUESTS), slots=slots))
    assert sorted(done) == list(range(NUM_REQUESTS))
    for number, expected in enumerate(alone):
        outcome = done[number]
        assert isinstance(outcome, Result)
        assert (outcome.token_ids, outcome.finish_reason) == (expected.token_ids, expected.finish_reason), number
    assert len({result.text for result in alone}) > 15, "answers that differ, or nothing could be mixed up"


def test_drafts_change_no_answer(session: Session, alone: list[Result]) -> None:
    for request, expected in zip(requests(1, NUM_REQUESTS), alone, strict=True):
        drafted = session.generate(**request, prompt_lookup_num_tokens=4)
        assert drafted.token_ids == expected.token_ids, request["prompt"]


@pytest.mark.parametrize("seed", range(5))
def test_a_conversation_reads_each_turn_once(session: Session, seed: int) -> None:
    drawing = KINDS["shapes"].draw(random.Random(seed), held_out=True)
    chat = session.chat(max_new_tokens=NEW_TOKENS)
    last: Result | None = None
    for turn, exchange in enumerate(drawing.exchanges[:4]):
        seen = session.vision.num_encoded_tiles
        result = chat.ask(exchange.question, drawing.images if turn == 0 else ())
        assert session.generate(messages=chat.messages[:-1], max_new_tokens=NEW_TOKENS).token_ids == result.token_ids
        if last:
            assert session.vision.num_encoded_tiles == seen
            # All but the last token of the answer, which was said and never read.
            assert result.reused_tokens >= last.prompt_tokens + last.completion_tokens - 1
        last = result
    kept = [*chat.messages[:3], *chat.messages[5:]]  # as if the second question had never been asked
    chat.messages[:] = kept
    again = chat.ask("How many shapes are there?")
    fresh = session.generate(messages=[*kept, chat.messages[-2]], max_new_tokens=NEW_TOKENS)
    assert again.token_ids == fresh.token_ids and again.reused_tokens > again.image_tokens


def test_a_window_over_a_video_answers_as_its_clip(session: Session) -> None:
    frames = [frame for seed in range(3) for frame in KINDS["motion"].draw(random.Random(seed), held_out=True).frames]
    question = "In which direction does the star move?"
    before = session.vision.num_encoded_tiles
    session.vision.cache.clear()
    answers = list(session.watch(frames, question, window=6, every=3, max_new_tokens=4))
    assert session.vision.num_encoded_tiles - before <= len(frames)
    for number, answer in enumerate(answers, start=1):
        shown = frames[max(0, 3 * number - 6) : 3 * number]
        assert session.generate(prompt=question, video=shown, max_new_tokens=4).token_ids == answer.token_ids
