"""The files of examples/: held out, drawn by this code, and with the questions that belong to them."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovexport.evaluate.examples import example_suite
from ovexport.train.drawn import examples
from ovexport.train.drawn.examples import EXAMPLES, QUESTIONS, drawing_of, exchanges_of, write_examples
from ovexport.train.drawn.family import Drawing
from ovexport.train.drawn.kind import Kind
from ovexport.train.drawn.kinds import KINDS
from ovexport.train.tiny.config import tiny_geometry
from ovrun.media.video import load_frames
from ovrun.tiling.grid import select_grid

FOLDER = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def drawings() -> dict[str, Drawing]:
    """By the first of their files."""
    return {example.files[0]: drawing_of(example) for example in EXAMPLES}


def test_pictures_are_drawn_by_this_code(drawings: dict[str, Drawing]) -> None:
    for example in EXAMPLES:
        drawing = drawings[example.files[0]]
        for file, image in zip(example.files, drawing.images, strict=not drawing.frames):
            with Image.open(FOLDER / file) as stored:
                assert stored.convert("RGB").tobytes() == image.tobytes(), file
    files = {name for example in EXAMPLES for name in example.files}
    assert {path.name for path in FOLDER.iterdir() if path.suffix != ".py"} == files | {QUESTIONS, "README.md"}


def test_clips_show_the_frames(drawings: dict[str, Drawing]) -> None:
    clips = {name: drawing.frames for name, drawing in drawings.items() if drawing.frames}
    assert clips
    for name, frames in clips.items():
        stored = load_frames(FOLDER / name, fps=1.0, max_frames=32)
        for shown, drawn in zip(stored, frames, strict=True):
            assert np.abs(np.asarray(shown, dtype=int) - np.asarray(drawn)).mean() < 3


def test_questions_are_what_the_drawings_ask(drawings: dict[str, Drawing]) -> None:
    suite = example_suite(FOLDER / QUESTIONS)
    drawn = [(file, exchange) for file, drawing in drawings.items() for exchange in exchanges_of(drawing)]
    for question, (file, exchange) in zip(suite.questions, drawn, strict=True):
        assert (question.id, question.prompt, question.family) == (file, exchange.question, exchange.family)
        assert question.answers == (exchange.answer,) and question.scorer == "exact"
        assert len(question.images) == len(drawings[file].images)
        assert (question.video is not None) == bool(drawings[file].frames)
    demo = {q.prompt: q.answers[0] for q in suite.questions if q.id == "shapes.png"}
    assert demo["Describe this image."] == drawings["shapes.png"].caption
    assert demo["How many shapes are there?"] == "Three" and len(drawings["shapes.png"].marks[0]) == 3


def test_only_held_out_drawings_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sides: dict[str, set[bool]] = {name: set() for name in KINDS}

    def watched(name: str) -> Kind:
        def draw(rng: random.Random, *, held_out: bool) -> Drawing:
            sides[name].add(held_out)
            return KINDS[name].draw(rng, held_out=held_out)

        return Kind(families=KINDS[name].families, draw=draw)

    monkeypatch.setattr(examples, "KINDS", {name: watched(name) for name in KINDS})
    for example in EXAMPLES:
        drawing_of(example)
        assert sides[example.kind] == {True}


def test_pictures_have_the_tiles_that_the_readme_says(drawings: dict[str, Drawing]) -> None:
    def grid(name: str) -> tuple[int, int]:
        image = drawings[name].images[0]
        return select_grid(image.height, image.width, tiny_geometry())

    assert (grid("shapes.png"), grid("portrait.png"), grid("tile.png")) == ((2, 2), (2, 1), (1, 1))
    assert math.prod(grid("page.png")) >= 6


def test_another_seed_draws_others(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_examples(tmp_path / folder, seed=-1)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()} for folder in ("one", "two"))
    assert one == two
    assert one.keys() == {path.name for path in FOLDER.iterdir() if path.suffix != ".py"} - {"README.md"}
    assert all(one[name] != (FOLDER / name).read_bytes() for name in one)


def test_check_says_what_is_answered_rightly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = [example for example in EXAMPLES if example.files[0] in ("tile.png", "sum.png", "clip.mp4")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(examples, "EXAMPLES", few)
        examples.main([str(tmp_path)])
        examples.main([str(tmp_path), "--check", "ov-tiny"])
        *lines, total = capsys.readouterr().out.splitlines()
        right, asked = map(int, total.split(" of "))
        assert asked == len(lines) == len(example_suite(tmp_path / QUESTIONS).questions)
        assert right == sum(line.endswith("  right") for line in lines) > 0
        examples.main([str(tmp_path), "--check", "ov-tiny", "--seeds", "2"])
        told = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in told] == ["seed 0", "seed 1"]
    assert all(name in line for line in told for name in ("tile.png", "sum.png", "clip.mp4"))
