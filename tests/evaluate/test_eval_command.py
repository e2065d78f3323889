"""`ovexport eval` from its words to table, JSON and files, on answerers whose answers are written here."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovexport.cli import main
from ovexport.evaluate.answerer import About, How

Run = Callable[..., tuple[int, str, str]]

# What each target says to each prompt; "late" has a context too short for one of them.
SCRIPTS: dict[str, dict[str, str]] = {
    "good": {"One?": "Yes", "Two?": "no", "Three?": "B", "Four?": "It is red."},
    "poor": {"One?": "yes.", "Two?": "yes", "Three?": "A", "Four?": "It is blue."},
    "late": {"One?": "Yes", "Two?": "!", "Three?": "a dog", "Four?": "It is red."},
}
ENTRIES: list[dict[str, Any]] = [
    {"question": "One?", "answer": "Yes", "family": "yes/no", "image": "x.png"},
    {"question": "Two?", "answer": "No", "family": "yes/no", "image": ["x.png", "x.png"]},
    {"question": "Three?", "options": ["a cat", "a dog"], "answer": "B", "family": "choice", "image": "x.png"},
    {"question": "Four?", "answer": "It is red.", "family": "say", "response": "free-form", "instruction": "General"},
]


class Scripted:
    def __init__(self, target: str, how: How) -> None:
        self.script, self.closed = SCRIPTS[Path(target).name], False
        self.about = About(source=target, kind="bundle", precision="int8", engine="script")

    def answer(
        self, images: Sequence[object], frames: Sequence[object], prompt: str, max_new_tokens: int
    ) -> tuple[str, tuple[int, ...]]:
        text = self.script[prompt.splitlines()[0]]
        if text == "!":
            raise OVError(ExitCode.LIMIT_EXCEEDED, "the prompt is too long")
        return text, tuple(text.encode())

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Scripted, How]]:
    """Makes every target a scripted one, and lists those that were opened."""
    found: list[tuple[Scripted, How]] = []

    def open_scripted(target: str, how: How) -> Scripted:
        assert all(answerer.closed for answerer, _ in found), "one at a time"
        found.append((Scripted(target, how), how))
        return found[-1][0]

    monkeypatch.setattr("ovexport.evaluate.evaluate.open_answerer", open_scripted)
    return found


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    Image.new("RGB", (5, 5)).save(tmp_path / "x.png")
    (tmp_path / "mine.json").write_text(json.dumps(ENTRIES))
    return tmp_path / "mine.json"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        code = main(["eval", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def cells(table: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line.strip()) for line in table.splitlines() if line.strip()]


def test_table(run: Run, suite: Path, opened: list[tuple[Scripted, How]]) -> None:
    code, out, err = run("good", "poor", "--suite", suite)
    assert (code, err) == (0, "")
    rows = cells(out)
    assert rows[:5] == [
        ["family", "n", "chance", "good", "poor"],
        ["yes/no", "2", "100.0", "50.0"],
        ["choice", "1", "50.0", "100.0", "0.0"],
        ["say", "1", "100.0", "0.0"],
        ["all", "4", "100.0", "25.0"],
    ]
    assert ["vision input", "n", "chance", "good", "poor"] in rows and ["multi-image", "1", "100.0", "0.0"] in rows
    assert ["General", "1", "100.0", "0.0"] in rows and ["free-form", "1", "100.0", "0.0"] in rows
    assert ["same tokens as good", "100.0", "0.0"] in rows and rows[-1][0] == "ms per question"
    numbers = [line for line in out.splitlines() if line]
    assert len({len(line) for line in numbers}) == 1, "columns are aligned to the right"
    assert [answerer.closed for answerer, _ in opened] == [True, True]


def test_json_and_files_say_the_same(run: Run, suite: Path, tmp_path: Path, opened: list[tuple[Scripted, How]]) -> None:
    out_dir = tmp_path / "new" / "out"
    words = ("good", "poor", "--suite", suite, "--max-tiles", 1, "--threads", 2, "--device", "cpu")
    code, out, _ = run(*words, "--json", "-o", out_dir)
    assert code == 0 and {how for _, how in opened} == {How(max_tiles=1, threads=2, device="cpu")}
    content = json.loads(out)
    assert content["suite"] == {"name": "mine.json", "questions": 4} and content["max_tiles"] == 1
    assert list(content["targets"]) == ["good", "poor"] and content["targets"]["poor"]["same_tokens"] == 0
    assert content["targets"]["good"]["precision"] == "int8"
    assert content["families"]["yes/no"]["n"] == 2 and content["families"]["yes/no"]["chance"] is None
    share = content["families"]["yes/no"]["targets"]["poor"]
    assert share["accuracy"] == 0.5 and 0.09 < share["low"] < 0.1 and 0.9 < share["high"] < 0.91
    assert list(content["levels"]) == ["vision_input", "instruction", "response"]
    assert content["all"]["targets"]["poor"]["accuracy"] == 0.25 and content["left_out"] == []
    assert json.loads((out_dir / "eval.json").read_text()) == content
    markdown = (out_dir / "eval.md").read_text()
    assert "at most 1 tiles" in markdown and "| yes/no | 2 |  | 100.0 | 50.0 |" in markdown
    answers = [json.loads(line) for line in (out_dir / "answers.jsonl").read_text().splitlines()]
    assert len(answers) == 4 and answers[1]["expected"] == ["No"]
    assert answers[1]["said"]["poor"] == {"text": "yes", "score": 0.0, "token_ids": list(b"yes")}
    for name in ("eval-families.png", "eval-taxonomy.png"):
        with Image.open(out_dir / name) as plot:
            colours = plot.convert("RGB").getcolors(1 << 20)
        assert colours is not None and len(colours) > 10, "something is drawn"


def test_what_can_not_be_asked_is_left_out_of_every_column(
    run: Run, suite: Path, opened: list[tuple[Scripted, How]]
) -> None:
    suite.write_text(json.dumps([*ENTRIES, {"question": "Five?"}]))
    code, out, err = run("good", "late", "--suite", suite, "--json")
    content = json.loads(out)
    assert code == 0 and content["families"]["yes/no"]["n"] == 1 and content["all"]["n"] == 3
    assert [each["entry"] for each in content["left_out"]] == ["4", "1"]
    assert "the prompt is too long" in err and "4 is left out" in err
    assert content["all"]["targets"]["late"]["accuracy"] == 1, "the option's text is as good as its letter"


def test_many_left_out_are_counted(run: Run, suite: Path, opened: list[tuple[Scripted, How]]) -> None:
    suite.write_text(json.dumps([*ENTRIES, *[{}] * 30]))
    _, _, err = run("good", "--suite", suite)
    assert "30 entries are left out in all" in err and err.count("is left out") == 5


def test_limit(run: Run, suite: Path, opened: list[tuple[Scripted, How]]) -> None:
    _, out, _ = run("good", "--suite", suite, "--limit", 2, "--json")
    assert list(json.loads(out)["families"]) == ["yes/no"]


def test_drawn_is_the_default_suite_and_ov_tiny_the_default_target(
    run: Run, opened: list[tuple[Scripted, How]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_drawn_suite import KINDS

    monkeypatch.setattr("ovexport.train.drawn.kinds.KINDS", KINDS)
    script = {"Which number?": "7", "Describe it.": "It is 7.", "Does it move?": "Yes"}
    monkeypatch.setitem(SCRIPTS, "ov-tiny", script)
    code, out, _ = run("--per-family", 20, "--seed", 5, "--json")
    content = json.loads(out)
    assert code == 0 and content["suite"] == {"name": "drawn", "questions": 60, "per_family": 20, "seed": 5}
    accuracy = {name: row["targets"]["ov-tiny"]["accuracy"] for name, row in content["families"].items()}
    assert accuracy["number"] < 0.4 and 0.2 < accuracy["moves"] < 0.8 and content["all"]["chance"] == 0.25


def test_plots_without_matplotlib(
    run: Run, suite: Path, tmp_path: Path, opened: list[tuple[Scripted, How]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = run("good", "--suite", suite, "-o", tmp_path / "out")
    assert (code, out) == (ExitCode.MISSING_DEPENDENCY, "") and "pip install 'ovexport[train]'" in err
    assert not opened, "found out before anything was asked"
    assert run("good", "--suite", suite)[0] == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--suite", "mine.txt"], ExitCode.USAGE),
        (["--suite", "missing.json"], ExitCode.BAD_INPUT),
        (["--limit", "0"], ExitCode.USAGE),
        (["--per-family", "-3"], ExitCode.USAGE),
        (["--max-tiles", "two"], ExitCode.USAGE),
        (["--suite", "any.json", "--seed", "1"], ExitCode.USAGE),
        (["--suite", "any.json", "--per-family", "1"], ExitCode.USAGE),
        (["--suits", "drawn"], ExitCode.USAGE),
    ],
)
def test_refusals(run: Run, words: list[str], code: ExitCode, opened: list[tuple[Scripted, How]]) -> None:
    got, out, err = run("good", *words)
    assert (got, out) == (code, "") and "error:" in err and "hint:" in err and not opened


def test_a_folder_that_can_not_be_written(
    run: Run, suite: Path, tmp_path: Path, opened: list[tuple[Scripted, How]]
) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run("good", "--suite", suite, "-o", tmp_path / "file")
    assert code == ExitCode.BAD_INPUT and "file" in err and "-o" in err
