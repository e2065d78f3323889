"""The options that several commands share, and what they are to a Session."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovengines.errors import ExitCode, OVError

if TYPE_CHECKING:
    from ovrun.session import Session
    from ovrun.terminal import Terminal
    from ovrun.vision.feature_cache import FeatureCache

SEEING = ("num_frames", "fps", "max_frames", "max_tiles", "anyres_multi")
DECODING = (
    "max_new_tokens",
    "temperature",
    "top_p",
    "top_k",
    "repetition_penalty",
    "stop_strings",
    "seed",
    "prompt_lookup_num_tokens",
)
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg")


class Once(argparse.Action):
    """Refuses an option that is given twice where the second would silently win."""

    def __call__(self, parser: argparse.ArgumentParser, args: argparse.Namespace, value: Any, flag: Any = None) -> None:
        if getattr(args, self.dest) is not None:
            parser.error(f"{flag} is given twice, and one question has one video")
        setattr(args, self.dest, value)


def add_media(parser: argparse.ArgumentParser, images: str) -> None:
    """What a question is about; `images` is the help of the image files."""
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=images)
    parser.add_argument("--video", action=Once, metavar="FILE", help="a video file, or a folder of frames")


def add_model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-m", "--model", metavar="BUNDLE", help="folder, or name in $OV_HOME/bundles (or newest)")
    add("--system", metavar="TEXT", help='system turn; "" leaves out that of training')


def add_seeing(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("seeing").add_argument
    add("--num-frames", type=int, metavar="N", help="frames of a video, evenly spread (default: 32)")
    add("--fps", type=float, metavar="F", help="or so many of each second of it")
    add("--max-frames", type=int, metavar="N", help="with --fps: at most N (default: 32)")
    add("--max-tiles", type=int, metavar="N", help="at most N tiles of an image: faster, sees less")
    add("--anyres-multi", action="store_true", default=None, help="tile each of several images, too")


def add_decoding(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("decoding (names as in transformers)").add_argument
    add("--max-new-tokens", type=int, metavar="N", help="longest answer (default: 512)")
    add("--max-tokens", type=int, dest="max_new_tokens", help=argparse.SUPPRESS)
    add("--temperature", type=float, metavar="T", help="0, the default, is greedy and repeatable")
    add("--top-p", type=float, metavar="P", help="sample from the likeliest that make up P")
    add("--top-k", type=int, metavar="K", help="sample from the K likeliest tokens")
    add("--repetition-penalty", type=float, metavar="R", help="above 1: tokens seen before are less likely")
    add("--stop", action="append", dest="stop_strings", metavar="TEXT", help="end before TEXT; repeatable")
    add("--seed", type=int, metavar="S", help="makes sampling repeatable")
    add("--prompt-lookup-num-tokens", type=int, metavar="N", help="draft N tokens from the text so far")


def add_machine(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("machine").add_argument
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or tensorrt (default: auto)")
    add("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")
    add("--feature-cache", metavar="DIR", help="remember in DIR what pictures look like, for the next time")


def add_output(parser: argparse.ArgumentParser, json: str = "") -> None:
    """`json` is the help of --json, for commands that have it."""
    add = parser.add_argument_group("output").add_argument
    if json:
        add("--json", action="store_true", help=json)
    add("--stats", action="store_true", help="print token counts and timings to stderr")
    add("-q", "--quiet", action="store_true", help="no progress, no warnings")
    add("-v", "--verbose", action="count", default=0, help="say what is being done; twice for more")
    add("--debug", action="store_true", help="show the traceback of an error")


def given(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `Session.generate` that were given, without prompt, media and system turn."""
    return {name: value for name in (*SEEING, *DECODING) if (value := getattr(args, name)) is not None}


def check_images(names: Sequence[str], remedy: str) -> None:
    """Raises OVError (USAGE) for a video among the images; `remedy` is what to write before it."""
    for name in names:
        if name.lower().endswith(VIDEO_SUFFIXES):
            raise OVError(ExitCode.USAGE, f"{name} looks like a video, not an image", f"try: {remedy} {name}")


def open_session(args: argparse.Namespace, terminal: Terminal) -> Session:
    """The session on the bundle and the device that were asked for. Raises OVError as `Session.open`."""
    from ovengines.home import find_bundle, newest_bundle
    from ovrun.session import Session

    bundle = find_bundle(args.model) if args.model else newest_bundle()
    cache = feature_cache_in(args.feature_cache) if args.feature_cache else None
    return Session.open(bundle, args.device, args.threads, terminal.progress, cache)


def feature_cache_in(folder: str) -> FeatureCache:
    """In memory and in `folder`. Raises OVError (USAGE) for something else than a folder."""
    from ovrun.limits import limit_value
    from ovrun.vision.feature_cache import FeatureCache

    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise OVError(ExitCode.USAGE, f"--feature-cache {folder} is not a folder", "give a folder, or a new name")
    return FeatureCache(limit_value("feature_cache_bytes"), path, limit_value("feature_disk_bytes"))
