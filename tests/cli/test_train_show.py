"""`ovexport train show STAGE` and how `ovexport train STAGE` hands its words over; no stage is run here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_outcome import Outcome, assert_refused

from ovengines.errors import ExitCode
from ovexport import cli
from ovexport.train.loop import stage as stage_module
from ovexport.train.loop.stage import Run
from ovexport.train.recipe import Recipe, resolve
from ovexport.train.recipe.recipe import FIELDS
from ovexport.train.recipe.sizes import SIZES
from ovexport.train.recipe.stages import STAGES

Command = Callable[..., Outcome]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, Run]]:
    """What would have been run."""
    called: list[tuple[Recipe, Run]] = []

    def run_stage(recipe: Recipe, run: Run) -> Path:
        called.append((recipe, run))
        return Path("where")

    monkeypatch.setattr(stage_module, "run_stage", run_stage)
    return called


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stage", STAGES)
def test_show_prints_every_value_with_its_origin(ovexport: Command, stage: str, size: str) -> None:
    outcome = ovexport("train", "show", stage, "--size", size)
    assert (outcome.code, outcome.err) == (0, "")
    values, derived = outcome.out.split("\n\n")
    head, *lines = values.splitlines()
    resolved = resolve(stage, size)
    assert head.split() == ["name", "value", "origin"]
    starts = (head.index("value"), head.index("origin"))
    for name, line in zip(FIELDS, lines, strict=True):
        assert line[: starts[0]].strip() == name
        assert line[starts[0] : starts[1]].strip() and " " not in line[starts[0] : starts[1]].strip()
        assert line[starts[1] :] == resolved.origins[name]
    assert ("vision : language rate" in derived) and ("micro-batches per step" in derived)
    assert ("1 : 5" in derived) == (stage != "stage1")


def test_show_as_json(ovexport: Command) -> None:
    outcome = ovexport("train", "show", "stage1.5", "--size", "0.5b", "--json", "--seed", "5")
    told = json.loads(outcome.out)
    recipe = resolve("stage1.5", "0.5b", None, {"seed": "5"}).recipe
    assert told["recipe"]["seed"] == {"value": 5, "origin": "command line"}
    assert {name: entry["value"] for name, entry in told["recipe"].items()} == json.loads(
        json.dumps({name: getattr(recipe, name) for name in FIELDS})
    )
    assert all(entry["origin"] for entry in told["recipe"].values())
    assert told["derived"]["micro-batches per step"]["value"] == "128"


def test_show_takes_values_from_file_and_flags(ovexport: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("language_lr = 2e-5\nmax_frames = 16\n")
    out = ovexport("train", "show", "--language-lr", "1e-4", "--recipe", file, "stage2-ov", "--size=7b").out
    lines = {line.split()[0]: line.split(maxsplit=2) for line in out.splitlines() if line}
    assert lines["language_lr"][1:] == ["0.0001", "command line"]
    assert lines["max_frames"][1:] == ["16", "file mine.toml"]
    assert lines["projector_lr"][1] == "1e-5"
    assert "1 : 50" in out


@pytest.mark.parametrize("field", [name for name in FIELDS if name not in ("stage", "size")])
def test_each_value_is_a_flag(ovexport: Command, field: str) -> None:
    """Its own shipped value, written as it is shown, is taken and is then the command line's."""

    def shown(*flag: str) -> list[str]:
        values, _ = ovexport("train", "show", "stage2-si", *flag).out.split("\n\n")
        (line,) = (line for line in values.splitlines() if line.split()[0] == field)
        return line.split(maxsplit=2)[1:]

    value, origin = shown()
    assert origin != "command line"
    assert shown(f"--{field.replace('_', '-')}", value) == [value, "command line"]


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        ("show", ("required: STAGE",)),
        ("", ("required: STAGE",)),
        ("show stage3", ("stage stage3 is not known", "stage2-ov")),
        ("stage_1", ("did you mean stage1?",)),
        ("show stage1 --size 13b", ("size 13b", "0.5b, 7b, 72b, tiny")),
        ("show stage1 --langauge-lr 1e-5", ("unrecognized arguments: --langauge-lr", "did you mean --language-lr?")),
        ("show stage1 --lang 1e-5", ("unrecognized arguments: --lang",)),
        ("show stage1 --language-lr", ("--language-lr", "expected one argument")),
        ("show stage1 --language-lr fast", ("language_lr", "not a number")),
        ("show stage1 --template qwen", ("template", "qwen_1_5")),
        ("show stage2-si --global-batch 100 --device-batch 3", ("multiple of device_batch",)),
        ("show stage1 stage1.5", ("unrecognized arguments: stage1.5",)),
        ("stage1 stage1.5", ("stage1.5 belongs to `train show`",)),
        ("stage1 --json", ("--json belongs to `train show`",)),
        ("stage1 --resume maybe", ("--resume", "auto")),
        ("stage1 --language-lr fast", ("not a number",)),
        ("stage2-si --trainable towers", ("vision, projector, language",)),
    ],
)
def test_wrong_usage(ovexport: Command, runs: list[object], words: str, fragments: tuple[str, ...]) -> None:
    assert_refused(ovexport("train", *words.split()), ExitCode.USAGE, *fragments)
    assert runs == []


def test_unreadable_recipe_file(ovexport: Command, tmp_path: Path) -> None:
    assert_refused(ovexport("train", "show", "stage1", "--recipe", tmp_path / "no.toml"), ExitCode.BAD_INPUT, "no.toml")
    (tmp_path / "bad.toml").write_text("seed 1")
    assert_refused(ovexport("train", "stage1", "--recipe", tmp_path / "bad.toml"), ExitCode.BAD_INPUT, "not TOML")


def test_train_hands_recipe_and_places_over(ovexport: Command, runs: list[tuple[Recipe, Run]], tmp_path: Path) -> None:
    words = ("--size", "tiny", "--runs", tmp_path, "--seed", "9", "--resume", "never", "--parallel", "ddp", "-q")
    outcome = ovexport("train", "stage2-ov", *words)
    assert (outcome.code, outcome.out) == (0, "where\n")
    ((recipe, run),) = runs
    assert recipe == resolve("stage2-ov", "tiny", None, {"seed": "9"}).recipe
    assert run.origins["seed"] == "command line"
    assert (run.runs, run.out, run.start, run.any_stage, run.resume, run.parallel, run.device, run.quiet) == (
        tmp_path, None, None, False, False, "ddp", "auto", True,
    )  # fmt: skip


def test_start_of_ones_own_leaves_the_expected_stage(ovexport: Command, runs: list[tuple[Recipe, Run]]) -> None:
    assert ovexport("train", "stage1.5", "--start-from", "some/folder", "--out", "here", "--any-stage").code == 0
    ((recipe, run),) = runs
    assert (recipe.start_from, run.start, run.out, run.any_stage, run.runs) == (
        "stage1", "some/folder", Path("here"), True, Path("runs"),
    )  # fmt: skip


def test_commands_and_recipes_are_light() -> None:
    """Help, wrong usage and `train show` answer without PyTorch, tqdm and the rest."""
    script = (
        "import sys; from ovexport.cli import main\n"
        "main(['train', 'show', 'stage2-ov']), main(['train', 'stage1', '-x']), main(['train', '-h'])\n"
        "heavy = {'torch', 'transformers', 'onnx', 'matplotlib', 'tqdm', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_command_has_what_the_parser_needs() -> None:
    assert tuple(cli.COMMANDS) == ("build", "verify", "inspect", "train", "data", "eval", "doctor")
    for name, module in cli.COMMANDS.items():
        assert module.SUMMARY and callable(module.arguments) and callable(module.run), name
