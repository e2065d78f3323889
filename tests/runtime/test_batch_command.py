"""`ovrun batch`: its answers are those of `Session.generate`, and a run that was stopped goes on."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.cli import main
from ovrun.commands.batch.journal import Journal
from ovrun.session import Session
from ovrun.terminal import Terminal

Batch = Callable[..., tuple[int, list[dict[str, Any]], str]]
EXAMPLES = Path(__file__).parents[2] / "examples"
SAID = {"text", "finish_reason", "prompt_tokens", "completion_tokens"}


def lines_of(text: str | bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def batch(bundle_path: Path, engines: list[FakeEngine], capsys: pytest.CaptureFixture[str]) -> Batch:
    """Runs a batch of short answers on the fake bundle: exit code, lines of stdout, stderr."""

    def run(*words: object) -> tuple[int, list[dict[str, Any]], str]:
        code = main(["batch", "-m", str(bundle_path), "--max-new-tokens", "6", *map(str, words)])
        captured = capsys.readouterr()
        return code, lines_of(captured.out), captured.err

    return run


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with three images in the folder `album`, one of them deeper down."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "album" / "deep").mkdir(parents=True)
    for number, name in enumerate(("b.PNG", "a.png", "deep/c.png")):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "album" / name, format="PNG")
    (tmp_path / "album" / "notes.txt").write_text("no image")
    (tmp_path / "album" / ".hidden.png").write_text("no image")
    (tmp_path / "album" / "deep" / ".thumbs").mkdir()
    (tmp_path / "album" / "deep" / ".thumbs" / "c.png").write_text("no image")
    return tmp_path


NAMES = ["album/a.png", "album/b.PNG", "album/deep/c.png"]


def expected(session: Session, **question: Any) -> dict[str, Any]:
    result = session.generate(**{"max_new_tokens": 6, "prompt": "Describe this image.", **question})
    return {name: getattr(result, name) for name in SAID}


@pytest.mark.usefixtures("album")
def test_every_image_below_a_folder(batch: Batch, session: Session) -> None:
    code, lines, err = batch("album", "--ordered")
    assert (code, err) == (0, "")
    assert lines == [
        {"id": name, "image": name, "prompt": "Describe this image.", **expected(session, images=[name])}
        for name in NAMES
    ]


@pytest.mark.usefixtures("album")
def test_every_prompt_about_every_image_once(batch: Batch, session: Session, engines: list[FakeEngine]) -> None:
    code, lines, _ = batch("album/b.PNG", "album", "album/a.png", "-p", "what?", "-p", "where?", "--ordered")
    asked = [(name, number) for name in (NAMES[1], NAMES[0], NAMES[2]) for number in (1, 2)]
    assert code == 0 and [line["id"] for line in lines] == [f"{name}#{number}" for name, number in asked]
    for line, (name, number) in zip(lines, asked, strict=True):
        question = {"prompt": ("what?", "where?")[number - 1], "images": [name], "max_new_tokens": 6}
        assert line["text"] == session.generate(**question).text
    tiles = sum(engines[1].batches)
    assert tiles == sum(engines[0].batches)  # each image is looked at once, as in the oracle


@pytest.mark.usefixtures("album")
def test_options_hold_for_all(batch: Batch, session: Session) -> None:
    _, lines, _ = batch("album/a.png", "-p", "a", "--system", "Be brief.", "--max-tiles", 1, "--stop", "e")
    question = {"prompt": "a", "images": ["album/a.png"], "system": "Be brief.", "max_tiles": 1, "stop_strings": ["e"]}
    assert {name: lines[0][name] for name in SAID} == expected(session, **question)


def test_the_real_model_answers_as_one_by_one(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(EXAMPLES.parent)
    prompts = ("Describe this image.", "How many shapes are there?")
    words = [word for prompt in prompts for word in ("-p", prompt)]
    out = tmp_path / "new" / "out.jsonl"
    pictures = [f"examples/{name}.png" for name in ("portrait", "shapes", "tile")]
    assert main(["batch", *pictures, "-m", str(tiny_bundle), "--jsonl", str(out), "--slots", "4", *words]) == 0
    assert capsys.readouterr() == ("", "")
    with Session.open(tiny_bundle) as session:
        wanted = {
            f"{picture}#{number}": session.generate(prompt=prompt, images=[picture]).text
            for picture in pictures
            for number, prompt in enumerate(prompts, start=1)
        }
    assert {line["id"]: line["text"] for line in lines_of(out.read_bytes())} == wanted and len(wanted) == 6


@pytest.mark.usefixtures("album")
def test_a_broken_image_is_a_line_and_not_the_end(batch: Batch, session: Session) -> None:
    Path("album/aa.png").write_text("no image")
    code, lines, err = batch("album", "missing.png", "--ordered")
    assert code == ExitCode.BAD_INPUT
    assert err == "error: 2 of 5 have no answer\nhint: their lines say why\n"
    broken, missing = lines[1], lines[4]
    assert broken["id"] == broken["image"] == "album/aa.png" and broken["error"]["code"] == 3
    assert "not an image" in broken["error"]["message"] and "PNG" in broken["error"]["hint"]
    assert set(broken) == {"id", "image", "prompt", "error"} and missing["error"]["message"].startswith("missing.png")
    assert lines[2]["text"] == expected(session, images=[NAMES[1]])["text"]


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize("slots", [1, 2, 5])
def test_lines_come_as_answers_do_unless_ordered(batch: Batch, slots: int) -> None:
    requests = [{"prompt": f"{number}", "max_new_tokens": length} for number, length in enumerate((9, 1, 5, 2, 1))]
    Path("in.jsonl").write_text("".join(json.dumps(request) + "\n" for request in requests))
    _, as_they_come, _ = batch("--requests", "in.jsonl", "--slots", slots)
    _, ordered, _ = batch("--requests", "in.jsonl", "--slots", slots, "--ordered")
    assert [line["id"] for line in ordered] == ["1", "2", "3", "4", "5"]
    assert (as_they_come == ordered) is (slots == 1)
    assert sorted(as_they_come, key=lambda line: line["id"]) == ordered


@pytest.mark.usefixtures("album")
def test_requests_of_a_file(batch: Batch, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        shutil.copy("album/a.png", f"album/deep/{number}.png")
    requests = [
        {"id": "first", "prompt": "what?", "images": ["a.png", "b.PNG"]},
        {"id": 12, "images": ["a.png"], "max_new_tokens": 2, "system": ""},
        {"video": "deep", "prompt": "<video>?", "num_frames": 2, "system": None},
        {"prompt": "hello", "stop_strings": ["e", "o"]},
    ]
    written = "\n\n".join(map(json.dumps, requests)).encode()
    Path("album/in.jsonl").write_bytes(written)
    code, lines, err = batch("--requests", "album/in.jsonl", "--ordered", "-p", "the default")
    assert (code, err) == (0, ""), lines
    questions = [
        {"prompt": "what?", "images": NAMES[:2]},
        {"prompt": "the default", "images": NAMES[:1], "max_new_tokens": 2, "system": ""},
        {"prompt": "<video>?", "video": "album/deep", "num_frames": 2},
        {"prompt": "hello", "stop_strings": ["e", "o"]},
    ]
    about = [
        {"id": "first", "images": ["a.png", "b.PNG"], "prompt": "what?"},
        {"id": 12, "images": ["a.png"], "prompt": "the default"},
        {"id": "5", "video": "deep", "prompt": "<video>?"},
        {"id": "7", "prompt": "hello"},
    ]
    assert lines == [{**a, **expected(session, **q)} for a, q in zip(about, questions, strict=True)]


def test_requests_from_stdin(batch: Batch, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"prompt": "hello"}')))
    assert batch("--requests", "-")[1] == [{"id": "1", "prompt": "hello", **expected(session, prompt="hello")}]


@pytest.mark.parametrize(
    ("line", "fragments"),
    [
        (b"{", ("not JSON",)),
        (b"\xff\xfe", ("not JSON",)),
        (b"[" * 100_000, ("not JSON",)),
        (b"[1]", ("no object",)),
        (b'{"prmopt": "a"}', ("unknown: prmopt", "there are id, prompt, images")),
        (b'{"images": "a.png"}', ('images is "a.png"', "a list of paths")),
        (b'{"images": [1]}', ("a list of paths",)),
        (b'{"prompt": 3}', ("prompt is 3", "a text")),
        (b'{"video": ["a"]}', ("the path of a video",)),
        (b'{"id": 1.5}', ("whole number",)),
        (b'{"id": true}', ("whole number",)),
        (b'{"system": {}}', ("system is {}",)),
        (b'{"top_p": 7}', ("top_p is 7",)),
        (b'{"temperature": "hot"}', ("temperature",)),
        (b'{"fps": 1, "num_frames": 2}', ("num_frames and fps",)),
        (b'{"prompt": "<image> or?"}', ("marks 1 images",)),
        (b'{"id": "x"}', ('the id "x" is that of line 1',)),
    ],
)
def test_a_wrong_request_is_refused_with_its_line(
    batch: Batch, line: bytes, fragments: tuple[str, ...], tmp_path: Path, engines: list[FakeEngine]
) -> None:
    requests, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    requests.write_bytes(b'{"id": "x"}\n\n' + line + b"\n")
    code, lines, err = batch("--requests", requests, "--jsonl", out)
    assert (code, lines) == (ExitCode.BAD_INPUT, []) and not out.exists() and not engines
    assert err.startswith(f"error: {requests}, line 3: ") and all(fragment in err for fragment in fragments), err


def test_a_line_has_a_limit(batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OV_MAX_REQUEST_BYTES", "30")
    (tmp_path / "in.jsonl").write_text('{"prompt": "0123456789012345"}\r\n{"prompt": "0123456789 0123456"}\n')
    code, _, err = batch("--requests", tmp_path / "in.jsonl")
    assert code == ExitCode.LIMIT_EXCEEDED and "line 2" in err and "OV_MAX_REQUEST_BYTES" in err


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize(
    ("words", "code", "fragment"),
    [
        ([], 2, "no image"),
        (["album", "--requests", "in.jsonl"], 2, "both given"),
        (["--requests", "missing.jsonl"], 3, "missing.jsonl can't be read"),
        (["--requests", "/dev/null"], 3, "no requests"),
        (["--requests", "-", "-p", "a", "-p", "b"], 2, "several -p"),
        (["album/deep/.thumbs/.."], 0, ""),
        (["empty"], 3, "no image below empty"),
        (["album", "--slots", "0"], 2, "--slots"),
        (["album", "--top-p", "7"], 2, "top_p"),
        (["album", "--jsnol", "x"], 2, "did you mean --jsonl?"),
        (["album", "--jsonl", "album"], 2, "can't be written"),
    ],
)
def test_usage(batch: Batch, words: list[str], code: int, fragment: str) -> None:
    Path("empty").mkdir()
    outcome = batch(*words)
    assert outcome[0] == code and fragment in outcome[2], outcome


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize("torn", [0, 1, 8, 30])
def test_a_run_goes_on_where_the_file_ends(batch: Batch, engines: list[FakeEngine], torn: int) -> None:
    assert batch("album", "--jsonl", "whole.jsonl", "--slots", 1)[:2] == (0, [])
    whole = Path("whole.jsonl").read_bytes()
    first, second, _ = whole.splitlines(keepends=True)
    Path("out.jsonl").write_bytes(first + second[:torn])
    assert batch("album", "--jsonl", "out.jsonl", "--slots", 1)[0] == 0
    assert Path("out.jsonl").read_bytes() == whole
    opened = len(engines)
    assert batch("album", "--jsonl", "out.jsonl")[0] == 0
    assert Path("out.jsonl").read_bytes() == whole and len(engines) == opened  # nothing is left to be asked


@pytest.mark.usefixtures("album")
def test_errors_are_tried_again_only_if_asked(batch: Batch) -> None:
    Path("album/aa.png").write_text("no image")
    out = Path("out.jsonl")
    out.write_text('{"id": "of another run", "error": {}}\n')
    assert batch("album", "--jsonl", out)[0] == 3
    lines = lines_of(out.read_bytes())
    Image.new("RGB", (9, 9)).save("album/aa.png")
    code, _, err = batch("album", "--jsonl", out)
    assert code == 3 and "1 of 4 have no answer" in err and "--retry-errors" in err
    assert lines_of(out.read_bytes()) == lines
    with out.open("a") as file:
        file.write('{"id": "album/a')  # cut off
    assert batch("album", "--jsonl", out, "--retry-errors")[0] == 0
    retried = lines_of(out.read_bytes())
    assert retried[:-1] == [line for line in lines if line["id"] != "album/aa.png"]
    assert retried[-1]["id"] == "album/aa.png" and "text" in retried[-1]
    assert not list(Path().glob(".out*"))


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (b"my diary", "line 1 was not written by ovrun batch"),
        (b'{"id": "a", "text": ""}\n{"id": 3}\n', "line 2 was not written"),
        (b'{"id": "album/a.png", "image": "album/a.png", "prompt": "other", "text": ""}\n', "another question"),
        (b'{"id": "a", "text": ""}\nnot this', "line 2 was not written"),
    ],
)
def test_a_file_of_something_else_is_not_touched(batch: Batch, content: bytes, fragment: str) -> None:
    Path("out.jsonl").write_bytes(content)
    code, _, err = batch("album", "--jsonl", "out.jsonl", "--retry-errors")
    assert code == ExitCode.USAGE and fragment in err and Path("out.jsonl").read_bytes() == content


@pytest.mark.usefixtures("album")
def test_one_run_at_a_time(batch: Batch) -> None:
    lock = "import fcntl, sys; f = open('out.jsonl', 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None and other.stdout.readline()
    try:
        code, _, err = batch("album", "--jsonl", "out.jsonl")
        assert code == ExitCode.USAGE and "another run writes to out.jsonl" in err
    finally:
        other.communicate(b"\n", timeout=60)
    assert batch("album", "--jsonl", "out.jsonl")[0] == 0


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize("at_step", [1, 4, 9])
def test_ctrl_c_keeps_what_is_there_and_the_same_command_goes_on(
    batch: Batch, at_step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch("album", "--jsonl", "whole.jsonl", "--slots", 1)
    original, steps = FakeEngine.decode, []

    def interrupted(self: FakeEngine, *args: Any, **kwargs: Any) -> Any:
        steps.append(1)
        if len(steps) == at_step:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(FakeEngine, "decode", interrupted)
    code, _, err = batch("album", "--jsonl", "out.jsonl", "--slots", 1)
    assert code == 130 and err.startswith("error: interrupted\nhint: run the same command again to go on: out.jsonl")
    assert Path("whole.jsonl").read_bytes().startswith(Path("out.jsonl").read_bytes())
    assert batch("album", "--jsonl", "out.jsonl", "--slots", 1)[0] == 0
    assert Path("whole.jsonl").read_bytes() == Path("out.jsonl").read_bytes()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_says_so() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OVError) as caught:
        Journal(file=full).write({"id": "a", "text": ""})
    assert caught.value.code is ExitCode.LIMIT_EXCEEDED and "goes on" in caught.value.hint


@pytest.mark.usefixtures("album")
def test_any_file_name_can_be_written(batch: Batch) -> None:
    odd = os.fsdecode(b"album/caf\xe9 \xc3\xa9.png")
    os.rename("album/a.png", odd)
    for _ in range(2):
        assert batch("album", "--jsonl", "out.jsonl")[0] == 0
    lines = lines_of(Path("out.jsonl").read_text(encoding="utf-8"))
    assert len(lines) == 3 and odd in [line["id"] for line in lines]


@pytest.mark.usefixtures("album")
def test_progress_is_for_terminals(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terminal, "is_terminal", True)
    monkeypatch.setattr("ovrun.terminal.REDRAW_S", 0.0)
    code, lines, err = batch("album")
    assert code == 0 and len(lines) == 3
    assert "\r[....................] 0/3 answers 0%\r" in err and "[######..............] 1/3 answers, " in err
    assert "/s, 0:0" in err and err.rstrip("\r ").count("\n") == 0
    assert batch("album", "-q")[2] == ""
    monkeypatch.setattr(Terminal, "is_terminal", False)
    assert batch("album")[2] == "" and batch("album", "--stats")[2].startswith("3 asked in ")
