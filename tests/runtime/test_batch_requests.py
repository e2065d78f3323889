"""`ovrun batch --requests`: a line of JSON asks what it says, and a wrong one is refused before anything runs."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from batch_lines import NAMES, expected
from fake_engine import FakeEngine
from runners import Batch

from ovengines.errors import ExitCode
from ovrun.session import Session


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
