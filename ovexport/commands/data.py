"""`ovexport data stats | recaption | draw`: looks into mixtures, writes new captions, draws ov-tiny's data."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ovengines.errors import ExitCode, OVError
from ovrun.terminal import Terminal

if TYPE_CHECKING:
    from ovexport.progress import Bars
    from ovexport.train.data.tally import MixtureStats

SUMMARY = "look into training data, caption images anew, draw data"
DEFAULT_DRAWN = 1000  # of each kind asked for


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (summary, add_arguments, act) in _ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        add_arguments(action)
        # What stands before the action's name is read by the command's own parser, and must not be forgotten.
        action.add_argument("-q", "--quiet", action="store_true", default=argparse.SUPPRESS, help="no progress")
        action.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show an error's traceback")
        action.set_defaults(act=act, options=tuple(action._option_string_actions))


def run(args: argparse.Namespace, terminal: Terminal) -> None:
    args.act(args, terminal)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _stats_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("mixture", metavar="MIX", help="YAML, JSON or JSONL file, or a shipped mixture by name, such as single_image")
    add("--data-root", type=Path, metavar="DIR", help="where relative paths start (default: the folder of MIX)")
    add("--image-folder", type=Path, metavar="DIR", help="where images are (default: beside the file of records)")
    add("--video-folder", type=Path, metavar="DIR", help="where videos are (default: beside the file of records)")
    add("--published", action="store_true", help="take the published counts and read no file")
    add("--open-media", action="store_true", help="decode every image and video: finds broken ones, counts frames")
    add("-o", "--output", type=Path, metavar="DIR", help="draw plots into this folder")
    add("--json", action="store_true", help="print one JSON object, with every broken record")


def _stats(args: argparse.Namespace, terminal: Terminal) -> None:
    from ovexport.progress import Bars
    from ovexport.train.data.stats import mixture_stats
    from ovexport.train.data.stats_table import stats_text
    from ovexport.train.data.tally import NOT_HERE

    with Bars(quiet=args.quiet).steps("reading") as progress:
        stats = mixture_stats(
            args.mixture,
            root=args.data_root,
            image_folder=args.image_folder,
            video_folder=args.video_folder,
            published=args.published,
            open_media=args.open_media,
            progress=progress,
        )
    if num_absent := len(stats.names(NOT_HERE)):
        counted = f"{num_absent} of {len(stats.entries)} files are not here, and counted as published"
        terminal.note("warning", f"{counted}: --data-root DIR says where they are")
    plots = _plots(stats, args.output) if args.output else []
    print(json.dumps({**stats.as_json(), "plots": plots}, indent=1) if args.json else stats_text(stats))
    if plots and not args.json:
        print("\nplots  " + "\n       ".join(plots))


def _plots(stats: MixtureStats, folder: Path) -> list[str]:
    from ovexport.train.data.plots import draw_plots

    return [str(path) for path in draw_plots(stats, folder)]


def _recaption_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("images", type=Path, metavar="IMAGES_DIR", help="folder; all images under it are captioned")
    add(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT.jsonl",
        help="records; an unfinished file is gone on with",
    )
    add("-m", "--model", metavar="BUNDLE", help="folder, or name in $OV_HOME/bundles (default: the newest one there)")
    add("-p", "--prompt", help="what to ask (default: the prompt of LLaVA-ReCap)")
    add("--max-new-tokens", type=_count, metavar="N", help="longest caption (default: 512)")
    add("--limit", type=_count, metavar="N", help="only the first N images, in sorted order")
    add("--device", default="auto", metavar="{auto,cpu,cuda,tensorrt}", help="where to run (default: auto)")
    add("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")


def _recaption(args: argparse.Namespace, terminal: Terminal) -> None:
    from ovengines.home import find_bundle, newest_bundle
    from ovexport.progress import Bars
    from ovexport.train.data.recaption import Job, describe, recaption
    from ovrun.session import Session

    given = {
        name: value for name in ("prompt", "max_new_tokens", "limit") if (value := getattr(args, name)) is not None
    }
    job = Job(images=args.images, out=args.output, **given)
    bundle = find_bundle(args.model) if args.model else newest_bundle()
    try:
        with (
            Session.open(bundle, args.device, args.threads, terminal.progress) as session,
            Bars(quiet=args.quiet).items("captions", " images") as progress,
        ):
            summary = recaption(session, job, progress)
    except KeyboardInterrupt as err:
        raise OVError(
            ExitCode.INTERRUPTED, "interrupted: the captions so far are kept", "run the same command again to go on"
        ) from err
    print(describe(summary, job))


def _draw_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("output", type=Path, metavar="OUT", help="folder of the record files, pictures and clips")
    add("--seed", type=int, default=0, metavar="S", help="another seed draws other contents (default: 0)")
    add("--workers", type=_count, default=1, metavar="N", help="processes that draw (default: 1)")
    add("--scale", type=float, default=1.0, metavar="X", help="all of ov-tiny's data, X times as much (default: 1)")
    add("--kinds", metavar="A,B", help="instead: only these kinds of drawings, with all their questions")
    add("--count", type=_count, metavar="N", help=f"with --kinds: how many of each (default: {DEFAULT_DRAWN})")
    add("--held-out", action="store_true", help="with --kinds: contents that training never sees")


def _draw(args: argparse.Namespace, terminal: Terminal) -> None:
    from ovexport.progress import Bars

    bars = Bars(quiet=args.quiet)
    if args.kinds is not None:
        _draw_kinds(args, bars)
        return
    if args.count or args.held_out:
        raise OVError(ExitCode.USAGE, "--count and --held-out are for chosen kinds", "add --kinds, or use --scale")
    if not args.scale > 0:
        raise OVError(ExitCode.USAGE, f"--scale is {args.scale}", "use a number above 0")
    from ovexport.train.tiny.draw import draw_stage_data

    draw_stage_data(args.output, scale=args.scale, seed=args.seed, bars=bars, workers=args.workers)
    print(args.output)


def _draw_kinds(args: argparse.Namespace, bars: Bars) -> None:
    from ovexport.train.drawn.kinds import KINDS
    from ovexport.train.drawn.writer import write_drawings

    names = args.kinds.split(",")
    if unknown := [name for name in names if name not in KINDS]:
        raise OVError(ExitCode.USAGE, f"unknown kind of drawing: {', '.join(unknown)}", f"use {', '.join(KINDS)}")
    count = args.count or DEFAULT_DRAWN
    for name in names:
        with bars.items(name, " drawings") as progress:
            file = write_drawings(
                args.output, name, KINDS[name], count, args.seed, held_out=args.held_out, form="exchanges",
                workers=args.workers, progress=progress,
            )  # fmt: skip
        print(file)


_ACTIONS: dict[
    str,
    tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace, Terminal], None]],
] = {
    "stats": ("count and plot what is in a mixture, by the levels of the taxonomy", _stats_arguments, _stats),
    "recaption": ("write new captions for a folder of images with a bundle", _recaption_arguments, _recaption),
    "draw": ("draw the data that ov-tiny is trained on", _draw_arguments, _draw),
}
