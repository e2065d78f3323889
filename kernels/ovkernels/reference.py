"""The operations in NumPy: the truth that every other implementation is compared with.

Knows arrays only. Axes of token pooling: R source rows, D features, T tokens, 4 sources of a token. Of resampling: A
lines, N samples of a line, M of them afterwards, B numbers of a sample, K taps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLE_BITS = 22  # behind the binary point of a weight


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


def resample(
    pixels_ANB: NDArray[np.uint8],
    first_M: NDArray[np.int32],
    weights_MK: NDArray[np.int32],
    out_AMB: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """out_AMB: sample m is the sum over k of weights_MK[m, k] * pixels[first_M[m] + k], rounded, within 0 to 255.

    One pass of Pillow's resize, to the same bits: weights have RESAMPLE_BITS behind the binary point, sums have 32 bits
    and wrap. Along the rows of a picture [H, W, 3] they are A, N and B; down its columns it is [1, H, W * 3]. Raises
    IndexError, naming the first sample at fault, where taps leave the samples, and ValueError for shapes and types.
    """
    out = resample_out(pixels_ANB, first_M, weights_MK, out_AMB)
    last = pixels_ANB.shape[1] - weights_MK.shape[1]
    bad_M = (first_M < 0) | (first_M > last)
    if bad_M.any():
        raise taps_error(first_M, last, int(np.argmax(bad_M)))
    sums_AMB = np.full(out.shape, 1 << (RESAMPLE_BITS - 1), dtype=np.uint32)
    for tap, weights_M in enumerate(weights_MK.view(np.uint32).T):
        sums_AMB += weights_M[:, None] * pixels_ANB[:, first_M + tap]
    out[...] = np.clip(sums_AMB.view(np.int32) >> RESAMPLE_BITS, 0, 255)
    return out


def resample_out(
    pixels_ANB: NDArray[Any], first_M: NDArray[Any], weights_MK: NDArray[Any], out_AMB: NDArray[Any] | None
) -> NDArray[np.uint8]:
    """Where the result goes: the array given, if it is of its shape, or a new one. Raises ValueError."""
    arrays = {
        "pixels": (pixels_ANB, 3, np.uint8),
        "first": (first_M, 1, np.int32),
        "weights": (weights_MK, 2, np.int32),
    }
    for name, (array, dims, dtype) in arrays.items():
        if array.ndim != dims or array.dtype != dtype:
            raise ValueError(f"resampling: {name} is {array.dtype} {array.shape}, not {np.dtype(dtype)} of {dims} axes")
    if len(first_M) != len(weights_MK):
        raise ValueError(f"resampling: {len(first_M)} first samples and weights of {len(weights_MK)}")
    shape = (len(pixels_ANB), len(first_M), pixels_ANB.shape[2])
    out = np.empty(shape, dtype=np.uint8) if out_AMB is None else out_AMB
    if out.dtype != np.uint8 or out.shape != shape:
        raise ValueError(f"resampling: the result is uint8 {shape}, not {out.dtype} {out.shape}")
    return out


def taps_error(first_M: NDArray[Any], last: int, sample: int) -> IndexError:
    """The error for the first sample at fault, the same from every implementation."""
    return IndexError(f"sample {sample}: first tap {first_M[sample]} leaves 0..{last}")
