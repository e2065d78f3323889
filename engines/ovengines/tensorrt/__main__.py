"""`python -m ovengines.tensorrt BUNDLE`: build a bundle's engines for this machine ahead of their first use."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from ovengines.bundle.reader import open_bundle
from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.opening import open_tensorrt
from ovengines.tensorrt.prepare import ROLES
from ovengines.tensorrt.recipe import recipe_names


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ovengines.tensorrt", description=__doc__)
    parser.add_argument("bundle", type=Path, help="folder of a bundle built with --target tensorrt")
    parser.add_argument("--recipe", help=f"one of {', '.join(recipe_names())}, or a file; default: what fits the GPU")
    parser.add_argument("--force", action="store_true", help="build engines anew that are there already")
    options = parser.parse_args(arguments)
    try:
        engine = open_tensorrt(open_bundle(options.bundle), recipe=options.recipe, progress=_tell, force=options.force)
        engine.load(*ROLES)
    except OVError as err:
        print(f"error: {err.message}" + (f"\nhint: {err.hint}" if err.hint else ""), file=sys.stderr)
        return int(err.code)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    return 0


def _tell(what: str, done: int, total: int) -> None:
    """One line that is written over while it moves on; on stderr, and only on a terminal."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        end = "\n" if done == total else "\r"
        print(f"{what} {100 * done // total:3d} %".ljust(width)[:width], end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
