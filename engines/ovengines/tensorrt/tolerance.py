"""How far a new engine may be from the reference in its bundle, by precision. The limits are those of the exporter.

An engine rounds at other places than the ONNX graphs that the limits were measured with, on other hardware; that an
engine keeps within them has not yet been shown on a device. Those of bf16 are fp16's times eight, for it has three bits
less; they are not measured at all.

Axes: M vectors (patches, visual tokens, positions), D their width; K positions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Relative to the largest magnitude wanted (max), to the length of all that is wanted (rms); 1 - the worst cosine.

    Not finite where something measured is not.
    """

    max_error: float
    rms_error: float
    cosine_error: float

    def exceeds(self, limit: Errors) -> list[str]:
        """ "max_error is 0.2, more than 0.01" for each limit that does not hold."""
        pairs = [(name, getattr(self, name), getattr(limit, name)) for name in self.__dataclass_fields__]
        return [f"{name} is {value:.3g}, more than {most:.3g}" for name, value, most in pairs if not value <= most]


def _limit(max_error: float, rms_error: float, cosine_error: float) -> Errors:
    return Errors(max_error=max_error, rms_error=rms_error, cosine_error=cosine_error)


_FLOAT16 = {
    "vision": _limit(1e-2, 5e-3, 1e-4),
    "projector": _limit(5e-3, 2e-3, 1e-4),
    "decoder": _limit(1e-2, 5e-3, 1e-4),
}
LIMITS = {
    "fp32": {role: _limit(1e-4, 1e-4, 1e-5) for role in ("vision", "projector", "decoder")},
    "fp16": _FLOAT16,
    "bf16": {
        "vision": _limit(8e-2, 4e-2, 6e-3),
        "projector": _limit(4e-2, 1.6e-2, 6e-3),
        "decoder": _limit(8e-2, 4e-2, 6e-3),
    },
    "int4": _FLOAT16,  # the rest is float16, and the decoder is compared with its own rounded weights
}


def measure(actual_MD: NDArray[np.float32], wanted_MD: NDArray[np.float32]) -> Errors:
    """Raises ValueError for different shapes."""
    if actual_MD.shape != wanted_MD.shape:
        raise ValueError(f"shapes differ: {actual_MD.shape} and {wanted_MD.shape}")
    actual, wanted = actual_MD.astype(np.float64), wanted_MD.astype(np.float64)
    if not np.isfinite(actual).all():
        return _limit(np.inf, np.inf, np.inf)
    tiny, difference = np.finfo(np.float64).tiny, actual - wanted
    lengths_M = np.linalg.norm(actual, axis=1) * np.linalg.norm(wanted, axis=1)
    both_zero_M = ~actual.any(axis=1) & ~wanted.any(axis=1)
    cosines_M = np.where(both_zero_M, 1.0, (actual * wanted).sum(axis=1) / np.maximum(lengths_M, tiny))
    return Errors(
        max_error=float(np.abs(difference).max() / max(np.abs(wanted).max(), tiny)),
        rms_error=float(np.linalg.norm(difference) / max(np.linalg.norm(wanted), tiny)),
        cosine_error=float(max(0.0, 1 - cosines_M.min())),
    )


def measure_best(ids_K: NDArray[np.int32], logits_KV: NDArray[np.float32]) -> Errors:
    """How far the logits of the tokens said to be likeliest fall short of the largest: nothing, but for a tie."""
    num_rows, vocab_size = logits_KV.shape
    if not ((ids_K >= 0) & (ids_K < vocab_size)).all():
        return _limit(np.inf, np.inf, np.inf)
    short_K = logits_KV.max(axis=1) - logits_KV[np.arange(num_rows), ids_K]
    return _relative(short_K, np.abs(logits_KV).max(axis=1))


def measure_sums(sums_K: NDArray[np.float32], logits_KV: NDArray[np.float32]) -> Errors:
    """How far sums are from those of the logits, relative to all that was added up."""
    logits = logits_KV.astype(np.float64)
    return _relative(sums_K - logits.sum(axis=1), np.abs(logits).sum(axis=1))


def _relative(errors_K: NDArray[np.floating], scales_K: NDArray[np.floating]) -> Errors:
    shares_K = np.abs(errors_K) / np.maximum(scales_K, np.finfo(np.float32).tiny)
    if not np.isfinite(shares_K).all():
        return _limit(np.inf, np.inf, np.inf)
    return _limit(float(shares_K.max(initial=0)), float(np.sqrt(np.mean(shares_K**2))), 0.0)
