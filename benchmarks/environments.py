"""Environments of peers, one each as their pins conflict: `python -m benchmarks.environments` or `make bench-peers`.

What a peer needs is in peers/requirements/NAME.txt. Torch is installed first where a peer wants it, and pinned by the
constraints file, so that no other build of it comes along.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENTS = Path(__file__).parent / "peers" / "requirements"
ENVIRONMENTS = ROOT / ".venv-peers"
NAMES = tuple(sorted(file.stem for file in REQUIREMENTS.glob("*.txt")))
MARK = ".complete"
NATIVE = {"CMAKE_ARGS": "-DGGML_NATIVE=ON"}  # what compiles does so for this processor


def python_of(environment: str | None) -> Path | None:
    """The interpreter of a complete environment; None where it is not installed."""
    if environment is None:
        return Path(sys.executable)
    folder = ENVIRONMENTS / environment
    return folder / "bin" / "python" if (folder / MARK).exists() else None


def install(name: str) -> None:
    """Make an environment, once. Raises subprocess.CalledProcessError, and leaves what pip said on stderr."""
    folder, wanted = ENVIRONMENTS / name, REQUIREMENTS / f"{name}.txt"
    if (folder / MARK).exists() and (folder / MARK).stat().st_mtime > wanted.stat().st_mtime:
        return
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constrained = [*pip, "-c", str(ROOT / "constraints.txt")]
    if any(line.startswith("torch") for line in wanted.read_text().splitlines()):
        subprocess.run([*constrained, "torch"], check=True)
    subprocess.run([*constrained, "-r", str(wanted)], check=True, env={**os.environ, **NATIVE})
    (folder / MARK).touch()


def main(argv: Sequence[str] | None = None) -> int:
    """One that fails does not keep the others from being made."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.environments", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {', '.join(NAMES)}")
    failed = []
    for name in parser.parse_args(argv).names or NAMES:
        print(f"{name} ...", flush=True)
        try:
            install(name)
        except subprocess.CalledProcessError as err:
            failed.append(name)
            print(f"{name} could not be installed: {err}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
