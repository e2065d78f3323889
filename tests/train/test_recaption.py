"""`ovexport data recaption`: records of the released form, resumable after kill -9; with ov-tiny and a stand-in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovexport.cli import main
from ovexport.train.data.recaption import PROMPT, Job, describe, find_images, recaption
from ovexport.train.data.records import RecordFile
from ovrun.session import Session

POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
NAMES = ["B.PNG", "a.png", "deep/er/z.png", "deep/a.jpg", "deep/b.webp", "é 中.bmp"]
QUIET = ["-q", "--threads", "1", "--max-new-tokens", "6"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for number, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + number, 30), (40 * number, 90, 160)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


class StandIn:
    """Answers as a Session does; `answers` may hold texts, errors to raise, or both."""

    def __init__(self, answers: dict[str, Any] | None = None, name: str = "stand-in") -> None:
        self.bundle = SimpleNamespace(manifest=SimpleNamespace(source=name))
        self.answers = answers or {}
        self.asked: list[tuple[str, str, int]] = []

    def generate(self, *, prompt: str, images: list[Path], max_new_tokens: int) -> Any:
        self.asked.append((images[0].name, prompt, max_new_tokens))
        answer = self.answers.get(images[0].name, f"Seen {images[0].name}.")
        if isinstance(answer, BaseException):
            raise answer
        return SimpleNamespace(text=answer, finish_reason="length" if answer.endswith("...") else "stop")


def run(session: Any, job: Job) -> Any:
    return recaption(session, job, lambda done, total: None)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_images_are_found_in_sorted_order(images: Path) -> None:
    assert find_images(images) == sorted(NAMES)


def test_captions_are_those_of_the_session_in_the_released_form(
    images: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "captions.jsonl"
    assert main(["data", "recaption", str(images), "-m", str(tiny_bundle), "-o", str(out), *QUIET]) == 0
    assert capsys.readouterr().out.startswith("captions: 6 in ")
    with Session.open(tiny_bundle, "cpu", 1) as session:
        for record, name in zip(lines(out), sorted(NAMES), strict=True):
            answer = session.generate(prompt=PROMPT, images=[images / name], max_new_tokens=6)
            assert record == {
                "id": name,
                "image": name,
                "conversations": [
                    {"from": "human", "value": "<image>\nPlease generate detailed descriptions of the given image."},
                    {"from": "gpt", "value": answer.text.strip()},
                ],
                "data_source": "recaption: ov-tiny",
            }


def test_what_is_written_can_be_trained_on(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    run(StandIn(), Job(images=images, out=out))
    file = RecordFile(out, images)
    assert [file[index].images for index in range(len(file))] == [(images / name,) for name in sorted(NAMES)]
    assert not file.unknown_keys


def started(folder: Path, bundle: Path, num_records: int) -> tuple[subprocess.Popen[str], list[str], Path]:
    """A run over 60 images in a process of its own that has written so many records; its words and its output."""
    images, out = folder / "images", folder / "captions.jsonl"
    images.mkdir()
    for number in range(60):
        Image.new("RGB", (200, 200), (4 * number, 90, 160)).save(images / f"{number:02}.png")
    words = ["data", "recaption", str(images), "-m", str(bundle), "-o", str(out), "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ovexport", *words],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    )
    deadline_s = time.monotonic() + 60
    while not (out.exists() and out.read_bytes().count(b"\n") >= num_records):
        assert process.poll() is None and time.monotonic() < deadline_s
        time.sleep(0.01)
    return process, words, out


@POSIX
def test_a_killed_run_goes_on_where_it_stopped(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process, words, out = started(tmp_path, tiny_bundle, 2)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    kept = out.read_bytes()
    num_kept = kept.count(b"\n")
    assert 2 <= num_kept < 57
    assert main([*words, "--limit", str(num_kept + 3), "-q"]) == 0
    assert capsys.readouterr().out.startswith("captions: 3 in ")
    assert out.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    assert [record["image"] for record in lines(out)] == [f"{number:02}.png" for number in range(num_kept + 3)]


@POSIX
def test_ctrl_c_exits_130_and_says_how_to_go_on(tiny_bundle: Path, tmp_path: Path) -> None:
    process, _, out = started(tmp_path, tiny_bundle, 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "run the same command again" in err
    assert 1 <= len(lines(out)) < 60  # every one of them is whole


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_that_was_cut_off_is_written_again(images: Path, tmp_path: Path, cut: int) -> None:
    out, whole = tmp_path / "captions.jsonl", tmp_path / "whole.jsonl"
    run(StandIn(), Job(images=images, out=whole))
    out.write_bytes(whole.read_bytes()[:-cut])
    session = StandIn()
    summary = run(session, Job(images=images, out=out))
    assert out.read_bytes() == whole.read_bytes()
    assert (summary.before, summary.captioned, len(session.asked)) == (5, 1, 1)


@pytest.mark.parametrize("interrupted_at", sorted(NAMES))
def test_an_interrupt_leaves_whole_records(images: Path, tmp_path: Path, interrupted_at: str) -> None:
    out = tmp_path / "captions.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(StandIn({Path(interrupted_at).name: KeyboardInterrupt()}), Job(images=images, out=out))
    done = lines(out) if out.exists() else []
    assert [record["image"] for record in done] == sorted(NAMES)[: sorted(NAMES).index(interrupted_at)]
    run(StandIn(), Job(images=images, out=out))
    assert [record["image"] for record in lines(out)] == sorted(NAMES)


def test_images_without_a_caption_are_listed_and_tried_again(images: Path, tmp_path: Path) -> None:
    (images / "broken.png").write_bytes(b"nothing")
    out = tmp_path / "captions.jsonl"
    job = Job(images=images, out=out)
    faults = {
        "a.png": OVError(ExitCode.LIMIT_EXCEEDED, "too large"),
        "broken.png": OVError(ExitCode.BAD_INPUT, "broken"),
        "z.png": "  \n",
        "b.webp": "never ends...",
    }
    summary = run(StandIn(faults), job)
    assert (summary.captioned, summary.skipped, summary.cut_off) == (4, 3, 1)
    assert lines(tmp_path / "captions.skipped.jsonl") == [
        {"image": "a.png", "reason": "too large"},
        {"image": "broken.png", "reason": "broken"},
        {"image": "deep/er/z.png", "reason": "the caption is empty"},
    ]
    assert "without a caption: 3" in describe(summary, job) and "cut off after 512 tokens: 1" in describe(summary, job)
    summary = run(StandIn({"broken.png": faults["broken.png"]}), job)
    assert (summary.before, summary.captioned, summary.skipped) == (4, 2, 1)
    assert [line["image"] for line in lines(tmp_path / "captions.skipped.jsonl")] == ["broken.png"]
    (images / "broken.png").unlink()
    run(StandIn(), job)
    assert not (tmp_path / "captions.skipped.jsonl").exists()


def test_no_caption_at_all_is_an_error(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "broken.png").write_bytes(b"nothing")
    words = [str(tmp_path / "images"), "-m", str(tiny_bundle), "-o", str(tmp_path / "c.jsonl"), *QUIET]
    assert main(["data", "recaption", *words]) == ExitCode.BAD_INPUT
    assert "c.skipped.jsonl" in capsys.readouterr().err


def test_a_fault_of_the_engine_ends_the_run(images: Path, tmp_path: Path) -> None:
    fault = OVError(ExitCode.OUT_OF_MEMORY, "no memory left")
    with pytest.raises(OVError, match="no memory"):
        run(StandIn({"a.png": fault}), Job(images=images, out=tmp_path / "captions.jsonl"))


def test_limit_takes_the_same_images_every_time(images: Path, tmp_path: Path) -> None:
    job = Job(images=images, out=tmp_path / "captions.jsonl", limit=2, prompt="What is it?", max_new_tokens=9)
    session = StandIn()
    run(session, job)
    assert session.asked == [(name, "What is it?", 9) for name in sorted(NAMES)[:2]]
    assert run(StandIn(), job).captioned == 0


@pytest.mark.parametrize("change", [{"prompt": "Another?"}, {"name": "another-bundle"}])
def test_a_file_of_another_run_is_left_alone(images: Path, tmp_path: Path, change: dict[str, str]) -> None:
    out = tmp_path / "captions.jsonl"
    run(StandIn(), Job(images=images, out=out))
    before = out.read_bytes()
    job = Job(images=images, out=out, prompt=change.get("prompt", PROMPT))
    with pytest.raises(OVError, match="another run") as caught:
        run(StandIn(name=change.get("name", "stand-in")), job)
    assert caught.value.code is ExitCode.USAGE and out.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        b"hello",
        b"hello\n",
        b"[1]\n",
        b'{"id": "a"}\n',
        b"\xff\xd8\xff\xe0 a photo",
        b'{"id": 1, "image": [], "data_source": 1, "conversations": [{"value": 1}]}\n',
    ],
)
def test_a_file_of_something_else_is_not_touched(images: Path, tmp_path: Path, content: bytes) -> None:
    out = tmp_path / "captions.jsonl"
    out.write_bytes(content)
    with pytest.raises(OVError) as caught:
        run(StandIn(), Job(images=images, out=out))
    assert caught.value.code is ExitCode.USAGE and out.read_bytes() == content


@pytest.mark.parametrize(
    ("job", "code", "said"),
    [
        ({"out": "captions.json"}, ExitCode.USAGE, r"\.jsonl"),
        ({"prompt": "<image> here"}, ExitCode.USAGE, "<image>"),
        ({"images": "nowhere"}, ExitCode.BAD_INPUT, "nowhere"),
        ({"images": "empty"}, ExitCode.BAD_INPUT, "no images"),
        ({"out": "images/a.png/c.jsonl"}, ExitCode.USAGE, "can't be written"),
    ],
)
def test_jobs_that_make_no_sense(images: Path, tmp_path: Path, job: dict[str, str], code: ExitCode, said: str) -> None:
    (tmp_path / "empty").mkdir()
    given = {"images": "images", "out": "captions.jsonl", **job}
    paths = {name: tmp_path / given.pop(name) for name in ("images", "out")}
    with pytest.raises(OVError, match=said) as caught:
        run(StandIn(), Job(**paths, **given))
    assert caught.value.code is code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_and_ends_the_run(images: Path, tmp_path: Path) -> None:
    job = Job(images=images, out=tmp_path / "captions.jsonl")

    def fill(done: int, total: int) -> None:
        if done == 1:
            os.symlink("/dev/full", job.skipped)

    session = StandIn({"a.png": OVError(ExitCode.BAD_INPUT, "broken")})
    with pytest.raises(OVError, match="No space") as caught:
        recaption(session, job, fill)  # type: ignore[arg-type]
    assert caught.value.code is ExitCode.LIMIT_EXCEEDED
    assert [record["image"] for record in lines(job.out)] == ["B.PNG"]
