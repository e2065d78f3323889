"""The drawn suite, from kinds made up here: every family as often as asked, and nothing lost on the way."""

from __future__ import annotations

import io
import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from ovexport.evaluate.drawn import drawn_suite
from ovexport.train.drawn.family import Drawing, Exchange, Family
from ovexport.train.drawn.kind import Kind


def family(name: str, vision_input: str, response: str = "fixed-form") -> Family:
    return Family(name=name, vision_input=vision_input, instruction="General", response=response, chance=0.25)


def noise(rng: random.Random) -> Image.Image:
    pixels = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def draw_still(rng: random.Random, *, held_out: bool) -> Drawing:
    assert held_out
    number = str(rng.randint(0, 9))
    exchanges = (
        Exchange(family="number", question="Which number?", answer=number),
        Exchange(family="sentence", question="Describe it.", answer=f"It is {number}."),
    )
    return Drawing(kind="still", images=tuple(noise(rng) for _ in range(rng.randint(1, 3))), exchanges=exchanges)


def draw_clip(rng: random.Random, *, held_out: bool) -> Drawing:
    exchange = Exchange(family="moves", question="Does it move?", answer=rng.choice(("Yes", "No")))
    return Drawing(kind="clip", frames=tuple(noise(rng) for _ in range(4)), exchanges=(exchange,))


KINDS = {
    "still": Kind(
        families=(family("number", "single-image"), family("sentence", "text", "free-form")), draw=draw_still
    ),
    "clip": Kind(families=(family("moves", "video"),), draw=draw_clip),
}


@pytest.mark.parametrize("per_family", [1, 7])
def test_every_family(per_family: int) -> None:
    seen: list[tuple[str, int, int]] = []
    suite = drawn_suite(KINDS, per_family, seed=3, progress=lambda *now: seen.append(now))
    assert Counter(q.family for q in suite.questions) == {
        "number": per_family,
        "sentence": per_family,
        "moves": per_family,
    }
    assert len({q.id for q in suite.questions}) == len(suite.questions) == seen[-1][1] == seen[-1][2]
    assert suite.settings == {"per_family": per_family, "seed": 3} and not suite.left_out
    for question in suite.questions:
        expected = {"number": ("fixed", "single-image"), "sentence": ("exact", "text"), "moves": ("fixed", "video")}
        assert (question.scorer, question.vision_input) == expected[question.family]
        assert (question.instruction, question.chance, question.choices) == ("General", 0.25, ())


def test_pictures_are_kept_bit_for_bit() -> None:
    drawings: list[Drawing] = []

    def remember(rng: random.Random, *, held_out: bool) -> Drawing:
        drawings.append(draw_clip(rng, held_out=held_out))
        return drawings[-1]

    suite = drawn_suite({"clip": Kind(families=KINDS["clip"].families, draw=remember)}, 3)
    for question, drawing in zip(suite.questions, drawings, strict=True):
        assert isinstance(question.video, tuple) and question.images == ()
        for file, frame in zip(question.video, drawing.frames, strict=True):
            assert isinstance(file, bytes) and np.array_equal(
                np.asarray(Image.open(io.BytesIO(file))), np.asarray(frame)
            )


def test_the_seed_decides() -> None:
    def pictures(seed: int) -> list[object]:
        return [(q.prompt, q.answers, q.images, q.video) for q in drawn_suite(KINDS, 4, seed).questions]

    assert pictures(1) == pictures(1) != pictures(2)
