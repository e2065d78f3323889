"""`ovrun chat`: from a script, whose answers are those of `Session.generate`, and typed at a terminal."""

from __future__ import annotations

import fcntl
import io
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.cli import main
from ovrun.commands.chat.attached import Attached
from ovrun.commands.chat.completion import completions
from ovrun.commands.chat.dialog import Dialog
from ovrun.commands.chat.history import MAX_LINES, History
from ovrun.commands.chat.orders import ORDERS
from ovrun.commands.chat.transcript import load
from ovrun.session import Session
from ovrun.terminal import Terminal

Talk = Callable[..., tuple[int, list[str], str]]
WAIT_S = 60
SHORT = ("--max-new-tokens", "9")


def give_lines(lines: tuple[str, ...], patch: pytest.MonkeyPatch) -> None:
    script = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(script), encoding="utf-8"))


@pytest.fixture
def talk(
    bundle_path: Path,
    engines: list[FakeEngine],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Talk:
    """Runs a chat on the fake bundle with lines on stdin: exit code, answers (as objects of --json), stderr."""

    def run(*lines: str, words: tuple[object, ...] = ()) -> tuple[int, list[Any], str]:
        give_lines(lines, monkeypatch)
        code = main(["chat", "-m", str(bundle_path), "--json", *SHORT, *map(str, words)])
        captured = capsys.readouterr()
        return code, [json.loads(line) for line in captured.out.splitlines()], captured.err

    return run


def turn(role: str, text: str, *media: tuple[str, Path]) -> dict[str, Any]:
    content = [{"type": kind, kind: str(path)} for kind, path in media]
    return {"role": role, "content": [*content, {"type": "text", "text": text}]}


SYSTEM = turn("system", "You are a helpful assistant.")


def conversation(session: Session, *questions: dict[str, Any], system: Any = SYSTEM) -> list[str]:
    """What `Session.generate` answers to each, after all the others."""
    messages, texts = [system] if system else [], []
    for question in questions:
        messages = [*messages, question]
        texts.append(session.generate(messages=messages, max_new_tokens=9).text)
        messages = [*messages, turn("assistant", texts[-1])]
    return texts


def texts_of(answers: list[Any]) -> list[str]:
    return [answer["text"] for answer in answers]


def test_turns_are_those_of_one_conversation(talk: Talk, session: Session, picture_file: Path) -> None:
    code, answers, err = talk("what?", f"/image {picture_file}", "", "and this?", "is it red?")
    expected = conversation(
        session, turn("user", "what?"), turn("user", "and this?", ("image", picture_file)), turn("user", "is it red?")
    )
    assert (code, texts_of(answers), err) == (0, expected, "")
    assert answers[0]["reused_tokens"] == 0 and all(answer["reused_tokens"] > 20 for answer in answers[1:])


def test_what_is_on_the_command_line_is_the_first_turn(talk: Talk, session: Session, picture_file: Path) -> None:
    first = turn("user", "what?", ("image", picture_file), ("image", picture_file))
    expected = conversation(session, first, turn("user", "more?"))
    media = (picture_file, picture_file)
    assert texts_of(talk("more?", words=(*media, "-p", "what?"))[1]) == expected
    assert texts_of(talk("what?", "more?", words=media)[1]) == expected


def test_a_folder_of_frames_is_a_video(talk: Talk, session: Session, tmp_path: Path) -> None:
    clip = tmp_path / "my clip"
    clip.mkdir()
    for number in range(3):
        Image.new("RGB", (30, 30), (80 * number, 0, 0)).save(clip / f"{number}.png")
    question = turn("user", "what moves?", ("video", clip))
    expected = session.generate(messages=[SYSTEM, question], max_new_tokens=9, num_frames=2)
    code, answers, _ = talk(f'/video "{clip}"', "what moves?", words=("--num-frames", 2))
    assert (code, texts_of(answers), answers[0]["tiles"]) == (0, [expected.text], 2)
    assert talk("what moves?", words=("--num-frames", 2, "--video", clip))[1][0]["text"] == expected.text


def test_lines_that_go_on_and_lines_that_are_no_commands(talk: Talk, session: Session) -> None:
    code, answers, _ = talk("one\\", "two", "//three", "four\\\\", "five\\")
    asked = ("one\ntwo", "/three", "four\\\\", "five\n")
    assert code == 0 and texts_of(answers) == conversation(session, *(turn("user", text) for text in asked))


def test_orders_change_the_history(talk: Talk, session: Session) -> None:
    a, b, c = (turn("user", text) for text in "abc")
    brief = turn("system", "Be brief.")
    ab = conversation(session, a, b)
    assert texts_of(talk("a", "c", "/undo", "b")[1])[2] == ab[1]
    assert texts_of(talk("a", "b", "/clear", "c")[1]) == [*ab, *conversation(session, c)]
    assert texts_of(talk("/system Be brief.", "a", "/clear", "b")[1]) == [
        *conversation(session, a, system=brief),
        *conversation(session, b, system=brief),
    ]
    assert texts_of(talk('/system ""', "a")[1]) == conversation(session, a, system=None)
    assert texts_of(talk("a", words=("--system", "Be brief."))[1]) == conversation(session, a, system=brief)
    assert texts_of(talk("a", "/quit", "b")[1]) == ab[:1]


def test_undo_takes_what_is_attached_first(talk: Talk, session: Session, picture_file: Path) -> None:
    lines = ("a", f"/image {picture_file}", "/undo", "b")
    assert texts_of(talk(*lines)[1]) == conversation(session, turn("user", "a"), turn("user", "b"))


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


@pytest.mark.parametrize(
    ("words", "code"),
    [(["missing.png"], 3), (["--video", "missing.mp4"], 3), (["--load", "missing.json"], 3), (["--top-p", "7"], 2)],
)
def test_what_is_wrong_at_the_start_ends_it(talk: Talk, words: list[str], code: int) -> None:
    assert talk("a", words=tuple(words))[:2] == (code, [])


def test_saved_and_loaded(
    talk: Talk, session: Session, picture_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "talk.json"
    first, second = turn("user", "what?", ("image", picture_file)), turn("user", "more?")
    expected = conversation(session, first, second)
    assert talk(f"/image {picture_file.name}", "what?", "/save talk.json")[0] == 0
    written = json.loads(file.read_bytes())
    assert (written["format"], written["version"], written["model"]) == ("ovrun-chat", 1, "tests/fake")
    assert written["messages"] == load(file) == [SYSTEM, first, turn("assistant", expected[0])]
    assert texts_of(talk("/load talk.json", "more?", "/save talk.json")[1]) == expected[1:]
    assert texts_of(talk("/undo", "more?", words=("--load", file))[1]) == expected[1:]
    assert len(load(file)) == 5 and sorted(os.listdir(tmp_path))[-1] == "talk.json"
    picture_file.unlink()
    code, answers, err = talk("/load talk.json", "a")
    assert (code, texts_of(answers)) == (3, conversation(session, turn("user", "a"))) and str(picture_file) in err


def test_only_conversations_are_loaded_or_replaced(talk: Talk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"format": "ovrun-chat", "version": 1, "messages": [turn("user", "a")]}
    bad = [
        b"",
        b"\xff\xfe{",
        b"[" * 100_000,
        b"[]",
        json.dumps({**good, "format": "x"}).encode(),
        json.dumps({**good, "version": "1"}).encode(),
        json.dumps({**good, "messages": {}}).encode(),
        json.dumps({**good, "messages": [[]]}).encode(),
        json.dumps({**good, "messages": [{**turn("user", "a"), "role": "root"}]}).encode(),
        json.dumps({**good, "messages": [{"role": "user", "content": "a"}]}).encode(),
        json.dumps({**good, "messages": [{"role": "user", "content": [{"type": "image"}]}]}).encode(),
        json.dumps({**good, "messages": [{"role": "user", "content": [{"type": "image", "image": 7}]}]}).encode(),
        json.dumps({**good, "messages": [{"role": "user", "content": [{"type": ["a"]}]}]}).encode(),
    ]
    file = tmp_path / "other.json"
    for content in bad:
        file.write_bytes(content)
        code, answers, err = talk(f"/load {file}", f"/save {file}")
        assert code == 3 and answers == [] and err.count("error: ") == 3, content
        assert "no conversation that was saved here" in err and file.read_bytes() == content
    file.write_text(json.dumps({**good, "version": 2}))
    assert "has version 2" in talk(f"/load {file}")[2]
    monkeypatch.setenv("OV_MAX_TRANSCRIPT_BYTES", "10")
    assert "OV_MAX_TRANSCRIPT_BYTES" in talk(f"/load {file}")[2]


def test_texts_stats_and_warnings(
    bundle_path: Path,
    engines: list[FakeEngine],
    session: Session,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = conversation(session, turn("user", "a"), turn("user", "b"))
    give_lines(("a", "/stats", "b", "/system", "/help"), monkeypatch)
    assert main(["chat", "-m", str(bundle_path), *SHORT, "--stats", "--top-k", "4"]) == 0
    out, err = capsys.readouterr()
    assert out == "".join(text.removesuffix("\n") + "\n" for text in expected)
    assert err.count("first token") == 3 and err.count("reused") == 1 and "of 256 tokens" in err
    assert err.count("warning: top_k without effect") == 1
    assert "\nYou are a helpful assistant.\n" in err and all(f"  {name} " in err for name in ORDERS)


def test_the_real_model_answers_as_in_a_conversation_of_its_own(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = Path(__file__).parents[2] / "examples"
    shapes, tile = examples / "shapes.png", examples / "tile.png"
    questions = (
        turn("user", "How many shapes are there?", ("image", shapes)),
        turn("user", "What color is the circle?"),
        turn("user", "Describe this image.", ("image", tile)),
    )
    with Session.open(tiny_bundle) as session:
        expected = conversation(session, *questions)
    give_lines((questions[0]["content"][1]["text"], "What color is the circle?", f"/image {tile}"), monkeypatch)
    words = ["chat", str(shapes), "-m", str(tiny_bundle), *SHORT, "-q"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == expected[:2]
    give_lines(("What color is the circle?", f"/image {tile}", "Describe this image."), monkeypatch)
    assert main([*words, "-p", questions[0]["content"][1]["text"]]) == 0
    assert capsys.readouterr().out.splitlines() == expected


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


def test_ctrl_c_ends_a_script(
    bundle_path: Path, engines: list[FakeEngine], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeEngine, "decode", interrupted)
    give_lines(("a", "b"), monkeypatch)
    assert main(["chat", "-m", str(bundle_path)]) == 130
    assert capsys.readouterr() == ("", "error: interrupted\n")


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
ovrun.session.open_engine = lambda bundle, device, threads: Slow(bundle.manifest.model)
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
