"""Which implementation of an operation runs: a table, the preferred one last, and NumPy where nothing else is.

Knows the implementations' names, nothing of what they compute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovkernels import native, reference
from ovkernels.abi import Unavailable

Pool = Callable[[NDArray[Any], NDArray[Any], NDArray[np.float32]], NDArray[Any]]
Resample = Callable[
    [NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8] | None], NDArray[np.uint8]
]


@dataclass(frozen=True)
class Implementation:
    """One that opened, and for people: what it is exactly, and why it is not a better one."""

    name: str
    reason: str
    token_pool: Pool
    resample: Resample


def _numpy() -> Implementation:
    return Implementation("numpy", f"NumPy {np.__version__}", reference.bilinear_token_pool, reference.resample)


def _native() -> Implementation:
    file = native.default_file()
    pool = native.NativeTokenPool(file)
    return Implementation("native", pool.description, pool, native.NativeResample(file))


IMPLEMENTATIONS: dict[str, Callable[[], Implementation]] = {"numpy": _numpy, "native": _native}


@cache
def chosen() -> Implementation:
    """The best implementation that opens, looked for once; one that does not open is no error."""
    missing: list[str] = []
    for name, open_it in reversed(IMPLEMENTATIONS.items()):
        try:
            found = open_it()
        except Unavailable as err:
            missing.append(f"{name} is not used: {err}")
        else:
            return replace(found, reason="; ".join([found.reason, *missing]))
    raise AssertionError("NumPy always opens")


def implementation() -> str:
    """Which implementation is used on this machine, and why, in a line."""
    return f"{chosen().name}: {chosen().reason}"


def bilinear_token_pool(
    rows_RD: NDArray[Any], indices_T4: NDArray[Any], weights_T4: NDArray[np.float32]
) -> NDArray[Any]:
    """out_TD by the best implementation of this machine; contract and errors as in `reference`."""
    return chosen().token_pool(rows_RD, indices_T4, weights_T4)


def native_resample() -> Resample | None:
    """Resampling by the library, with the contract and errors of `reference.resample`; None where there is no library,
    for whoever has something faster than NumPy then."""
    return chosen().resample if chosen().name == "native" else None
