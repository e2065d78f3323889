"""Resident peak of `ovexport build`, verification included, over the bytes of the source weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CODE = """
import json, sys
from ovexport.cli import main
from ovrun.result import peak_memory_mb
code = main(sys.argv[1:])
print(json.dumps({"code": code, "peak_mb": peak_memory_mb()}), file=sys.stderr)
"""


def build_peak_ratio(checkpoint: Path, folder: Path, precision: str) -> tuple[float, str]:
    """(peak / source bytes, both as text). Raises RuntimeError if the build fails."""
    source_bytes = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    target = folder / f"memory-{checkpoint.name}-{precision}"
    words = ["build", str(checkpoint), "-o", str(target), "--precision", precision, "--force", "-q"]
    run = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True)
    result = json.loads(run.stderr.splitlines()[-1])
    if result["code"] != 0:
        raise RuntimeError(f"the build failed with {result['code']}:\n{run.stderr}\n{run.stdout}")
    peak_bytes = result["peak_mb"] * 1e6
    return peak_bytes / source_bytes, f"{peak_bytes / 1e6:.0f} MB for {source_bytes / 1e6:.0f} MB"
