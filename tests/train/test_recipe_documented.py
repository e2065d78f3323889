"""The recipes in docs/training.md are those that run, and its commands and files are taken."""

from __future__ import annotations

from pathlib import Path

from ovexport import cli
from ovexport.train.recipe import resolve
from ovexport.train.recipe.kinds import KINDS
from ovexport.train.recipe.overrides import VALUES
from ovexport.train.recipe.stages import STAGES

DOCUMENT = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_documented_table_is_the_recipes() -> None:
    recipes = [resolve(stage, "7b").recipe for stage in STAGES]
    rows = [line.strip("| ").split(" | ") for line in DOCUMENT.splitlines() if line.startswith("| `")]
    told = {row[0].strip("`"): row[1:] for row in rows if row[0].strip("`") in VALUES}
    assert told == {name: [KINDS[name].write(getattr(recipe, name)) for recipe in recipes] for name in told}
    differing = {name for name in VALUES if len({getattr(recipe, name) for recipe in recipes}) > 1}
    assert differing == set(told)


def test_documented_commands_are_taken() -> None:
    lines = [line.split("ovexport train ", 1)[1] for line in DOCUMENT.splitlines() if "ovexport train s" in line]
    commands = [line for line in lines if "`" not in line]
    assert len(commands) >= 10
    for line in commands:
        args = cli.parse(["train", *line.split()])
        given = {name: text for name in VALUES if (text := getattr(args, name)) is not None}
        resolve(args.shown or args.stage, args.size, None, given)


def test_documented_file_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(DOCUMENT.split("```toml\n")[1].split("```")[0])
    recipe = resolve("stage2-si", "0.5b", file).recipe
    assert (recipe.betas, len(recipe.grid_pinpoints)) == ((0.9, 0.95), 9)
