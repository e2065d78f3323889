"""Builds bundles to measure with, through the command line, as a user does."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILDING = ("ovexport/graphs", "ovexport/precision", "ovexport/model", "engines/ovengines/bundle")


@cache
def build(checkpoint: Path | None, folder: Path, precision: str, target: str = "ort") -> Path:
    """A bundle in `folder`, built unless a current one is there; the checkpoint is the embedded model if None.

    Looked at once per process, so that all of a run is measured on the same bundle.
    """
    if not is_current(folder / "manifest.json", checkpoint):
        command = [sys.executable, "-m", "ovexport.cli", "build", *([str(checkpoint)] if checkpoint else [])]
        command += ["-o", str(folder), "--precision", precision, "--target", target, "--verify", "off", "-q", "--force"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder


def is_current(made: Path, checkpoint: Path | None = None) -> bool:
    """Whether a file is younger than the code that makes bundles, and than the weights: an old bundle would be measured
    as if it were new."""
    if not made.exists():
        return False
    sources = [file for folder in BUILDING for file in (ROOT / folder).rglob("*.py")]
    sources += weight_files(checkpoint) if checkpoint else []
    return made.stat().st_mtime > max(file.stat().st_mtime for file in sources)


def weight_files(checkpoint: Path) -> list[Path]:
    return sorted(checkpoint.glob("*.safetensors"))
