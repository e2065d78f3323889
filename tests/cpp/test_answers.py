"""What a C++ program is answered is what `ovrun --json` prints, however it hands its pictures over."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cpp_builds import ROOT, run

from ovrun.session import Session

CLIP = ROOT / "examples" / "clip.mp4"
SAME = ("text", "finish_reason", "token_ids", "prompt_tokens", "image_tokens", "completion_tokens", "tiles", "model")

Answers = dict[str, list[dict[str, Any]]]


@pytest.fixture
def answers(programs: Path, tiny_bundle: Path, picture: Path, rgb_file: tuple[Path, int, int]) -> Answers:
    told: Answers = {}
    for line in run(programs / "answers", tiny_bundle, picture, CLIP, *rgb_file).splitlines():
        record = json.loads(line)
        told.setdefault(record["name"], []).append(record["answer"])
    return told


def test_every_form_of_a_picture_gets_the_answer_of_the_command_line(
    answers: Answers, tiny_bundle: Path, picture: Path
) -> None:
    command = [sys.executable, "-m", "ovrun.cli", picture, "-m", tiny_bundle, "--json", "--threads", "1"]
    printed = json.loads(run(*command))
    for name, count in {"file": 1, "bytes": 1, "tight": 1, "frame": 4}.items():
        assert len(answers[name]) == count
        for answer in answers[name]:
            assert {key: answer[key] for key in SAME} == {key: printed[key] for key in SAME}, name
            assert answer.keys() == printed.keys() and answer["timings_ms"].keys() == printed["timings_ms"].keys()


def test_frames_have_the_very_pixels_of_the_file(answers: Answers) -> None:
    """What was seen is known by its pixels, so one bit more or less would be looked at again."""
    assert answers["file"][0]["timings_ms"]["encode"] > 0
    for name in ("bytes", "tight", "frame"):
        assert all(answer["timings_ms"]["encode"] == 0 for answer in answers[name]), name


def test_images_chat_video_and_watch_answer_as_in_python(answers: Answers, tiny_bundle: Path, picture: Path) -> None:
    asked: dict[str, Any] = {"images": [picture] * 2, "prompt": "How many shapes are in the second image?"}
    with Session.open(tiny_bundle, threads=1) as session:
        chat = session.chat(max_new_tokens=20)
        right = {
            "two": [session.generate(**asked)],
            "turn 1": [chat.ask("How many shapes are there?", [picture])],
            "turn 2": [chat.ask("What color is the circle?")],
            "video": [session.generate(prompt="Describe this video.", video=CLIP, num_frames=4)],
            "frames": [session.generate(prompt="Describe this video.", video=[picture] * 3)],
            "watch": list(
                session.watch([picture] * 4, "What shape moves in the video?", window=2, every=2, max_new_tokens=8)
            ),
        }
    for name, results in right.items():
        told = [(answer["text"], tuple(answer["token_ids"]), answer["tiles"]) for answer in answers[name]]
        assert told == [(result.text, result.token_ids, result.tiles) for result in results], name
        assert [answer["reused_tokens"] for answer in answers[name]] == [result.reused_tokens for result in results]
    assert answers["turn 2"][0]["reused_tokens"] > 100
