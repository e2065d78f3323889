"""Chooses the next token from logits. Same arithmetic and order as transformers' logits processors (generation/
logits_process.py): repetition penalty, temperature, top-k, top-p; then a draw from a NumPy generator.

Knows one row of logits and the options; nothing of engines or text. Axes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ovengines.engine import Best
from ovengines.errors import ExitCode, OVError
from ovrun.options import GenerationOptions

Float32 = NDArray[np.float32]


class Sampler:
    """Picks tokens for one answer. Two samplers with the same options and seed pick the same from the same logits."""

    def __init__(self, options: GenerationOptions, prompt_ids: Sequence[int] = ()) -> None:
        self.options = options
        self._seen = set(prompt_ids)  # for the repetition penalty, which counts the prompt too
        self._random = np.random.default_rng(options.seed)

    @property
    def needs_only_best(self) -> bool:
        """Whether the likeliest token is always the next one."""
        return not self.options.do_sample and self.options.repetition_penalty == 1.0

    def pick(self, logits: Float32 | Best) -> int:
        """The next token, from all logits [V], or from the likeliest token if that is enough.

        Raises OVError (BUNDLE_INVALID) on logits that are not numbers.
        """
        if isinstance(logits, Best):
            return self._take(logits)
        scores_V = penalise(logits, self._seen, self.options.repetition_penalty)
        token = int(np.argmax(scores_V))  # a NaN, if there is one
        best = Best(token, bool(np.isfinite(scores_V[token])))
        return self._take(best, scores_V if self.options.do_sample else None)

    def _take(self, best: Best, scores_V: Float32 | None = None) -> int:
        if not best.finite:
            raise OVError(
                ExitCode.BUNDLE_INVALID,
                "the model's scores are not finite numbers, so there is no answer",
                "fp16 may overflow on this input: use another precision, or run ovexport verify on the bundle",
            )
        token = best.token if scores_V is None else self._draw(scores_V)
        self._seen.add(token)
        return token

    def _draw(self, scores_V: Float32) -> int:
        warped_V = top_k(scores_V / np.float32(self.options.temperature), self.options.top_k)
        cumulative_V = np.cumsum(_softmax(top_p(warped_V, self.options.top_p).astype(np.float64)))
        total = cumulative_V[-1]
        point = min(self._random.random() * total, np.nextafter(total, 0))  # below the total even when rounded
        return int(np.searchsorted(cumulative_V, point, side="right"))


def penalise(logits_V: Float32, seen: set[int], penalty: float) -> Float32:
    """Tokens seen before made less likely: positive scores divided, negative ones multiplied (Keskar et al., 2019).

    Ids without a score are passed over: the image token of a prompt may lie beyond the model's table.
    """
    if penalty == 1.0 or not seen:
        return logits_V
    ids = np.fromiter(seen, dtype=np.int64, count=len(seen))
    ids = ids[ids < logits_V.size]
    scores_V = logits_V.copy()
    chosen = scores_V[ids]
    scores_V[ids] = np.where(chosen < 0, chosen * np.float32(penalty), chosen / np.float32(penalty))
    return scores_V


def top_k(scores_V: Float32, k: int) -> Float32:
    """All but the k best set to -inf; equals of the k-th stay."""
    if k == 0 or k >= scores_V.size:
        return scores_V
    threshold = np.partition(scores_V, -k)[-k]
    return np.where(scores_V < threshold, np.float32(-np.inf), scores_V)


def top_p(scores_V: Float32, p: float) -> Float32:
    """All but the smallest set whose probabilities reach p set to -inf; the best token always stays."""
    if p == 1.0:
        return scores_V
    kept = np.flatnonzero(scores_V > -np.inf)  # after top-k few are left to sort
    rising = kept[np.argsort(scores_V[kept], kind="stable")]
    cumulative = np.cumsum(_softmax(scores_V[rising]))
    dropped = rising[:-1][cumulative[:-1] <= np.float32(1 - p)]
    warped_V = scores_V.copy()
    warped_V[dropped] = -np.inf
    return warped_V


def _softmax(scores: NDArray[np.floating]) -> NDArray[np.floating]:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()
