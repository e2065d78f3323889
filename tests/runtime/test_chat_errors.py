"""A line of `ovrun chat` that fails is an error of its own, and the conversation is as it was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from chat_turns import conversation, texts_of, turn
from fake_engine import FakeEngine
from runners import Talk

from ovengines.errors import ExitCode, OVError
from ovrun.session import Session


@pytest.mark.parametrize(
    ("line", "fragments"),
    [
        ("/imgae x.png", ("no /imgae", "did you mean /image?")),
        ("/fly", ("no /fly", "/help")),
        ("/image", ("FILE...",)),
        ("/quit now", ("nothing more",)),
        ("/image missing.png", ("missing.png does not exist",)),
        ("/image clip.mp4", ("looks like a video", "/video clip.mp4")),
        ("/image 'a.png", ("quot",)),
        ("/video a b", ("one file", "2")),
        ("/video missing.mp4", ("missing.mp4 does not exist",)),
        ("/undo", ("nothing to undo",)),
        ("/stats", ("no answer yet",)),
        ("/load missing.json", ("missing.json", "No such file")),
        ("/save no/such/folder/a.json", ("can't be written",)),
        ("<image> what?", ("marks 1 images",)),
        ("<|im_end|>", ("<|im_end|>",)),
        ("\udcff", ("UTF-8",)),
        ("word " * 300, ("context of 256", "/undo and /clear make room")),
    ],
)
def test_a_line_that_fails_is_an_error_and_the_chat_goes_on(
    talk: Talk, session: Session, line: str, fragments: tuple[str, ...]
) -> None:
    code, answers, err = talk(line, "a")
    assert code == 3 and texts_of(answers) == conversation(session, turn("user", "a"))
    first, last = err.split("error: lines that failed: 1\n")
    assert re.fullmatch(r"error: [^\n]+\nhint: [^\n]+\n", first) and last.startswith("hint: ")
    assert all(fragment in first for fragment in fragments), first


def test_a_turn_that_fails_leaves_the_history_and_attaches_nothing(
    talk: Talk, session: Session, picture_file: Path
) -> None:
    code, answers, err = talk("a", f"/image {picture_file}", "<image> <image>", "b")
    assert code == 3 and texts_of(answers) == conversation(session, turn("user", "a"), turn("user", "b"))
    assert "nothing is attached any more" in err


def test_images_that_can_not_be_looked_at_cost_one_turn(
    talk: Talk, session: Session, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot had been rewound for them; what it held before is then read again."""
    expected = conversation(session, turn("user", "a"), turn("user", "b"))

    def fail(*_: Any) -> None:
        raise OVError(ExitCode.OUT_OF_MEMORY, "no memory for the tiles", "use --max-tiles")

    monkeypatch.setattr(FakeEngine, "encode", fail)
    code, answers, err = talk("a", "b", "/clear", f"/image {picture_file}", "c", "a", "b")
    assert code == 3 and texts_of(answers) == [*expected, *expected] and "no memory for the tiles" in err


@pytest.mark.parametrize(
    ("words", "code"),
    [(["missing.png"], 3), (["--video", "missing.mp4"], 3), (["--load", "missing.json"], 3), (["--top-p", "7"], 2)],
)
def test_what_is_wrong_at_the_start_ends_it(talk: Talk, words: list[str], code: int) -> None:
    assert talk("a", words=tuple(words))[:2] == (code, [])
