"""What the C++ library adds to an answer, and to opening a bundle, over Python alone.

    python -m benchmarks.cpp_overhead BUNDLE

Runs are interleaved and compared pair by pair. Needs a compiler, and an installation that has the library.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ovrun.cpp_paths import includes, libs
from ovrun.session import Session

SOURCE = Path(__file__).with_suffix(".cpp")
SIDE_PX = 224
OPEN = "import sys; from ovrun.session import Session; Session.open(sys.argv[1], threads=1)"

Picture = NDArray[np.uint8]


def overhead(bundle: Path, rounds: int = 150) -> tuple[float, str]:
    """Times the time of Session.generate that ov::Session::generate takes, both in this process."""
    with tempfile.TemporaryDirectory() as folder, Session.open(bundle, threads=1) as session:
        library = ctypes.CDLL(str(_compile(Path(folder, "side.so"), "-shared", "-fPIC")))
        library.open_session.restype = ctypes.c_void_p
        library.ask_ms.restype = ctypes.c_double
        held = ctypes.c_void_p(library.open_session(str(bundle).encode()))

        def python_ms(picture: Picture) -> float:
            return _ms(lambda: "".join(session.generate(images=[picture], stream=True)))

        def cpp_ms(picture: Picture) -> float:
            return float(library.ask_ms(held, picture.ctypes.data_as(ctypes.c_void_p), SIDE_PX, SIDE_PX))

        pairs = [_pair(python_ms, cpp_ms, number) for number in range(rounds)]
        library.close_session(held)
    return _compared(pairs[rounds // 10 :])


def opening(bundle: Path, rounds: int = 15) -> tuple[float, str]:
    """Times the time of a Python program that opens a bundle and ends that a C++ program takes."""
    with tempfile.TemporaryDirectory() as folder:
        program = _compile(Path(folder, "program"))
        commands = ([sys.executable, "-c", OPEN, str(bundle)], [str(program), str(bundle)])
        environment = {**os.environ, "OVRUN_PYTHON_HOME": sys.prefix}

        def run_ms(command: list[str]) -> float:
            return _ms(lambda: subprocess.run(command, env=environment, check=True))

        pairs = [(run_ms(commands[0]), run_ms(commands[1])) for _ in range(rounds)]
    return _compared(pairs[1:])


def _compile(target: Path, *flags: str) -> Path:
    options = [*includes().split(), *libs().split()]
    subprocess.run(["c++", "-std=c++17", "-O2", *flags, str(SOURCE), *options, "-o", str(target)], check=True)
    return target


def _ms(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return (time.perf_counter() - start_s) * 1e3


def _pair(
    python_ms: Callable[[Picture], float], cpp_ms: Callable[[Picture], float], number: int
) -> tuple[float, float]:
    """A picture that neither has seen, of which each looks at every tile; who is first takes turns."""
    picture = np.random.default_rng(number).integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)
    if number % 2:
        second = cpp_ms(picture)
        return python_ms(picture), second
    return python_ms(picture), cpp_ms(picture)


def _compared(pairs: list[tuple[float, float]]) -> tuple[float, str]:
    ratio = statistics.median(cpp / python for python, cpp in pairs)
    python, cpp = (statistics.median(column) for column in zip(*pairs, strict=True))
    return ratio, f"{cpp:.2f} ms against {python:.2f} ms"


if __name__ == "__main__":
    for measure in (overhead, opening):
        print(measure.__name__, *measure(Path(sys.argv[1])))
