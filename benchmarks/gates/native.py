"""What is compiled: token pooling on the CPU, and the runtime in a C++ program."""

from __future__ import annotations

from pathlib import Path

from benchmarks import cpp_overhead as from_cpp
from benchmarks import token_pool
from benchmarks.bundles import build
from benchmarks.gates.gate import Measured
from benchmarks.setting import Setting


def pooling(setting: Setting, dim: int) -> Measured:
    rounds = 8 * setting.rounds
    return Measured.told(token_pool.speedup(dim, setting.threads, rounds), rounds)


def cpp_overhead(setting: Setting) -> Measured:
    rounds = 150
    return Measured.told(from_cpp.overhead(_tiny(setting), rounds), rounds)


def cpp_opening(setting: Setting) -> Measured:
    rounds = 15
    return Measured.told(from_cpp.opening(_tiny(setting), rounds), rounds)


def _tiny(setting: Setting) -> Path:
    return build(None, setting.folder / "ov-tiny-fp32", "fp32")
