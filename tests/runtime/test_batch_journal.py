"""The file of `ovrun batch --jsonl`: a run that was stopped goes on where it ends, and nothing else is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from batch_lines import lines_of
from fake_engine import FakeEngine
from PIL import Image
from runners import Batch

from ovengines.errors import ExitCode, OVError
from ovrun.commands.batch.journal import Journal


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
