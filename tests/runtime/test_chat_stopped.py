"""Ctrl-C in a chat: what was said stays, and what is half done goes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_turns import SYSTEM, conversation, give_lines, turn
from fake_engine import FakeEngine

from ovrun.cli import main
from ovrun.commands.chat.attached import Attached
from ovrun.commands.chat.dialog import Dialog
from ovrun.session import Session
from ovrun.terminal import Terminal


class Typed:
    """Lines that somebody types."""

    typed = True

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)

    def read(self, prompt: str) -> str:
        if not self.lines:
            raise EOFError
        return self.lines.pop(0)


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """SIGINT is KeyboardInterrupt, also where the suite runs in the background and ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def interrupt_once(name: str, at_call: int, presses: int, patch: pytest.MonkeyPatch) -> None:
    """Presses Ctrl-C while the engine is in this call of a method."""
    original, calls = getattr(FakeEngine, name), []

    def interrupted(self: FakeEngine, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == at_call:
            for _ in range(presses):
                os.kill(os.getpid(), signal.SIGINT)
        return original(self, *args, **kwargs)

    patch.setattr(FakeEngine, name, interrupted)


@pytest.mark.usefixtures("heard_interrupts")
@pytest.mark.parametrize(
    ("name", "at_call", "presses", "said"),
    [
        ("encode", 1, 1, "stopped before the answer: the question is not kept"),
        ("decode", 1, 1, "stopped before the answer: the question is not kept"),
        ("decode", 7, 1, "stopped"),
        ("encode", 1, 2, "stopped"),
        ("decode", 7, 2, "stopped"),
    ],
)
def test_ctrl_c_stops_the_answer_and_keeps_what_was_said(
    session: Session,
    picture_file: Path,
    name: str,
    at_call: int,
    presses: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pressed twice, the second time in the middle of whatever the engine does, the question is not kept."""
    monkeypatch.setenv("OV_MAX_TILE_BATCH_BYTES", "1")  # one tile at a time
    a, b = turn("user", "a"), turn("user", "b", ("image", picture_file))
    first, whole, after = (
        conversation(session, *questions)[-1] for questions in ((a,), (a, b), (a, turn("user", "c")))
    )
    options = {"max_new_tokens": 9, "prefill_chunk_tokens": 40}
    dialog = Dialog(
        session, lambda: session.chat(**options), Attached(), Typed("a"), Terminal(), json=False, stats=False
    )
    dialog.run(None)
    capsys.readouterr()
    session.vision.cache.clear()
    interrupt_once(name, at_call, presses, monkeypatch)
    dialog._lines = Typed(f"/image {picture_file}", "b")
    dialog.run(None)
    out, err = capsys.readouterr()
    assert err.endswith(f"\n{said}\n")
    kept = name == "decode" and presses == 1 and at_call == 7
    if kept:
        assert 0 < len(out) - 1 < len(whole) and whole.startswith(out[:-1])
        assert dialog.chat.messages[-2:] == [b, turn("assistant", out[:-1])]
        dialog._lines = Typed("/undo", "c")
    else:
        dialog._lines = Typed("c")
    assert dialog.chat.messages[:3] == [SYSTEM, a, turn("assistant", first)]
    assert len(dialog.chat.messages) == (5 if kept else 3)
    dialog.run(None)
    assert capsys.readouterr().out == after.removesuffix("\n") + "\n"


def test_ctrl_c_ends_a_script(
    bundle_path: Path, engines: list[FakeEngine], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeEngine, "decode", interrupted)
    give_lines(("a", "b"), monkeypatch)
    assert main(["chat", "-m", str(bundle_path)]) == 130
    assert capsys.readouterr() == ("", "error: interrupted\n")
