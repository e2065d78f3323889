"""`ovexport build`: a checkpoint becomes a bundle that is compared with PyTorch before it appears under its name."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

from ovrun.terminal import Terminal

SUMMARY = "turn a checkpoint into a bundle, and prove its parity"
VERIFY_LEVELS = ("off", "quick", "full")
PRECISION_NAMES = ("fp32", "fp16", "bf16", "int8", "int4")
DEFAULT_PRECISION = "int8"


def arguments(parser: argparse.ArgumentParser) -> None:
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


def run(args: argparse.Namespace, terminal: Terminal) -> None:
    from ovengines.bundle.writer import check_overwrite
    from ovexport.build import build_bundle, default_target
    from ovexport.checkpoint import open_checkpoint
    from ovexport.embedded import find_model
    from ovexport.plan import describe, plan_build, policies_for
    from ovexport.progress import Bars

    _check_verify(args)
    policies_for(args.precision, args.target)  # before a checkpoint is fetched
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
    print(f"{_next_steps(args.target, built.path)}\nbundle    {built.path}")


def _check_verify(args: argparse.Namespace) -> None:
    from ovengines.errors import ExitCode, OVError

    if args.verify != "full":
        return
    asks = "--verify full asks whole questions on this machine's CPU"
    if args.precision == "bf16":
        raise OVError(ExitCode.USAGE, f"{asks}, which has no bfloat16", "use --verify quick")
    if args.target == "tensorrt":
        raise OVError(
            ExitCode.USAGE, f"{asks}, which only ONNX Runtime's files can answer", "use --target all, or --verify quick"
        )


def _next_steps(target: str, bundle: Path) -> str:
    here, there = shlex.quote(str(bundle)), shlex.quote(f"bundles/{bundle.name}")
    runs_here = f"try       ovrun image.jpg -m {here}"
    on_device = f"""\
to do     for TensorRT, the steps of docs/tensorrt.md:
          rsync -a {here} DEVICE:bundles/
          and on the device, the plugin from the sources, what is missing, the engines (minutes), an answer:
          cmake --preset cuda -S kernels -DTENSORRT_INCLUDE_DIR=... && cmake --build build/kernels/cuda
          ovrun doctor --device tensorrt
          python -m ovengines.tensorrt {there}
          ovrun image.jpg -m {there} --device tensorrt"""
    return {"ort": runs_here, "tensorrt": on_device, "all": f"{runs_here}\n{on_device}"}[target]
