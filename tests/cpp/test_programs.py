"""The check programs and the examples, each as its own process."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cpp_builds import ROOT, run, run_any

from ovengines.errors import ExitCode
from ovrun.session import Session

EXAMPLES = ROOT / "runtime" / "cpp" / "examples"


@pytest.mark.parametrize("program", ["refusals", "callbacks", "thread_ends", "logs", "wrapper", "leaves"])
def test_a_check_program_finds_nothing(program: str, programs: Path, tiny_bundle: Path, picture: Path) -> None:
    run(programs / program, tiny_bundle, picture)


def test_a_program_may_end_while_a_thread_is_answering(programs: Path, tiny_bundle: Path, picture: Path) -> None:
    for _ in range(3):
        run(programs / "exits", tiny_bundle, picture)


@pytest.mark.parametrize("seconds", [2, pytest.param(120, marks=pytest.mark.slow)])
def test_threads_get_right_answers_only(seconds: int, programs: Path, tiny_bundle: Path) -> None:
    pictures = [ROOT / "examples" / name for name in ("shapes.png", "sign.png", "tile.png", "chart.png")]
    assert ", 0 wrong" in run(programs / "threads", tiny_bundle, seconds, *pictures)


@pytest.mark.parametrize("stop", [[], ["stop"]], ids=["closed", "stopped"])
@pytest.mark.parametrize(("cycles", "growth_mb"), [(40, 10), pytest.param(500, 10, marks=pytest.mark.slow)])
def test_memory_stays_flat(cycles: int, growth_mb: float, stop: list[str], programs: Path, tiny_bundle: Path) -> None:
    printed = run(programs / "cycles", tiny_bundle, ROOT / "examples" / "tile.png", cycles, *stop)
    early, late = map(float, printed.split())
    assert late < early + growth_mb, (early, late)


def test_caption_says_what_the_session_says(programs: Path, tiny_bundle: Path, picture: Path) -> None:
    question = "How many shapes are there?"
    with Session.open(tiny_bundle) as session:
        right = session.generate(prompt=question, images=[picture], max_new_tokens=64).text
    assert run(programs / "ovrun" / "examples" / "caption", picture, question, tiny_bundle) == f"{right}\n"


def test_caption_ends_with_the_code_of_the_error(programs: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    caption = programs / "ovrun" / "examples" / "caption"
    done = run_any(caption, tmp_path / "none.png", "x", tiny_bundle)
    assert (done.returncode, done.stdout) == (ExitCode.BAD_INPUT, "") and "hint: check the path" in done.stderr
    done = run_any(caption, tmp_path / "none.png", "x", tmp_path)
    assert (done.returncode, done.stdout) == (ExitCode.BUNDLE_INVALID, "") and "error: " in done.stderr
    assert run_any(caption).returncode == ExitCode.USAGE


def test_watch_answers_while_frames_come(programs: Path, tiny_bundle: Path) -> None:
    lines = run(programs / "ovrun" / "examples" / "watch", tiny_bundle).splitlines()
    assert lines and all(re.fullmatch(r"[34] frames: \w.*", line) for line in lines), lines


def test_watch_ends_with_the_code_of_the_error(programs: Path, tiny_bundle: Path) -> None:
    done = run_any(programs / "ovrun" / "examples" / "watch", tiny_bundle, OV_MAX_IMAGE_PIXELS="10")
    assert (done.returncode, done.stdout) == (ExitCode.LIMIT_EXCEEDED, "") and "hint: " in done.stderr


def test_opencv_hands_over_a_region(programs: Path, tiny_bundle: Path, picture: Path) -> None:
    program = programs / "ovrun" / "examples" / "opencv"
    if not program.exists():
        pytest.skip("OpenCV is not installed")
    with Session.open(tiny_bundle) as session:
        right = session.generate(prompt="How many shapes are there?", images=[picture]).text
    whole, half = run(program, picture, "How many shapes are there?", tiny_bundle).splitlines()
    assert whole == f"204 x 195: {right}" and half.startswith("204 x 98: ")


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.cpp")), ids=lambda file: file.stem)
def test_an_example_is_short(example: Path) -> None:
    assert len(example.read_text().splitlines()) < 80
