"""The calls of the bridge, from Python: what the C++ programs can't time or provoke."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cpp_builds import ROOT

from ovengines.errors import ExitCode, OVError
from ovrun import embedding
from ovrun.session import Session


@pytest.fixture
def session(tiny_bundle: Path) -> Iterator[Session]:
    with embedding.open_bundle(str(tiny_bundle).encode(), [(b"threads", b"1")]) as opened:
        yield opened


def answer(target: Any, **asked: Any) -> embedding.Answer:
    request = {"prompt": None, "system": None, "images": [], "video": None, "options": [], "wants_more": lambda: True}
    return embedding.Answer(target, **{**request, **asked})


@pytest.mark.parametrize("questions_asked", [0, 1])
def test_cancelled_before_a_word_is_an_answer_without_words(session: Session, questions_asked: int) -> None:
    """While the tiles are looked at, and while the prompt is read."""
    asked = itertools.count()
    cancelled = answer(
        session,
        images=[str(ROOT / "examples").encode() + b"/shapes.png"],
        wants_more=lambda: next(asked) < questions_asked,
    )
    assert cancelled.piece() is None
    result = cancelled.result()
    assert result is not None and (result.text, result.finish_reason) == ("", "interrupted")
    whole = answer(session, images=[str(ROOT / "examples").encode() + b"/shapes.png"])
    assert "".join(iter(whole.piece, None)) == session.generate(images=[ROOT / "examples" / "shapes.png"]).text


def test_a_frame_is_let_go_of_when_the_call_returns(session: Session) -> None:
    """The memory could be freed then: whatever still looked at it would be a dangling pointer."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    chat = embedding.open_chat(session, None, [])
    frame = ("rgb", 40, 40, [(pixels.ctypes.data, 0)], "bt601", None)
    first = answer(chat, prompt=b"What is this?", images=[frame])
    while first.piece() is not None:
        pass
    pixels[:] = 0
    shown = chat.messages[-2]["content"][0]["image"]
    assert np.asarray(shown).any()  # a copy of what was there
    right = [message["content"][-1]["text"] for message in chat.messages]
    again = session.generate(messages=chat.messages[:-1]).text
    assert right[-1] == again


def test_an_answer_that_is_let_go_of_frees_what_it_held(session: Session) -> None:
    asked = answer(session, images=[str(ROOT / "examples").encode() + b"/tile.png"])
    asked.piece()
    gone = weakref.ref(asked)
    del asked
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OVError(ExitCode.BAD_INPUT, "no", "yes"), 3, "yes"),
        (MemoryError(), 7, "smaller"),
        (ZeroDivisionError("x"), 1, "ov_set_log"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_every_exception_has_a_status(error: BaseException, code: int, words: str) -> None:
    told = embedding.explain_error(error)
    assert told[0] == code and words in told[2] and "--debug" not in told[2]


def test_options_are_those_of_the_command_line(session: Session, tiny_bundle: Path) -> None:
    for name in (b"max-new-tokens", b"max_new_tokens", b"--max-new-tokens", b"max-tokens"):
        result = answer(session, options=[(name, b"2")])
        while result.piece() is not None:
            pass
        assert len(result.result().token_ids) == 2  # type: ignore[union-attr]
    stops = answer(session, options=[(b"stop", b"-x"), (b"stop", b"-- "), (b"temperature", b"0.5"), (b"seed", b"7")])
    assert stops.result() is not None
    with pytest.raises(OVError, match="--max-new-token") as caught:
        answer(session, options=[(b"max-new-token", b"2")])
    assert caught.value.code is ExitCode.USAGE and "did you mean --max-new-tokens?" in caught.value.hint
