"""How far one array is from another: the numbers of a row of the report. Knows only NumPy.

Axes: M vectors (patches, visual tokens, positions), D their width (features, or logits of the vocabulary).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Bins of log10(relative error): half a decade each. What is smaller (or equal) counts in the first, larger in the last.
HISTOGRAM_EDGES = tuple(-10 + i / 2 for i in range(23))


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Errors are relative to the largest magnitude that PyTorch's array has; None where something is not finite.

    rms_error: length of the difference over the length of PyTorch's array. min_cosine: the worst of all vectors.
    argmax_agreement: share of positions where both have the same best token; None for other things than logits.
    """

    values: int
    not_finite: int
    max_error: float | None
    mean_error: float | None
    rms_error: float | None
    min_cosine: float | None
    argmax_agreement: float | None
    histogram: tuple[int, ...]


def measure(actual_MD: NDArray[np.float32], wanted_MD: NDArray[np.float32], *, are_logits: bool = False) -> Metrics:
    """Compare an engine's array with PyTorch's. Raises ValueError for different shapes."""
    if actual_MD.shape != wanted_MD.shape:
        raise ValueError(f"shapes differ: {actual_MD.shape} and {wanted_MD.shape}")
    not_finite = int((~np.isfinite(actual_MD)).sum() + (~np.isfinite(wanted_MD)).sum())
    if not_finite:
        return Metrics(
            values=actual_MD.size,
            not_finite=not_finite,
            max_error=None,
            mean_error=None,
            rms_error=None,
            min_cosine=None,
            argmax_agreement=None,
            histogram=(0,) * (len(HISTOGRAM_EDGES) - 1),
        )
    error_MD = np.abs(actual_MD - wanted_MD) / max(float(np.abs(wanted_MD).max()), np.finfo(np.float32).tiny)
    return Metrics(
        values=actual_MD.size,
        not_finite=0,
        max_error=float(error_MD.max()),
        mean_error=float(error_MD.mean(dtype=np.float64)),
        rms_error=_length(actual_MD - wanted_MD) / max(_length(wanted_MD), np.finfo(np.float64).tiny),
        min_cosine=_min_cosine(actual_MD, wanted_MD),
        argmax_agreement=float((actual_MD.argmax(-1) == wanted_MD.argmax(-1)).mean()) if are_logits else None,
        histogram=_histogram(error_MD),
    )


def _length(array: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(array, dtype=np.float64).sum()))


def _min_cosine(actual_MD: NDArray[np.float32], wanted_MD: NDArray[np.float32]) -> float:
    dot_M = np.einsum("md,md->m", actual_MD, wanted_MD, dtype=np.float64)
    lengths_M = [np.sqrt(np.einsum("md,md->m", a, a, dtype=np.float64)) for a in (actual_MD, wanted_MD)]
    product_M = lengths_M[0] * lengths_M[1]
    both_zero_M = (lengths_M[0] == 0) & (lengths_M[1] == 0)
    cosine_M = np.where(both_zero_M, 1.0, dot_M / np.where(product_M == 0, 1.0, product_M))
    return float(np.clip(cosine_M.min(), -1, 1))


def _histogram(error_MD: NDArray[np.float32]) -> tuple[int, ...]:
    log_error = np.log10(np.maximum(error_MD, 10.0 ** HISTOGRAM_EDGES[0]))
    inside = np.clip(log_error, HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1])
    return tuple(int(n) for n in np.histogram(inside, bins=np.array(HISTOGRAM_EDGES))[0])
