"""`ovrun chat` typed at a terminal: completion, the lines of earlier chats, and the keys that stop and leave."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from ovrun.commands.chat.completion import completions
from ovrun.commands.chat.history import MAX_LINES, History
from ovrun.commands.chat.orders import ORDERS

WAIT_S = 60


def test_completions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "cats").mkdir()
    for name in ("car.png", "my cat.png", "it's.png", ".hidden.png", "cats/one.png"):
        (tmp_path / name).touch()

    def complete(line: str) -> list[str]:
        return completions(line, ORDERS, ["/image"])

    assert complete("/s") == ["/system ", "/save ", "/stats "]
    assert complete("") == complete("how") == complete("/undo ca") == complete("/image nothing/") == []
    assert complete("/image ca") == ["car.png ", "cats/"]
    assert complete("/image a.png cats/o") == ["cats/one.png "]
    assert complete("/image my") == ["my\\ cat.png "] and complete("/image my\\ c") == ["cat.png "]
    assert complete("/image it") == ["it\\'s.png "] and complete("/image .h") == [".hidden.png "]
    assert complete("/image ~/cat") == ["~/cats/"]
    assert len(complete("/image ")) == 4


def test_history_is_for_its_owner_alone(tmp_path: Path) -> None:
    history = History(tmp_path / "home" / "chat_history")
    assert history.lines() == []
    for line in ("a", " ", "é"):
        history.add(line)
    assert history.lines() == ["a", "é"] and history.file.stat().st_mode & 0o777 == 0o600
    history.file.write_text("".join(f"{number}\n" for number in range(2 * MAX_LINES + 1)))
    history.file.chmod(0o644)
    assert history.lines()[-1] == str(2 * MAX_LINES) and len(history.lines()) == MAX_LINES
    assert history.file.stat().st_mode & 0o777 == 0o600 and history.file.read_text().count("\n") == MAX_LINES
    History(tmp_path).add("a folder is no history, and no error")


CHILD = """
import sys, time
sys.path.insert(0, sys.argv.pop(1))
import fake_engine, ovrun.session
class Slow(fake_engine.FakeEngine):
    def decode(self, *args, **kwargs):
        time.sleep(0.05)
        return super().decode(*args, **kwargs)
ovrun.session.open_engine = lambda bundle, device, threads, progress: Slow(bundle.manifest.model)
from ovrun.cli import main
sys.exit(main(sys.argv[1:]))
"""


class Screen:
    """A chat in a process of its own that has a terminal of its own."""

    def __init__(self, bundle: Path, home: Path, *words: str) -> None:
        self.ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "dumb", "OV_HOME": str(home), "INPUTRC": "/dev/null"}
        command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), "chat", "-m", str(bundle), *words]

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a suite in the background ignores it

        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=home, preexec_fn=own_terminal
        )
        os.close(theirs)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def press_ctrl_c(self) -> None:
        time.sleep(0.3)  # a prompt is shown a moment before readline listens, and what comes between is heard late
        self.type("\x03")

    def wait_for(self, pattern: str) -> str:
        """What was shown up to and with what fits the pattern, since the last call."""
        end_s = time.monotonic() + WAIT_S
        while (found := re.search(pattern, self.shown)) is None:
            ready, _, _ = select.select([self.ours], [], [], max(0.0, end_s - time.monotonic()))
            assert ready, f"no {pattern!r} in {self.shown!r}"
            try:
                self.shown += os.read(self.ours, 1000).decode(errors="replace").replace("\r", "")
            except OSError:  # the other end is closed
                raise AssertionError(f"no {pattern!r} in {self.shown!r}") from None
        before, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return before

    def leave(self) -> int:
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            os.close(self.ours)


def test_typed_at_a_terminal(bundle_path: Path, picture_file: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    picture_file.rename(home / "my picture.png")
    screen = Screen(bundle_path, home)
    assert "tests/fake on fake-cpu; /help lists the commands\n" in screen.wait_for("^.*\n> ")
    screen.type("/im\tmy\t\n")
    assert "/image my\\ picture.png " in screen.wait_for("with the next question: 1 image\n")
    screen.wait_for(r"\[1 image\] > ")
    screen.type("what?\n")
    screen.wait_for("what\\?\n.")  # in mid-answer
    screen.press_ctrl_c()
    screen.wait_for("\nstopped\n> ")
    screen.type("/save a.json\n")
    screen.wait_for("saved in a.json\n> ")
    kept = json.loads((home / "a.json").read_text())["messages"]
    assert kept[1]["content"][0]["image"] == str(home / "my picture.png")
    assert 0 < len(kept[2]["content"][0]["text"]) < 300
    screen.type("never asked")
    screen.wait_for("never asked")
    screen.press_ctrl_c()  # drops the line
    screen.wait_for("\n> ")
    screen.press_ctrl_c()
    screen.wait_for("Ctrl-C again.*\n> ")
    screen.press_ctrl_c()
    screen.wait_for("error: interrupted\n")
    assert screen.leave() == 130
    history = home / "chat_history"
    assert history.read_text() == "/image my\\ picture.png \nwhat?\n/save a.json\n"
    assert history.stat().st_mode & 0o777 == 0o600


def test_lines_of_earlier_chats_come_back_and_ctrl_d_leaves(bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "chat_history").write_text("/system Answer in one word.\n")
    screen = Screen(bundle_path, tmp_path, "-q")
    screen.wait_for("^> ")
    screen.type("\x10\n")  # Ctrl-P: the line before
    screen.wait_for("one word.\n> ")
    screen.type("/system\n")
    screen.wait_for("/system\nAnswer in one word.\n> ")
    screen.type("\x04")
    assert screen.leave() == 0
