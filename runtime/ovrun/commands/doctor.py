"""`ovrun doctor`: what this machine has, and what each device would still need."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ovengines.errors import ExitCode, OVError
from ovrun.terminal import Terminal

if TYPE_CHECKING:
    from ovengines.doctor import Fact, Target

SUMMARY = "tell what this machine has, and what each device would still need"
USAGE = "ovrun doctor [--device NAME] [--json]"


def arguments(parser: argparse.ArgumentParser) -> None:
    own_arguments(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-v", "--verbose", action="count", default=0, help=argparse.SUPPRESS)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def own_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cpu", "cuda", "tensorrt"), help="exit with code 6 if it can't be used")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace, terminal: Terminal) -> None:
    from ovengines.doctor import machine_facts, targets

    facts = machine_facts()
    report([*facts, kernels_fact()], targets(facts), args)


def report(facts: Sequence[Fact], found: Sequence[Target], args: argparse.Namespace) -> None:
    """Print all of it. Raises OVError (MISSING_DEPENDENCY) if the device that was asked for is not ready."""
    print(as_json(facts, found) if args.json else as_text(facts, found))
    for target in found:
        if target.device == args.device and not target.ready:
            first = target.missing[0]
            raise OVError(ExitCode.MISSING_DEPENDENCY, f"{target.device} lacks {first.name}", first.command)


def kernels_fact() -> Fact:
    """Which implementation ovkernels takes on a CPU, why not a faster one, and what of it is part of an answer."""
    from ovengines.doctor import Fact
    from ovkernels import implementation, native_resample

    resizing = "it resizes pictures" if native_resample() else "Pillow resizes pictures"
    return Fact(name="kernels", value=f"{implementation()}; {resizing}, tokens are pooled in the graphs")


def as_text(facts: Sequence[Fact], found: Sequence[Target]) -> str:
    width = max(len(fact.name) for fact in facts)
    lines = [f"{fact.name:<{width}}  {fact.value}" for fact in facts]
    for target in found:
        lines += ["", f"--device {target.device}: {'ready' if target.ready else 'not ready'}"]
        lines += [f"  needs {need.name}: {need.command}" for need in target.missing]
    return "\n".join(lines)


def as_json(facts: Sequence[Fact], found: Sequence[Target]) -> str:
    devices = {target.device: {"ready": target.ready, **dataclasses.asdict(target)} for target in found}
    return json.dumps({"machine": {fact.name: fact.value for fact in facts}, "devices": devices}, indent=1)
