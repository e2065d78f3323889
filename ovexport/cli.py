"""`ovexport build | verify | inspect`: parsing and dispatch; what a command does is in the module of its name.

stdout carries the result, stderr progress and errors. Nothing heavy is imported before the arguments are known good.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import ovexport
from ovrun.command import CommandParser, run_command
from ovrun.log import show_log
from ovrun.terminal import Terminal

EPILOG = """\
exit codes: 0 ok, 1 unexpected, 2 usage, 3 bad input, 4 limit exceeded, 5 bundle invalid, 6 missing dependency,
7 out of memory, 8 parity failed, 130 interrupted.
"""
VERIFY_LEVELS = ("off", "quick", "full")
PRECISION_NAMES = ("fp32", "fp16", "bf16", "int8", "int4")
DEFAULT_PRECISION = "int8"


def _build_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="checkpoint folder or Hub id (default: the embedded ov-tiny)")
    add("-o", "--output", type=Path, metavar="DIR", help="where to write (default: $OV_HOME/bundles/NAME-PRECISION)")
    add("--precision", default=DEFAULT_PRECISION, choices=PRECISION_NAMES, help="default: %(default)s")
    add("--target", default="ort", choices=("ort", "tensorrt", "all"), help="engine to write for (default: ort)")
    add("--verify", default="quick", choices=VERIFY_LEVELS, help="compare with PyTorch (default: %(default)s)")
    add("--revision", metavar="REV", help="revision of a Hub model")
    add("--force", action="store_true", help="replace a bundle of the same name")
    add("--dry-run", action="store_true", help="print the plan, sizes and peak memory; write nothing")
    add("--json", action="store_true", help="print one JSON object")


def _build(args: argparse.Namespace, terminal: Terminal) -> None:
    from ovengines.bundle.writer import check_overwrite
    from ovexport.build import build_bundle, default_target
    from ovexport.checkpoint import open_checkpoint
    from ovexport.embedded import find_model
    from ovexport.plan import check_target, describe, plan_build
    from ovexport.precision.policy import policy_for
    from ovexport.progress import Bars

    check_target(args.target)
    policy_for(args.precision, args.target)
    checkpoint = open_checkpoint(find_model(args.model), args.revision)
    target = args.output or default_target(checkpoint.name, args.precision)
    plan = plan_build(checkpoint, args.precision, args.target)
    if args.dry_run:
        plan_json = json.dumps({**plan.as_json(), "bundle": str(target)}, indent=1)
        print(plan_json if args.json else f"{describe(plan)}\nwould write {target}")
        return
    check_overwrite(target, args.force)
    if not args.json and not args.quiet:
        terminal.write(describe(plan) + "\n")
    built = build_bundle(checkpoint, plan, target, verify=args.verify, force=args.force, bars=Bars(quiet=args.quiet))
    report = built.report
    if args.json:
        parity = report.as_json() if report else None
        print(json.dumps({**plan.as_json(), "bundle": str(built.path), "parity": parity}, indent=1))
        return
    if report:
        print(report.table())
    else:
        terminal.note("warning", "not compared with PyTorch (--verify off)")
    print(f"try       ovrun image.jpg -m {shlex.quote(str(built.path))}\nbundle    {built.path}")


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument("--checkpoint", metavar="MODEL", help="compare whole answers with this checkpoint, too")
    parser.add_argument("--revision", metavar="REV", help="revision of a Hub checkpoint")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _verify(args: argparse.Namespace, terminal: Terminal) -> None:
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


def _inspect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument("--json", action="store_true", help="print the manifest")


def _inspect(args: argparse.Namespace, terminal: Terminal) -> None:
    from ovengines.bundle.manifest import to_json
    from ovengines.bundle.reader import open_bundle
    from ovexport.inspection import describe

    bundle = open_bundle(args.bundle, progress=terminal.progress)
    print(to_json(bundle.manifest), end="") if args.json else print(describe(bundle))


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None], Callable[..., None]]] = {
    "build": ("turn a checkpoint into a bundle, and prove its parity", _build_arguments, _build),
    "verify": ("compare a bundle with PyTorch's stored outputs, and write its reports", _verify_arguments, _verify),
    "inspect": ("show what is in a bundle", _inspect_arguments, _inspect),
}


def parser() -> argparse.ArgumentParser:
    top = CommandParser(
        prog="ovexport",
        description="LLaVA-OneVision checkpoints become ONNX bundles for `ovrun`.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"ovexport {ovexport.__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (summary, arguments, run) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        arguments(command)
        command.add_argument("-q", "--quiet", action="store_true", help="no progress")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        command.set_defaults(run=run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code and never raises."""
    words = list(sys.argv[1:] if argv is None else argv)

    def command(terminal: Terminal) -> None:
        args = parser().parse_args(words)
        terminal.quiet = args.quiet
        show_log(-1 if args.quiet else 0)
        args.run(args, terminal)

    return run_command(command, debug="--debug" in words)


if __name__ == "__main__":
    sys.exit(main())
