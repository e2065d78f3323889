"""Trains ov-tiny from nothing: `python -m ovexport.train.tiny`. Every part is resumable; run it again after a stop.

Draws the data, makes the ready-made parts (tower and language model), then runs the paper's four stages with the
command that trains the real sizes, and measures the model on held-out drawings.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ovexport.progress import Bars
from ovexport.train.tiny import parts
from ovexport.train.tiny.draw import draw_stage_data
from ovexport.train.tiny.ship import ship
from ovexport.train.tiny.train_tower import TowerRecipe
from ovrun.log import show_log

STAGES = ("stage1", "stage1.5", "stage2-si", "stage2-ov")
MEASURED = ("stage2-si", "stage2-ov")
_ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ovexport.train.tiny", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs (default: %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the drawings (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="processes that train together (default: %(default)s)")
    parser.add_argument("--per-family", type=int, default=100, help="held-out questions of each family at the end")
    parser.add_argument("--only", choices=(parts.TOWER, parts.LANGUAGE), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    show_log(0)
    if args.only:  # one of the two processes that `_parts` starts
        _part(args)
        return 0
    _timed("draw", partial(_draw, args))
    parts.make_fresh(args.runs)
    _timed("tower and language", partial(_parts, args))
    parts.join_parts(args.runs)
    for stage in STAGES:
        _timed(stage, partial(_train, args, stage))
    _timed("held-out questions", lambda: _measure(args))
    ship(parts.folder(args.runs, STAGES[-1]), args.runs / parts.SIZE / "ov-tiny", per_family=args.per_family)
    return 0


def _draw(args: argparse.Namespace) -> None:
    draw_stage_data(args.runs / parts.SIZE / "drawn", args.scale, bars=Bars(), workers=args.processes)


def _parts(args: argparse.Namespace) -> None:
    """Both at once, a thread each: neither gains as much from a second one."""
    words = ["--runs", str(args.runs), "--scale", str(args.scale)]
    commands = [
        [sys.executable, "-m", "ovexport.train.tiny", "--only", part, *words]
        for part in (parts.TOWER, parts.LANGUAGE)
        if not parts.folder(args.runs, part).exists()
    ]
    running = [subprocess.Popen(command, env=_ONE_THREAD) for command in commands]
    for command, process in zip(commands, running, strict=True):
        if code := process.wait():
            raise subprocess.CalledProcessError(code, command)


def _part(args: argparse.Namespace) -> None:
    if args.only == parts.TOWER:
        parts.make_tower(args.runs, TowerRecipe(steps=max(1, round(TowerRecipe.steps * args.scale))))
    else:
        parts.make_language(args.runs)


def _train(args: argparse.Namespace, stage: str) -> None:
    """The same command as for the real sizes."""
    if not parts.folder(args.runs, stage).exists():
        _together(args, "ovexport", "train", stage, "--size", parts.SIZE, "--runs", str(args.runs))


def _together(args: argparse.Namespace, module: str, *words: str) -> None:
    """Run a module in several processes that train together, a thread each."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={args.processes}"]
    command = [*(launcher if args.processes > 1 else []), "-m", module, *words]
    subprocess.run([sys.executable, *command], check=True, env=_ONE_THREAD)


def _measure(args: argparse.Namespace) -> None:
    """Before and after the last stage, and without tiles: what each is worth."""
    last = str(parts.folder(args.runs, STAGES[-1]))
    measured = {
        "held-out": [str(parts.folder(args.runs, stage)) for stage in MEASURED],
        "held-out-one-tile": [last, "--max-tiles", "1"],
    }
    for name, words in measured.items():
        out = ["-o", str(args.runs / parts.SIZE / name), "--per-family", str(args.per_family)]
        subprocess.run([sys.executable, "-m", "ovexport", "eval", *words, *out], check=True)


def _timed(label: str, run: Callable[[], None]) -> None:
    started = time.perf_counter()
    run()
    logging.getLogger("ovexport").info("%s: %.1f min", label, (time.perf_counter() - started) / 60)


if __name__ == "__main__":
    sys.exit(main())
