"""`ovexport verify`: a bundle is compared again with what PyTorch gave when it was built."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ovrun.terminal import Terminal

SUMMARY = "compare a bundle with PyTorch's stored outputs, and write its reports"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument("--checkpoint", metavar="MODEL", help="compare whole answers with this checkpoint, too")
    parser.add_argument("--revision", metavar="REV", help="revision of a Hub checkpoint")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace, terminal: Terminal) -> None:
    from ovengines.bundle.reader import open_bundle
    from ovengines.errors import ExitCode, OVError
    from ovexport.build import REFERENCE_FILE, verify_folder
    from ovexport.checkpoint import open_checkpoint
    from ovexport.embedded import find_model
    from ovexport.progress import Bars
    from ovexport.verify.reference import Reference
    from ovexport.verify.report import write_report

    bundle = open_bundle(args.bundle, progress=terminal.progress)
    if all(file.name != REFERENCE_FILE for file in bundle.manifest.files):
        raise OVError(
            ExitCode.BUNDLE_INVALID,
            f"{args.bundle} has no {REFERENCE_FILE} to compare with: it was built with --verify off",
            "build it again with --verify quick",
        )
    reference = Reference.load(bundle.file(REFERENCE_FILE))
    checkpoint = open_checkpoint(find_model(args.checkpoint), args.revision) if args.checkpoint else None
    with Bars(quiet=args.quiet).steps("comparing with PyTorch") as progress:
        report = verify_folder(args.bundle, reference, checkpoint, progress=progress)
    print(json.dumps(report.as_json(), indent=1) if args.json else report.table())
    try:
        write_report(report, args.bundle)
    except OSError as err:
        terminal.note("warning", f"the report can't be written into {args.bundle}: {err.strerror}")
    report.raise_if_failed()
