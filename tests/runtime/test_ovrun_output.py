"""How the command line writes: to terminals, in poor locales, and to readers that leave."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from runners import Run

from ovrun.session import Session
from ovrun.terminal import Terminal


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """stderr counts as a terminal with colours."""
    monkeypatch.setattr(Terminal, "is_terminal", True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("on_screen")
def test_progress_is_drawn_on_a_terminal_and_removed(
    run: Run, picture_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OV_MAX_TILE_BATCH_BYTES", "1")  # one tile at a time
    code, out, err = run(picture_file, "--max-new-tokens", 3)
    drawn = f"\rlooking at the tiles {100 // 7}%"
    assert code == 0 and drawn in err and err.endswith("\r") and "\n" not in err
    assert run(picture_file, "--max-new-tokens", 3, "-q") == (0, out, "")
    terminal = Terminal()
    terminal.progress("looking", 1, 4)
    terminal.progress("looking", 2, 4)  # too soon to redraw
    terminal.progress("looking", 4, 4)
    assert capsys.readouterr().err == "\rlooking 25%\r" + " " * 11 + "\r"


@pytest.mark.usefixtures("on_screen")
@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_only_where_it_is_wanted(run: Run, variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[31merror:\x1b[0m" in run("missing.png")[2]
    monkeypatch.setenv(variable, value)
    assert run("missing.png")[2].startswith("error: missing.png")


def test_a_real_terminal_is_recognised(bundle_path: Path) -> None:
    script = "import sys; from ovrun.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "TERM": "xterm", "OV_HOME": str(bundle_path.parent.parent)}
    environment.pop("NO_COLOR", None)
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", script, "--no-such-flag"]
    done = subprocess.run(words, stderr=theirs, stdout=subprocess.PIPE, env=environment, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert (done.returncode, done.stdout) == (2, b"") and shown.startswith("\x1b[31merror:\x1b[0m ")


def _force_answer(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every session answer `text`."""
    original = Session.open

    def open_forced(*args: Any) -> Session:
        session = original(*args)
        ids = session.tokenizer.encode(text)
        session.engine.forced = [*ids, session.model.eos_token_ids[0]]  # type: ignore[attr-defined]
        return session

    monkeypatch.setattr(Session, "open", open_forced)


def test_an_answer_cannot_send_control_characters_to_a_terminal(
    run: Run, picture_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _force_answer("a\x1b[2Jb\tc\n😀\u200d\u3000图", monkeypatch)
    written = []
    for out in (io.StringIO(), _Screen()):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            assert run(picture_file)[0] == 0
        written.append(out.getvalue())
    assert written == ["a\x1b[2Jb\tc\n😀\u200d\u3000图\n", "a?[2Jb\tc\n😀\u200d\u3000图\n"]


@pytest.mark.parametrize("json_", [False, True])
def test_a_locale_without_the_characters_is_no_error(
    run: Run, picture_file: Path, json_: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _force_answer("ok 图", monkeypatch)
    encoded = io.BytesIO()
    stdout = io.TextIOWrapper(encoded, encoding="ascii")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        assert run(picture_file, *(["--json"] if json_ else []))[0] == 0
    written = encoded.getvalue()
    assert json.loads(written)["text"] == "ok 图" if json_ else written == b"ok ?\n"


def test_interrupted_answer_ends_its_line(
    run: Run, picture_file: Path, engines: list[FakeEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FakeEngine.decode
    steps: list[int] = []

    def interrupted(self: FakeEngine, *args: object, **kwargs: object) -> np.ndarray:
        steps.append(1)
        if len(steps) > 20:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeEngine, "decode", interrupted)
    code, out, err = run(picture_file)
    assert code == 130 and len(out) > 3 and out.endswith("\n") and err == "error: interrupted\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    script = "import sys; from ovrun.cli import main; print('x' * 100_000); sys.exit(main(['--help']))"
    done = subprocess.run(f'"{sys.executable}" -c "{script}" | true', shell=True, capture_output=True, timeout=60)
    assert done.returncode == 0
    script = "import sys; from ovrun.cli import main; sys.exit(main(['--help']))"
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run([sys.executable, "-c", script], stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert (process.returncode, process.stderr) == (0, b"")
