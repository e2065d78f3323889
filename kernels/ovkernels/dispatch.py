"""Which implementation of an operation runs: a table, the preferred one last.

Knows the implementations' names, nothing of what they compute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovkernels.reference import bilinear_token_pool as numpy_token_pool

Pool = Callable[[NDArray[Any], NDArray[Any], NDArray[np.float32]], NDArray[Any]]

TOKEN_POOL: dict[str, Pool] = {"numpy": numpy_token_pool}


def bilinear_token_pool(
    rows_RD: NDArray[Any], indices_T4: NDArray[Any], weights_T4: NDArray[np.float32]
) -> NDArray[Any]:
    """out_TD by the best implementation of this machine; contract and errors as in `reference`."""
    *_, best = TOKEN_POOL.values()
    return best(rows_RD, indices_T4, weights_T4)


def implementation() -> str:
    """Which implementation is used on this machine."""
    *_, best = TOKEN_POOL
    return best
