"""Outputs are compared with those of transformers in float32 before anything is timed: a wrong answer is not fast.

Axes: N tiles, P patches, D width, K positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.inputs import random_ids
from benchmarks.peers.contestant import Float32
from benchmarks.worker import Worker

PROMPT_TOKENS, FORCED_TOKENS = 64, 4
# Least cosine of the worst position. On random weights four bits are far from float32 whoever rounds: the weights have
# no structure to be kept, and the same bound holds for every peer.
LEAST = {"fp32": 0.9999, "bf16": 0.99, "fp16": 0.999, "int8": 0.98, "q8_0": 0.98, "int4": 0.8, "q4_0": 0.8}


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a contestant makes of the same inputs; None where it lacks that part."""

    features_NPD: Float32 | None
    logits_KV: Float32 | None


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Cosine with the reference in the worst patch and the worst position."""

    features: float | None
    logits: float | None
    least: float

    @property
    def reached(self) -> bool:
        found = [value for value in (self.features, self.logits) if value is not None]
        return bool(found) and all(value >= self.least for value in found)  # NaN is no agreement


def outputs_of(worker: Worker) -> Outputs:
    """By a prompt and some steps, so that reading, the cache and positions are all looked at."""
    ids, forced = random_ids(PROMPT_TOKENS), random_ids(FORCED_TOKENS, seed=3)
    ask: dict[str, Callable[[], Float32]] = {
        "features": lambda: worker.ask("features", tiles=1),
        "logits": lambda: worker.ask("logits", ids=ids, forced=forced),
    }
    features, logits = (work() if name in worker.abilities else None for name, work in ask.items())
    return Outputs(features_NPD=features, logits_KV=logits)


def compare(outputs: Outputs, reference: Outputs, precision: str) -> Agreement:
    """Features are compared after a norm without weights, as some towers are exported with their last norm."""
    features = logits = None
    if outputs.features_NPD is not None and reference.features_NPD is not None:
        features = worst_cosine(normed(outputs.features_NPD), normed(reference.features_NPD))
    if outputs.logits_KV is not None and reference.logits_KV is not None:
        logits = worst_cosine(outputs.logits_KV, reference.logits_KV)
    return Agreement(features=features, logits=logits, least=LEAST[precision])


def worst_cosine(one: Float32, other: Float32) -> float:
    """Over the last axis; -1 where shapes differ."""
    if one.shape != other.shape:
        return -1.0
    a, b = one.astype(np.float64), other.astype(np.float64)
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(((a * b).sum(axis=-1) / norms).min())


def normed(features: Float32) -> Float32:
    """Each patch with mean 0 and variance 1."""
    centred = features - features.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-6)
