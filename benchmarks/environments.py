"""Environments of peers, one each as their pins conflict: `python -m benchmarks.environments` or `make bench-peers`.

What a peer needs is in peers/requirements/NAME.txt. Torch is installed first where a peer wants it, and pinned by the
constraints file, so that no other build of it comes along. ONNX Runtime is the very version that ours runs on, so that
nobody is compared with an older one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
REQUIREMENTS = Path(__file__).parent / "peers" / "requirements"
ENVIRONMENTS = ROOT / ".venv-peers"
NAMES = tuple(sorted(file.stem for file in REQUIREMENTS.glob("*.txt")))
MARK = ".complete"  # holds what was installed, so that an environment is complete only for that
SHARED = "onnxruntime"
NATIVE = {"CMAKE_ARGS": "-DGGML_NATIVE=ON"}  # what compiles does so for this processor


def python_of(environment: str | None) -> Path | None:
    """The interpreter of a complete environment; None where it is not installed, or for something else."""
    if environment is None:
        return Path(sys.executable)
    folder = ENVIRONMENTS / environment
    return folder / "bin" / "python" if is_complete(environment) else None


def is_complete(name: str) -> bool:
    mark = ENVIRONMENTS / name / MARK
    if not mark.exists() or mark.read_text() != wanted(name):
        return False
    return not _shares(name) or installed(name, [SHARED]).get(SHARED) == _our_version()


def wanted(name: str) -> str:
    """What is to be installed, as pip is told it: the requirements, and ONNX Runtime's version where it is shared."""
    requirements = (REQUIREMENTS / f"{name}.txt").read_text()
    return f"{requirements.rstrip()}\n{_pin()}\n" if _shares(name) and _pin() else requirements


def installed(environment: str | None, libraries: Sequence[str]) -> dict[str, str]:
    """Versions of those that an environment has, read from its files."""
    if environment is None:
        found = distributions()
    else:
        folders = (ENVIRONMENTS / environment).glob("lib/python*/site-packages")
        found = distributions(path=[str(folder) for folder in folders])
    versions = {one.metadata["Name"].lower().replace("_", "-"): one.version for one in found}
    return {library: versions[library] for library in libraries if library in versions}


def install(name: str) -> None:
    """Make an environment, once. Raises subprocess.CalledProcessError, and leaves what pip said on stderr.

    One that was made for something else is brought up to date: what is right already is left, llama.cpp's build too.
    """
    if is_complete(name):
        return
    folder, requirements = ENVIRONMENTS / name, wanted(name)
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constrained = [*pip, "-c", str(ROOT / "constraints.txt")]
    if any(line.startswith("torch") for line in requirements.splitlines()):
        subprocess.run([*constrained, "torch"], check=True)
    pin = folder / "constraints.txt"
    pin.write_text(f"{_pin()}\n")
    file = str(REQUIREMENTS / f"{name}.txt")
    subprocess.run([*constrained, "-c", str(pin), "-r", file], check=True, env={**os.environ, **NATIVE})
    (folder / MARK).write_text(requirements)


def _shares(name: str) -> bool:
    return SHARED in (REQUIREMENTS / f"{name}.txt").read_text()


def _pin() -> str:
    return f"{SHARED}=={ours}" if (ours := _our_version()) else ""


def _our_version() -> str | None:
    try:
        return version(SHARED)
    except PackageNotFoundError:  # the build for GPUs has another name
        return None


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
