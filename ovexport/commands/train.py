"""`ovexport train STAGE` runs a stage of training, `ovexport train show STAGE` prints its recipe and runs nothing.

Every value of a recipe is an option; those and the TOML file are read by `ovexport.train.recipe`.
"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from ovengines.errors import ExitCode, OVError
from ovexport.train.recipe.kinds import KINDS
from ovexport.train.recipe.overrides import VALUES
from ovexport.train.recipe.recipe import MEANINGS, Resolved
from ovexport.train.recipe.resolve import resolve
from ovexport.train.recipe.rules import CHOICES
from ovexport.train.recipe.sizes import DEFAULT_SIZE
from ovexport.train.recipe.stages import STAGES
from ovrun.terminal import Terminal

SUMMARY = "train a stage of LLaVA-OneVision, or show its recipe"
SHOW = "show"
RUNS = Path("runs")


class _FirstWord(argparse.Action):
    """STAGE, or `show`, after which a second word is due: argparse can't say that of one that may come after flags."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, values)
        (second,) = (action for action in parser._actions if action.dest == "shown")
        second.required = values == SHOW


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("stage", action=_FirstWord, metavar="STAGE", help=f"{', '.join(CHOICES['stage'])}; or {SHOW} STAGE")
    add("shown", metavar="STAGE", help=f"after {SHOW}: the stage to print the recipe of")
    add("--size", default=DEFAULT_SIZE, metavar="SIZE", help=f"{', '.join(CHOICES['size'])} (default: %(default)s)")
    add("--recipe", type=Path, metavar="FILE.toml", help="values of your own, one per line: seed = 1")
    add("--json", action="store_true", help=f"after {SHOW}: print one JSON object")
    _add_run_options(parser.add_argument_group("where and how it runs"))
    group = parser.add_argument_group(f"values of the recipe (in place of what `ovexport train {SHOW} STAGE` prints)")
    for name in VALUES:
        allowed = " | ".join(CHOICES[name]) if name in CHOICES else KINDS[name].what
        group.add_argument(
            f"--{name.replace('_', '-')}", dest=name, metavar="VALUE", help=f"{MEANINGS[name]} ({allowed})"
        )
    parser.usage = "ovexport train [show] STAGE [--size SIZE] [--recipe FILE.toml] [--out DIR] [--NAME VALUE ...]"


def _add_run_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--runs", type=Path, default=RUNS, metavar="DIR", help="where stages find each other (default: %(default)s)")
    add("--out", type=Path, metavar="DIR", help="folder of this stage (default: RUNS/SIZE/STAGE)")
    add("--resume", default="auto", choices=("auto", "never"), help="go on where the folder's last state is, or anew")
    add("--any-stage", action="store_true", help="let --start-from be a checkpoint of another stage than the recipe's")
    add("--data-root", type=Path, metavar="DIR", help="where relative paths of the mixture start (default: beside it)")
    add("--parallel", default="auto", choices=("auto", "ddp", "fsdp"), help="how processes of torchrun share the model")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default: CUDA where there is one")


def run(args: argparse.Namespace, terminal: Terminal) -> None:
    if args.stage == SHOW:
        _show(resolve(args.shown, args.size, args.recipe, _given(args)), as_json=args.json)
        return
    if args.shown is not None or args.json:
        extra = args.shown if args.shown is not None else "--json"
        raise OVError(ExitCode.USAGE, f"{extra} belongs to `train {SHOW}`", f"ovexport train {SHOW} STAGE --json")
    _train(args, terminal)


def _given(args: argparse.Namespace) -> dict[str, str]:
    """The values on the command line, as text."""
    return {name: text for name in VALUES if (text := getattr(args, name)) is not None}


def _show(resolved: Resolved, *, as_json: bool) -> None:
    from ovexport.train.recipe import show

    print(json.dumps(show.as_json(resolved), indent=1) if as_json else show.as_table(resolved))


def _train(args: argparse.Namespace, terminal: Terminal) -> None:
    # The recipe keeps the stage that it should start from, so that a checkpoint of another can be told.
    given = _given(args)
    start = given.pop("start_from", None)
    resolved = resolve(args.stage, args.size, args.recipe, given)
    from ovexport.train.loop.parallel import is_first_process
    from ovexport.train.loop.stage import Run, run_stage
    from ovrun.log import show_log

    show_log(-1 if args.quiet else 1)
    how = Run(
        runs=args.runs,
        out=args.out,
        start=start,
        any_stage=args.any_stage,
        resume=args.resume == "auto",
        parallel=args.parallel,
        device=args.device,
        origins=resolved.origins,
        data_root=args.data_root,
        quiet=args.quiet,
    )
    checkpoint = run_stage(resolved.recipe, how)
    if is_first_process():
        print(checkpoint)
        if not args.quiet:
            terminal.write(f"next  {shlex.join(_next_words(args, checkpoint))}\n")


def _next_words(args: argparse.Namespace, checkpoint: Path) -> list[str]:
    """The command line after this one: the stage after, which finds its start by name unless --out hides it."""
    stages = tuple(STAGES)
    if args.stage == stages[-1]:
        return ["ovexport", "build", str(checkpoint)]
    start = ["--start-from", str(checkpoint)] if args.out else []
    runs = ["--runs", str(args.runs)] if args.runs != RUNS else []
    return ["ovexport", "train", stages[stages.index(args.stage) + 1], "--size", args.size, *runs, *start]
