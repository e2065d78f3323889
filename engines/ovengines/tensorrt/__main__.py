"""`python -m ovengines.tensorrt BUNDLE`: build a bundle's engines for this machine ahead of their first use."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from pathlib import Path

from ovengines.bundle.reader import open_bundle
from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.child import MEMORY_HINT, build_in_child, tell_error, tell_progress
from ovengines.tensorrt.opening import open_tensorrt
from ovengines.tensorrt.recipe import recipe_names

IN_ORDER = ("projector", "vision", "decoder")  # first what takes seconds, and needs the plugin


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ovengines.tensorrt", description=__doc__)
    parser.add_argument("bundle", type=Path, help="folder of a bundle built with --target tensorrt")
    parser.add_argument("--recipe", help=f"one of {', '.join(recipe_names())}, or a file; default: what fits the GPU")
    parser.add_argument("--force", action="store_true", help="build engines anew that are there already")
    parser.add_argument("--worker", choices=IN_ORDER, help=argparse.SUPPRESS)  # build that one, here; see child.py
    return parser


def main(words: list[str] | None = None) -> int:
    options = arguments().parse_args(words)
    try:
        _build(options)
    except OVError as err:
        return _fail(err, options)
    except MemoryError:
        return _fail(OVError(ExitCode.OUT_OF_MEMORY, "not enough memory to build the engine", MEMORY_HINT), options)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    return 0


def _fail(err: OVError, options: argparse.Namespace) -> int:
    if options.worker:
        tell_error(err)
    else:
        print(f"error: {err.message}" + (f"\nhint: {err.hint}" if err.hint else ""), file=sys.stderr)
    return int(err.code)


def _build(options: argparse.Namespace) -> None:
    bundle, recipe, force = open_bundle(options.bundle), options.recipe, options.force
    if options.worker:
        # That is how child.py ends this process, which may have been started in the background, where it is ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        engine = open_tensorrt(bundle, recipe=recipe, progress=tell_progress, force=force, apart=False)
        engine.build(options.worker)
        return
    for role in IN_ORDER:  # TensorRT and the GPU are opened there only: even that takes memory
        build_in_child(bundle.path, role, _show, recipe=recipe, force=force)


def _show(what: str, done: int, total: int) -> None:
    """One line that is written over while it moves on; on stderr, and only on a terminal."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        end = "\n" if done == total else "\r"
        print(f"{what} {100 * done // total:3d} %".ljust(width)[:width], end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
