"""`ovexport inspect`: what is in a bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from ovrun.terminal import Terminal

SUMMARY = "show what is in a bundle"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument("--json", action="store_true", help="print the manifest")


def run(args: argparse.Namespace, terminal: Terminal) -> None:
    from ovengines.bundle.manifest import to_json
    from ovengines.bundle.reader import open_bundle
    from ovexport.inspection import describe

    bundle = open_bundle(args.bundle, progress=terminal.progress)
    print(to_json(bundle.manifest), end="") if args.json else print(describe(bundle))
