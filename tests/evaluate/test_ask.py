"""Asking: what reaches an answerer, what is kept of its answer, and which errors leave one question out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovexport.evaluate.answerer import About
from ovexport.evaluate.ask import MAX_FRAMES, Said, ask_all
from ovexport.evaluate.question import Question
from ovexport.train.drawn.clipfile import write_clip
from ovrun.media.image import ImageSource, load_image


class Recorder:
    """Answers with the number of frames, or fails with a code."""

    about = About(source="here", kind="bundle", precision="fp32", engine="recorder")

    def __init__(self, fails: ExitCode | None = None) -> None:
        self.fails = fails
        self.asked: list[tuple[Sequence[ImageSource], Sequence[ImageSource], str, int]] = []

    def answer(
        self, images: Sequence[ImageSource], frames: Sequence[ImageSource], prompt: str, max_new_tokens: int
    ) -> tuple[str, tuple[int, ...]]:
        self.asked.append((images, frames, prompt, max_new_tokens))
        if self.fails is not None:
            raise OVError(self.fails, "no")
        return str(len(frames)), (len(frames), 7)

    def close(self) -> None:
        pass


def question(**fields: object) -> Question:
    return Question(**{"id": "q", "family": "f", "prompt": "?", "answers": ("3",), "scorer": "fixed", **fields})  # type: ignore[arg-type]


def shades(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (16, 16), (8 * (i % 32),) * 3) for i in range(count)]


def test_what_is_kept() -> None:
    recorder, ticks = Recorder(), []
    picture, frames = shades(1)[0], tuple(shades(3))
    questions = [question(images=(picture,), video=frames), question(prompt="Why?")]
    column = ask_all("me", recorder, questions, max_new_tokens=5, on_answer=lambda: ticks.append(1))
    assert recorder.asked == [((picture,), frames, "?", 5), ((), (), "Why?", 5)] and len(ticks) == 2
    assert (column.name, column.about) == ("me", recorder.about)
    first, second = column.answers
    assert isinstance(first, Said) and isinstance(second, Said)
    assert (first.text, first.token_ids, first.score) == ("3", (3, 7), 1) and first.took_ms > 0
    assert (second.text, second.score) == ("0", 0)


@pytest.mark.parametrize("count", [1, 3, 40])
def test_frames_of_a_file(tmp_path: Path, count: int) -> None:
    """One frame a second, at most as many as in training, the first and the last among them."""
    write_clip(tmp_path / "clip.mp4", shades(count))
    recorder = Recorder()
    ask_all("me", recorder, [question(video=tmp_path / "clip.mp4")], max_new_tokens=1)
    frames = recorder.asked[0][1]
    assert len(frames) == min(count, MAX_FRAMES)
    for frame, shade in ((frames[0], shades(count)[0]), (frames[-1], shades(count)[-1])):
        assert np.abs(np.asarray(load_image(frame), np.int16) - np.asarray(shade, np.int16)).max() < 8


def test_a_damaged_video_leaves_its_question_out(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\0" * 100)
    column = ask_all("me", Recorder(), [question(video=tmp_path / "clip.mp4"), question()], max_new_tokens=1)
    assert (
        isinstance(column.answers[0], str) and "clip.mp4" in column.answers[0] and isinstance(column.answers[1], Said)
    )


@pytest.mark.parametrize("code", list(ExitCode))
def test_errors_of_the_question_and_of_the_target(code: ExitCode) -> None:
    if code in (ExitCode.BAD_INPUT, ExitCode.LIMIT_EXCEEDED):
        assert ask_all("me", Recorder(code), [question()], max_new_tokens=1).answers == ("no",)
        return
    with pytest.raises(OVError):
        ask_all("me", Recorder(code), [question()], max_new_tokens=1)


def test_bundles_are_asked_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import ovexport.commands.eval, ovexport.evaluate.evaluate, ovexport.evaluate.own_sets\n"
        "import ovexport.evaluate.drawn, ovexport.evaluate.bundle_answerer\n"
        "from ovexport.train.drawn.kinds import KINDS"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
