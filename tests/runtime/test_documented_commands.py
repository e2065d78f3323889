"""Every `ovrun` line of the documentation and every script of examples/, run as it stands on the embedded model."""

from __future__ import annotations

import io
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ovrun.cli import main
from ovrun.session import Session

ROOT = Path(__file__).parents[2]
CLIENT = "serve_client.py"  # needs a server: tests/server runs it
SCRIPTS = sorted(file.name for file in (ROOT / "examples").glob("*.py") if file.name != CLIENT)
ELSEWHERE = ("serve",)  # commands that do not end, tested where they are


def documented() -> Iterator[str]:
    """The lines of the shell blocks that run `ovrun`, without their remarks."""
    for document in ("README.md", "docs/using.md"):
        for block in re.findall(r"^```sh\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                if "ovrun" in words and words[words.index("ovrun") + 1] not in ELSEWHERE:
                    yield shlex.join(words).replace("'|'", "|")


LINES = list(dict.fromkeys(documented()))


@pytest.fixture
def workplace(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the pictures, and the bundle where `ovexport build` would have put it."""
    (tmp_path / "home" / "bundles").mkdir(parents=True)
    (tmp_path / "home" / "bundles" / "ov-tiny-fp32").symlink_to(tiny_bundle)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "image.jpg").symlink_to(ROOT / "examples" / "shapes.png")
    monkeypatch.setenv("OV_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; what stands before a pipe is run by a shell."""
    before, _, command = line.rpartition("| ")
    script = subprocess.run(before, shell=True, capture_output=True, check=True).stdout if before else b""
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(script)))
    capsys.readouterr()
    code = main(shlex.split(command)[1:])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_every_way_to_ask_is_documented() -> None:
    text = "\n".join(LINES)
    assert all(way in text for way in ("ovrun examples/", "--video", "ovrun chat", "ovrun batch", "--json"))
    assert {"images.py", "video.py", "chat.py", "batch.py", "watch.py"} <= set(SCRIPTS)


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("line", LINES)
def test_a_documented_line_runs(line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run(line, monkeypatch, capsys)
    assert code == 0 and "error" not in err, err
    written = re.search(r"--jsonl (\S+)", line)
    if written:
        pictures = len(list((ROOT / "examples").glob("*.png")))
        records = [json.loads(record) for record in Path(written[1]).read_text().splitlines()]
        assert len(records) == pictures * max(1, line.count(" -p ")) and all(record["text"] for record in records)
    elif "ovrun chat" in line:
        assert len(out.splitlines()) == line.partition("|")[0].count("?")
    else:
        assert len(out) > 1 and out.endswith("\n")


@pytest.mark.usefixtures("workplace")
def test_what_they_say_is_what_a_session_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path
) -> None:
    pictures, question = ["examples/shapes.png", "examples/tile.png"], "How many shapes are there?"
    with Session.open(tiny_bundle) as session:
        images = session.generate(prompt=question, images=pictures)
        video = session.generate(prompt="What shape moves in the video?", video="examples/clip.mp4", num_frames=8)
    words = shlex.join([*pictures, "-p", question])
    assert run(f"ovrun {words}", monkeypatch, capsys) == (0, f"{images.text}\n", "")
    words = "--video examples/clip.mp4 --num-frames 8 --json -p 'What shape moves in the video?'"
    told = json.loads(run(f"ovrun {words}", monkeypatch, capsys)[1])
    assert (told["text"], told["tiles"], told["reused_tokens"]) == (video.text, 8, 0)


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_runs(script: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [script])
    runpy.run_path(f"examples/{script}", run_name="__main__")
    assert capsys.readouterr().out.count("\n") >= 2
