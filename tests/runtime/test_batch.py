"""Many requests over shared slots: each gets the answer it would get alone, and errors are its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.result import Result
from ovrun.session import Session

TEXTS = ("what is it?", "describe this image", "two blue squares?", "is it red?")


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8))


def requests(rng: random.Random, count: int) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for _ in range(count):
        request: dict[str, Any] = {"prompt": rng.choice(TEXTS), "max_new_tokens": rng.randint(1, 9)}
        kind = rng.choice(("text", "image", "images", "video", "broken"))
        if kind in ("image", "images"):
            request["images"] = [picture(rng.randrange(4)) for _ in range(1 if kind == "image" else 2)]
        elif kind == "video":
            request["video"] = [picture(rng.randrange(4)) for _ in range(3)]
        elif kind == "broken":
            request["images"] = [rng.choice(["no-such.png", b"", 7])]
        made.append(request)
    return made


@pytest.mark.parametrize("seed", range(12))
def test_batched_equals_one_at_a_time(session: Session, seed: int) -> None:
    rng = random.Random(seed)
    asked = requests(rng, 20)
    done = list(session.batch(asked, slots=rng.randint(1, 6)))
    assert sorted(number for number, _ in done) == list(range(20))
    for number, outcome in done:
        other = Session(session.bundle, FakeEngine(session.model), session.tokenizer, session.template)
        try:
            expected = other.generate(**asked[number])
        except OVError as error:
            assert isinstance(outcome, OVError) and outcome.code is error.code is ExitCode.BAD_INPUT
            continue
        assert isinstance(outcome, Result)
        assert (outcome.token_ids, outcome.text) == (expected.token_ids, expected.text), f"{seed=}"
        assert (outcome.finish_reason, outcome.tiles) == (expected.finish_reason, expected.tiles)


def test_requests_are_taken_as_slots_become_free(session: Session) -> None:
    taken: list[int] = []

    def endless() -> Iterator[dict[str, Any]]:
        for number in range(10**9):
            taken.append(number)
            yield {"prompt": TEXTS[number % 4], "max_new_tokens": 2}

    answers = session.batch(endless(), slots=3)
    for _ in range(5):
        next(answers)
    assert len(taken) < 12


def test_one_picture_and_many_prompts_is_seen_and_read_once(session: Session) -> None:
    asked = [{"prompt": text, "images": [picture(1)], "max_new_tokens": 3} for text in TEXTS]
    done = dict(session.batch(asked, slots=2))
    first = done[0]
    assert isinstance(first, Result) and session.vision.num_encoded_tiles <= first.tiles
    later = [outcome for number, outcome in done.items() if number]
    assert all(isinstance(r, Result) and r.reused_tokens > first.image_tokens for r in later)
