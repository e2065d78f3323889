"""A standing question over a stream: the last frames, each encoded once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.session import Session

QUESTION = "what is shown?"


def frames(count: int, distinct: int = 1000) -> list[Image.Image]:
    made = [np.random.default_rng(n).integers(0, 256, (30, 40, 3), np.uint8) for n in range(min(count, distinct))]
    return [Image.fromarray(made[n % distinct]) for n in range(count)]


@pytest.mark.parametrize(("window", "every"), [(1, 1), (3, 1), (4, 2), (8, 5), (2, 4)])
def test_each_answer_is_that_of_its_window(session: Session, window: int, every: int) -> None:
    stream = frames(11)
    answers = list(session.watch(iter(stream), QUESTION, window=window, every=every, max_new_tokens=5))
    assert len(answers) == 11 // every
    for number, answer in enumerate(answers, start=1):
        shown = stream[max(0, number * every - window) : number * every]
        other = Session(session.bundle, FakeEngine(session.model), session.tokenizer, session.template)
        assert other.generate(prompt=QUESTION, video=shown, max_new_tokens=5).token_ids == answer.token_ids
        assert answer.tiles == len(shown)


@pytest.mark.parametrize("cache_bytes", ["1", ""])
def test_each_frame_is_encoded_once(session: Session, cache_bytes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where nothing is remembered beyond the window."""
    session.vision.cache.max_bytes = 1 if cache_bytes else session.vision.cache.max_bytes
    list(session.watch(frames(12), QUESTION, window=6, max_new_tokens=1))
    assert session.vision.num_encoded_tiles == 12


def test_equal_frames_are_encoded_once(session: Session) -> None:
    list(session.watch(frames(12, distinct=2), QUESTION, window=6, max_new_tokens=1))
    assert session.vision.num_encoded_tiles == 2


def test_an_endless_stream_is_answered_as_it_comes(session: Session) -> None:
    endless = itertools.cycle(frames(5))
    answers = session.watch(endless, QUESTION, window=2, max_new_tokens=2)
    assert [next(answers).tiles for _ in range(4)] == [1, 2, 2, 2]


@pytest.mark.parametrize("arguments", [{"window": 0}, {"every": 0}, {"max_new_tokens": 0}, {"colour": 1}])
def test_wrong_use_is_told_at_once(session: Session, arguments: dict[str, int]) -> None:
    with pytest.raises(OVError) as caught:
        session.watch([], QUESTION, **arguments)
    assert caught.value.code is ExitCode.USAGE
