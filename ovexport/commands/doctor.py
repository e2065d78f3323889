"""`ovexport doctor`: what `ovrun doctor` tells, and the packages that building and training stand on."""

from __future__ import annotations

import argparse
from importlib import metadata

from ovrun.terminal import Terminal

SUMMARY = "tell what this machine has, and what each device would still need"
PACKAGES = ("torch", "safetensors", "onnx", "huggingface_hub", "transformers", "tensorboard")


def arguments(parser: argparse.ArgumentParser) -> None:
    from ovrun.commands import doctor

    doctor.own_arguments(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> None:
    from ovengines.doctor import Fact, machine_facts, targets
    from ovrun.commands.doctor import kernels_fact, report

    facts = machine_facts()
    packages = [Fact(name=name, value=_version(name)) for name in PACKAGES]
    report([*facts, kernels_fact(), *packages], targets(facts), args)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
