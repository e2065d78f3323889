"""`ovexport eval`: exact match by family and taxonomy of checkpoints and bundles, on drawn questions or one's own."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ovengines.errors import ExitCode, OVError
from ovrun.terminal import Terminal

if TYPE_CHECKING:
    from ovexport.evaluate.question import Suite
    from ovexport.progress import Bars

SUMMARY = "ask checkpoints and bundles the questions of a suite, and count the right answers"
DRAWN = "drawn"
PER_FAMILY = 50
MAX_NEW_TOKENS = 128
SHOWN = 5  # entries that are left out, by name


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "targets",
        nargs="*",
        metavar="TARGET",
        help="bundles; checkpoints as for build; stages of training (default: ov-tiny)",
    )
    add("--suite", default=DRAWN, metavar="SUITE", help="drawn (default), or a .json or .jsonl file of questions")
    add("--per-family", type=_at_least_one, metavar="N", help=f"questions of each drawn family (default: {PER_FAMILY})")
    add("--seed", type=int, metavar="S", help="of the drawn questions (default: 0)")
    add("--limit", type=_at_least_one, metavar="N", help="ask the first N questions only")
    add("--max-tiles", type=_at_least_one, metavar="N", help="as for ovrun; 1 is tiles off")
    add("--max-new-tokens", type=_at_least_one, default=MAX_NEW_TOKENS, metavar="N", help="default: %(default)s")
    add("--device", default="auto", metavar="NAME", help="auto, cpu or cuda (PyTorch only)")
    add("--threads", type=_at_least_one, metavar="N", help="default: all cores")
    add("--json", action="store_true", help="print one JSON object")
    add("-o", "--output", type=Path, metavar="DIR", help="write eval.json, eval.md, answers.jsonl and plots there")


def run(args: argparse.Namespace, terminal: Terminal) -> None:
    from ovexport.embedded import NAME
    from ovexport.evaluate.answerer import How
    from ovexport.evaluate.evaluate import evaluate, write_evaluation
    from ovexport.evaluate.plots import check_matplotlib
    from ovexport.progress import Bars

    if args.output:
        check_matplotlib()
    bars = Bars(quiet=args.quiet)
    suite = _suite(args, bars)
    how = How(max_tiles=args.max_tiles, threads=args.threads, device=args.device)
    evaluation = evaluate(args.targets or [NAME], suite, how, max_new_tokens=args.max_new_tokens, bars=bars)
    left_out = evaluation.tally.left_out
    for each in left_out[:SHOWN]:
        terminal.note("warning", f"{each.entry} is left out: {each.reason}")
    if len(left_out) > SHOWN:
        terminal.note("warning", f"{len(left_out)} entries are left out in all; --json and -o list them")
    print(json.dumps(evaluation.as_json(), indent=1) if args.json else evaluation.as_text())
    if args.output:
        write_evaluation(evaluation, args.output)


def _suite(args: argparse.Namespace, bars: Bars) -> Suite:
    suite = _drawn(args, bars) if args.suite == DRAWN else _own(args)
    return dataclasses.replace(suite, questions=suite.questions[: args.limit])


def _drawn(args: argparse.Namespace, bars: Bars) -> Suite:
    from ovexport.evaluate.drawn import drawn_suite
    from ovexport.train.drawn.kinds import KINDS

    with bars.steps("drawing") as progress:
        return drawn_suite(KINDS, args.per_family or PER_FAMILY, args.seed or 0, progress)


def _own(args: argparse.Namespace) -> Suite:
    from ovexport.evaluate.own_sets import SUFFIXES, read_suite

    if args.per_family is not None or args.seed is not None:
        raise OVError(
            ExitCode.USAGE, "--per-family and --seed belong to --suite drawn", "use --limit to ask fewer questions"
        )
    path = Path(args.suite)
    if path.suffix not in SUFFIXES:
        raise OVError(
            ExitCode.USAGE, f"{args.suite} is no suite", f"give {DRAWN}, or a file ending in {' or '.join(SUFFIXES)}"
        )
    return read_suite(path)


def _at_least_one(text: str) -> int:
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
