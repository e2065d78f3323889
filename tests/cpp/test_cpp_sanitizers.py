"""The check programs under sanitizers. What is suppressed is listed with its reason in suppressions/."""

from __future__ import annotations

from pathlib import Path

import pytest
from cpp_builds import ROOT, build, run

SUPPRESSIONS = Path(__file__).parent / "suppressions"
PICTURES = [ROOT / "examples" / name for name in ("shapes.png", "tile.png")]

pytestmark = pytest.mark.slow  # each compiles everything again


@pytest.mark.parametrize(
    "program", ["refusals", "callbacks", "logs", "wrapper", "leaves", "exits", "answers", "threads", "cycles"]
)
@pytest.mark.parametrize(("name", "sanitize"), [("asan", "address,undefined"), ("tsan", "thread")])
def test_no_sanitizer_finds_anything(
    name: str, sanitize: str, program: str, tiny_bundle: Path, rgb_file: tuple[Path, int, int]
) -> None:
    arguments = {
        "answers": [PICTURES[0], ROOT / "examples" / "clip.mp4", *rgb_file],
        "threads": [10, *PICTURES],
        "cycles": [PICTURES[1], 10],
    }
    options = {
        "ASAN_OPTIONS": "detect_leaks=1",
        "LSAN_OPTIONS": f"suppressions={SUPPRESSIONS / 'lsan.txt'}",
        "TSAN_OPTIONS": f"suppressions={SUPPRESSIONS / 'tsan.txt'}",
        "UBSAN_OPTIONS": "halt_on_error=1",
    }
    folder = build(name, "all", sanitize=sanitize)
    run(folder / program, tiny_bundle, *arguments.get(program, PICTURES[:1]), **options)
