"""`ovrun batch`: its answers are those of `Session.generate`, a line for each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from batch_lines import NAMES, SAID, expected, lines_of
from fake_engine import FakeEngine
from runners import Batch

from ovengines.errors import ExitCode
from ovrun.cli import main
from ovrun.session import Session
from ovrun.terminal import Terminal

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.usefixtures("album")
def test_every_image_below_a_folder(batch: Batch, session: Session) -> None:
    code, lines, err = batch("album", "--ordered")
    assert (code, err) == (0, "")
    assert lines == [
        {"id": name, "image": name, "prompt": "Describe this image.", **expected(session, images=[name])}
        for name in NAMES
    ]


@pytest.mark.usefixtures("album")
def test_every_prompt_about_every_image_once(batch: Batch, session: Session, engines: list[FakeEngine]) -> None:
    code, lines, _ = batch("album/b.PNG", "album", "album/a.png", "-p", "what?", "-p", "where?", "--ordered")
    asked = [(name, number) for name in (NAMES[1], NAMES[0], NAMES[2]) for number in (1, 2)]
    assert code == 0 and [line["id"] for line in lines] == [f"{name}#{number}" for name, number in asked]
    for line, (name, number) in zip(lines, asked, strict=True):
        question = {"prompt": ("what?", "where?")[number - 1], "images": [name], "max_new_tokens": 6}
        assert line["text"] == session.generate(**question).text
    tiles = sum(engines[1].batches)
    assert tiles == sum(engines[0].batches)  # each image is looked at once, as in the oracle


@pytest.mark.usefixtures("album")
def test_options_hold_for_all(batch: Batch, session: Session) -> None:
    _, lines, _ = batch("album/a.png", "-p", "a", "--system", "Be brief.", "--max-tiles", 1, "--stop", "e")
    question = {"prompt": "a", "images": ["album/a.png"], "system": "Be brief.", "max_tiles": 1, "stop_strings": ["e"]}
    assert {name: lines[0][name] for name in SAID} == expected(session, **question)


def test_the_real_model_answers_as_one_by_one(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(EXAMPLES.parent)
    prompts = ("Describe this image.", "How many shapes are there?")
    words = [word for prompt in prompts for word in ("-p", prompt)]
    out = tmp_path / "new" / "out.jsonl"
    pictures = [f"examples/{name}.png" for name in ("portrait", "shapes", "tile")]
    assert main(["batch", *pictures, "-m", str(tiny_bundle), "--jsonl", str(out), "--slots", "4", *words]) == 0
    assert capsys.readouterr() == ("", "")
    with Session.open(tiny_bundle) as session:
        wanted = {
            f"{picture}#{number}": session.generate(prompt=prompt, images=[picture]).text
            for picture in pictures
            for number, prompt in enumerate(prompts, start=1)
        }
    assert {line["id"]: line["text"] for line in lines_of(out.read_bytes())} == wanted and len(wanted) == 6


@pytest.mark.usefixtures("album")
def test_a_broken_image_is_a_line_and_not_the_end(batch: Batch, session: Session) -> None:
    Path("album/aa.png").write_text("no image")
    code, lines, err = batch("album", "missing.png", "--ordered")
    assert code == ExitCode.BAD_INPUT
    assert err == "error: 2 of 5 have no answer\nhint: their lines say why\n"
    broken, missing = lines[1], lines[4]
    assert broken["id"] == broken["image"] == "album/aa.png" and broken["error"]["code"] == 3
    assert "not an image" in broken["error"]["message"] and "PNG" in broken["error"]["hint"]
    assert set(broken) == {"id", "image", "prompt", "error"} and missing["error"]["message"].startswith("missing.png")
    assert lines[2]["text"] == expected(session, images=[NAMES[1]])["text"]


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize("slots", [1, 2, 5])
def test_lines_come_as_answers_do_unless_ordered(batch: Batch, slots: int) -> None:
    requests = [{"prompt": f"{number}", "max_new_tokens": length} for number, length in enumerate((9, 1, 5, 2, 1))]
    Path("in.jsonl").write_text("".join(json.dumps(request) + "\n" for request in requests))
    _, as_they_come, _ = batch("--requests", "in.jsonl", "--slots", slots)
    _, ordered, _ = batch("--requests", "in.jsonl", "--slots", slots, "--ordered")
    assert [line["id"] for line in ordered] == ["1", "2", "3", "4", "5"]
    assert (as_they_come == ordered) is (slots == 1)
    assert sorted(as_they_come, key=lambda line: line["id"]) == ordered


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize(
    ("words", "code", "fragment"),
    [
        ([], 2, "no image"),
        (["album", "--requests", "in.jsonl"], 2, "both given"),
        (["--requests", "missing.jsonl"], 3, "missing.jsonl can't be read"),
        (["--requests", "/dev/null"], 3, "no requests"),
        (["--requests", "-", "-p", "a", "-p", "b"], 2, "several -p"),
        (["album/deep/.thumbs/.."], 0, ""),
        (["empty"], 3, "no image below empty"),
        (["album", "--slots", "0"], 2, "--slots"),
        (["album", "--top-p", "7"], 2, "top_p"),
        (["album", "--jsnol", "x"], 2, "did you mean --jsonl?"),
        (["album", "--jsonl", "album"], 2, "can't be written"),
    ],
)
def test_usage(batch: Batch, words: list[str], code: int, fragment: str) -> None:
    Path("empty").mkdir()
    outcome = batch(*words)
    assert outcome[0] == code and fragment in outcome[2], outcome


@pytest.mark.usefixtures("album")
def test_progress_is_for_terminals(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terminal, "is_terminal", True)
    monkeypatch.setattr("ovrun.terminal.REDRAW_S", 0.0)
    code, lines, err = batch("album")
    assert code == 0 and len(lines) == 3
    assert "\r[....................] 0/3 answers 0%\r" in err and "[######..............] 1/3 answers, " in err
    assert "/s, 0:0" in err and err.rstrip("\r ").count("\n") == 0
    assert batch("album", "-q")[2] == ""
    monkeypatch.setattr(Terminal, "is_terminal", False)
    assert batch("album")[2] == "" and batch("album", "--stats")[2].startswith("3 asked in ")
