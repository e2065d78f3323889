"""Bilinear token pooling in NumPy: the truth that every other implementation is compared with.

Knows arrays only. Axes: R source rows, D features, T tokens, 4 sources of a token.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def bilinear_token_pool(
    rows_RD: NDArray[Any], indices_T4: NDArray[Any], weights_T4: NDArray[np.float32]
) -> NDArray[Any]:
    """out_TD: token t is the sum over its four sources s of weights_T4[t, s] * rows_RD[indices_T4[t, s]].

    Accumulates in float32 from the first source to the last and gives the dtype of the rows. A source of
    weight zero is not read, so a row that is not finite stays with the tokens that use it. Raises IndexError,
    naming the first token at fault, for any index outside the rows (a weight of zero does not excuse it), and
    ValueError for shapes.
    """
    check_shapes(rows_RD, indices_T4, weights_T4)
    bad_T = ((indices_T4 < 0) | (indices_T4 >= len(rows_RD))).any(axis=1)
    if bad_T.any():
        raise index_error(rows_RD, indices_T4, int(np.argmax(bad_T)))
    out_TD = np.zeros((len(indices_T4), rows_RD.shape[1]), dtype=np.float32)
    for source in range(4):
        weights_T = weights_T4[:, source].astype(np.float32, copy=False)
        used = np.flatnonzero(weights_T)
        if len(used):
            rows_UD = rows_RD[indices_T4[used, source]].astype(np.float32, copy=False)
            out_TD[used] += weights_T[used, None] * rows_UD
    return out_TD.astype(rows_RD.dtype, copy=False)


def check_shapes(rows_RD: NDArray[Any], indices_T4: NDArray[Any], weights_T4: NDArray[Any]) -> None:
    shapes = rows_RD.shape, indices_T4.shape, weights_T4.shape
    if len(shapes[0]) != 2 or shapes[1][1:] != (4,) or shapes[1] != shapes[2]:
        raise ValueError(f"token pooling needs [R,D], [T,4], [T,4]; got {shapes}")


def index_error(rows_RD: NDArray[Any], indices_T4: NDArray[Any], token: int) -> IndexError:
    """The error for the first token at fault, the same from every implementation."""
    return IndexError(f"token {token}: sources {indices_T4[token].tolist()} leave rows 0..{len(rows_RD) - 1}")
