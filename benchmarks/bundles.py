"""Builds bundles to measure with, through the command line, as a user does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def build(checkpoint: Path | None, target: Path, precision: str) -> Path:
    """A bundle at `target`, built unless it is there; the checkpoint is the embedded model if None."""
    if not target.exists():
        command = [sys.executable, "-m", "ovexport.cli", "build", *([str(checkpoint)] if checkpoint else [])]
        command += ["-o", str(target), "--precision", precision, "--verify", "off", "-q"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target
