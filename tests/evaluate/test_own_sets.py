"""Users' own sets: every form that is read, written out by hand, and what is wrong with entries and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovexport.evaluate.own_sets import read_suite
from ovexport.evaluate.question import Question

SHORT = "\nAnswer the question with a single word or phrase."
LETTER = "\nAnswer with the option letter from the given choices directly."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("x.png", "images/y.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "clip.mp4").write_bytes(b"not looked into yet")
    return tmp_path


def read(folder: Path, *entries: Any, lines: bool = False) -> tuple[list[Question], list[tuple[str, str]]]:
    path = folder / ("mine.jsonl" if lines else "mine.json")
    path.write_text("\n".join(map(json.dumps, entries)) if lines else json.dumps(entries))
    suite = read_suite(path)
    assert suite.name == path.name
    return list(suite.questions), [(each.entry, each.reason) for each in suite.left_out]


def one(folder: Path, entry: dict[str, Any]) -> Question:
    questions, left_out = read(folder, entry)
    assert not left_out and len(questions) == 1
    return questions[0]


@pytest.mark.parametrize("lines", [False, True])
def test_one_answer_several_or_ten(folder: Path, lines: bool) -> None:
    entries = [
        {"question": "What?", "answer": "red", "image": "x.png", "question_id": 17, "category": "colours"},
        {"question": "How many?", "answers": ["2", 2, "two"], "images": ["x.png", "images/y.png"], "id": "b"},
        {"question": "Who?", "answers": [{"answer": "cat", "answer_id": i} for i in range(10)], "video": "clip.mp4"},
        {"question": "Say it.", "answer": "It is red.", "response": "free-form", "instruction": "Language"},
    ]
    (a, b, c, d), left_out = read(folder, *entries, lines=lines)
    assert not left_out
    assert (a.id, a.family, a.prompt, a.answers, a.scorer) == ("17", "colours", f"What?{SHORT}", ("red",), "vqa")
    assert (a.images, a.vision_input, a.chance) == ((folder / "x.png",), "single-image", None)
    assert (b.id, b.family, b.answers, b.scorer) == ("b", "mine", ("2", "2", "two"), "vqa")
    assert (b.images, b.vision_input) == ((folder / "x.png", folder / "images/y.png"), "multi-image")
    assert (c.id, c.answers, c.scorer) == ("2", ("cat",) * 10, "vqa-soft")
    assert (c.video, c.images, c.vision_input) == (folder / "clip.mp4", (), "video")
    assert (d.prompt, d.instruction, d.response, d.vision_input) == ("Say it.", "Language", "free-form", "text")


@pytest.mark.parametrize(
    ("answer", "options", "letter"),
    [
        ("B", ["x", "y", "z"], "B"),
        ("c", ["x", "y", "z"], "C"),
        ("(A)", ["x", "y"], "A"),
        (2, ["x", "y", "z"], "C"),
        (0, ["x", "y"], "A"),
        ("y", ["x", "y", "z"], "B"),
        ("12", ["11", "12"], "B"),
        ("B", {"A": "x", "B": "y"}, "B"),
        ("x", {"B": "y", "A": "x"}, "A"),
        ("A", ["B", "A"], "A"),  # a letter is one, even if some text is the same
        (1, [5, 6.5], "B"),
    ],
)
@pytest.mark.parametrize("key", ["options", "choices"])
def test_choices(folder: Path, key: str, answer: Any, options: Any, letter: str) -> None:
    got = one(folder, {"question": "Which?", key: options, "answer": answer, "image": "x.png", "family": "pick"})
    texts = [str(options[k]) for k in sorted(options)] if isinstance(options, dict) else [str(o) for o in options]
    assert got.prompt == "Which?\n" + "\n".join(f"{'ABC'[i]}. {text}" for i, text in enumerate(texts)) + LETTER
    assert (got.answers, got.scorer, got.choices) == ((letter,), "choice", tuple(texts))
    assert (got.family, got.response, got.chance) == ("pick", "fixed-form", 1 / len(texts))


def test_conversations(folder: Path) -> None:
    talk = [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "<image>\nWhat?"},
        {"from": "gpt", "value": "Red"},
        {"from": "human", "value": "And now?"},
        {"from": "gpt", "value": "Blue"},
    ]
    levels = {"vision_input": "single-image", "instruction": "General", "response": "free-form"}
    entry = {"id": "r", "image": "x.png", "conversations": talk, "families": ["f", "g"], **levels}
    (a, b), left_out = read(folder, entry)
    assert not left_out
    assert [(q.id, q.family, q.prompt, q.answers) for q in (a, b)] == [
        ("r/0", "f", "<image>\nWhat?", ("Red",)),
        ("r/1", "g", "And now?", ("Blue",)),
    ]
    assert {(q.scorer, q.instruction, q.response, q.images) for q in (a, b)} == {
        ("exact", "General", "free-form", (folder / "x.png",))
    }
    of_video = one(folder, {"video": "clip.mp4", "conversations": talk[1:3]})
    assert (of_video.id, of_video.family, of_video.scorer) == ("0", "mine", "fixed")
    assert (of_video.prompt, of_video.video) == ("<video>\nWhat?", folder / "clip.mp4")
    several = {"image": ["x.png", "images/y.png"], "conversations": [dict(talk[1], value="<image> <image> ?"), talk[2]]}
    assert one(folder, several).vision_input == "multi-image"
    assert one(folder, {"conversations": [{"role": "user", "content": "Hi?"}, talk[2]]}).vision_input == "text"


GOOD = {"question": "What?", "answer": "red"}
BROKEN = [
    (7, "not an object"),
    ([], "not an object"),
    ({}, "none of conversations"),
    ({"question": "What?"}, "none of conversations"),
    ({"answer": "red"}, "question"),
    ({"question": ["What?"], "answer": "red"}, "question"),
    ({"question": "What?", "answer": None}, "answer"),
    ({"question": "What?", "answer": {"en": "red"}}, "answer"),
    ({"question": "What?", "answers": []}, "answers"),
    ({"question": "What?", "answers": "red"}, "answers"),
    ({"question": "What?", "answers": [{"text": "red"}]}, "answer"),
    ({**GOOD, "image": "missing.png"}, "missing.png"),
    ({**GOOD, "image": {"path": "x.png"}}, "image"),
    ({**GOOD, "image": "a\0b.png"}, "does not exist"),
    ({**GOOD, "image": "a" * 5000}, "does not exist"),
    ({**GOOD, "video": ["clip.mp4", "clip.mp4"]}, "2 videos"),
    ({**GOOD, "video": "missing.mp4"}, "missing.mp4"),
    ({**GOOD, "family": ["x"]}, "family"),
    ({**GOOD, "response": 1.5, "instruction": []}, "instruction"),
    ({"question": "<image> and <image>?", "answer": "red", "image": "x.png"}, "2 images"),
    ({"question": "<video>?", "answer": "red", "image": "x.png"}, "videos"),
    ({**GOOD, "options": ["x"]}, "1 options"),
    ({**GOOD, "options": None}, "0 options"),
    ({**GOOD, "options": "ABC"}, "option"),
    ({**GOOD, "options": [str(i) for i in range(27)]}, "27 options"),
    ({**GOOD, "options": {"A": "x", "C": "y"}}, "A, C"),
    ({"question": "?", "options": ["x", "y"]}, "none of the 2"),
    ({"question": "?", "options": ["x", "y"], "answer": "C"}, "none of the 2"),
    ({"question": "?", "options": ["x", "y"], "answer": 2}, "none of the 2"),
    ({"question": "?", "options": ["x", "y"], "answer": True}, "none of the 2"),
    ({"question": "?", "options": ["z", "z"], "answer": "z"}, "none of the 2"),
    ({"conversations": []}, "conversations"),
    ({"conversations": [{"from": "human", "value": "What?"}]}, ""),
    ({"image": "x.png", "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "y"}]}, "marker"),
    (
        {"image": "no.png", "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "y"}]},
        "no.p",
    ),
]


@pytest.mark.parametrize(("entry", "part"), BROKEN, ids=lambda value: str(value)[:40])
def test_broken_entries_are_left_out_and_listed(folder: Path, entry: Any, part: str) -> None:
    questions, left_out = read(folder, GOOD, entry, {**GOOD, "id": "last"})
    assert [question.id for question in questions] == ["0", "last"]
    assert len(left_out) == 1 and part in left_out[0][1], left_out


def test_a_broken_line_is_left_out(folder: Path) -> None:
    (folder / "mine.jsonl").write_text(json.dumps(GOOD) + '\n{"question": "What?", "ans\n\n' + json.dumps(GOOD) + "\n")
    suite = read_suite(folder / "mine.jsonl")
    assert len(suite.questions) == 2 and [each.entry for each in suite.left_out] == ["entry 1"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", None),
        ("a.json", ""),
        ("a.json", "{}"),
        ("a.json", '[{"question": '),
        ("a.json", "[]"),
        ("a.jsonl", ""),
        ("a.jsonl", "{}\n[]\n"),
        ("a.json", json.dumps([{"question": "What?"}])),
    ],
)
def test_files_without_questions(tmp_path: Path, name: str, content: str | None) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(OVError) as caught:
        read_suite(tmp_path / name)
    assert caught.value.code is ExitCode.BAD_INPUT and name in caught.value.message and caught.value.hint
