"""Outputs are compared with those of transformers in float32 before anything is timed: a wrong answer is not fast.

Axes: N tiles, P patches, D width, K positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.inputs import random_ids
from benchmarks.peers.contestant import Float32
from benchmarks.peers.table import CONTESTANTS, REFERENCE
from benchmarks.setting import Setting
from benchmarks.worker import Worker

PROMPT_TOKENS = 600  # more than one chunk of ours or one batch of llama.cpp, both of 512
FORCED_TOKENS = 4
# Least cosine of the worst patch. Ours in int4 and int8 has a tower in int8, and gives 0.9997.
LEAST_FEATURES = {"fp32": 0.9999, "fp16": 0.999}
LEAST_FEATURES_OF_OTHERS = 0.998
# Least cosine of the worst position. On random weights four bits are far from float32 whoever rounds: the weights have
# no structure to be kept. Measured at 600 tokens of the 0.5B shape: ours int4 0.816, onnxruntime-genai int4 0.820,
# llama.cpp Q4_0 0.855, ours int8 0.9989, llama.cpp Q8_0 0.9988, transformers bf16 0.9998, OpenVINO bf16 0.9999.
# Positions that are off by one leave 0.997 in float32: all bounds but those of four bits catch that.
LEAST_LOGITS = {"fp32": 0.9999, "bf16": 0.999, "fp16": 0.9995, "int8": 0.998, "q8_0": 0.998, "int4": 0.8, "q4_0": 0.84}


class Disagrees(ValueError):
    """A contestant's outputs are not near enough to the reference's."""

    def __init__(self, name: str, agreement: Agreement) -> None:
        super().__init__(f"{name}: its outputs differ too much: not timed ({agreement})")
        self.name, self.agreement = name, agreement


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a contestant makes of the same inputs; None where it lacks that part.

    `resumed_KV` are the logits of the forced steps after it has gone back to the prompt from other steps, in the way
    in which it does so before it is timed.
    """

    features_NPD: Float32 | None
    logits_KV: Float32 | None
    resumed_KV: Float32 | None = None


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Cosine with the reference in the worst patch and the worst position."""

    features: float | None
    logits: float | None
    resumed: float | None = None
    least: float  # of logits
    least_features: float = LEAST_FEATURES_OF_OTHERS

    @property
    def reached(self) -> bool:
        pairs = (self.features, self.least_features), (self.logits, self.least), (self.resumed, self.least)
        found = [(value, least) for value, least in pairs if value is not None]
        return bool(found) and all(value >= least for value, least in found)  # NaN is no agreement

    def __str__(self) -> str:
        found = {"features": self.features, "logits": self.logits, "resumed": self.resumed}
        return ", ".join(f"{name} {value:.4f}" for name, value in found.items() if value is not None)


def agreed(worker: Worker, name: str, reference: Outputs) -> Agreement:
    """To be called before a worker is timed. Raises Disagrees."""
    agreement = compare(outputs_of(worker), reference, precision_of(worker, name))
    if not agreement.reached:
        raise Disagrees(name, agreement)
    return agreement


def precision_of(worker: Worker, name: str) -> str:
    """As the contestant says that it calculates, else as the table calls it."""
    return str(worker.ask("precision")) if "precision" in worker.abilities else CONTESTANTS[name].precision


@contextmanager
def opened(setting: Setting, name: str) -> Iterator[Worker]:
    """A started contestant that agrees. Raises Disagrees, and whatever `Setting.worker` does."""
    reference = reference_outputs(setting)
    with setting.worker(name) as worker:
        agreed(worker, name, reference)
        yield worker


def check(setting: Setting, names: Sequence[str]) -> None:
    """For those that are timed in fresh processes, which comparing would leave less fresh. Raises Disagrees."""
    for name in names:
        with opened(setting, name):
            pass


def reference_outputs(setting: Setting) -> Outputs:
    """Of transformers in float32 on the CPU, kept beside the bundles for as long as weights and library are these."""
    file = setting.folder / "reference" / f"{_reference_key(setting)}.npz"
    if not file.exists():
        with setting.on("cpu").worker(REFERENCE) as worker:
            outputs = outputs_of(worker)
        _write(outputs, file)
    with np.load(file) as kept:
        return Outputs(features_NPD=kept["features"], logits_KV=kept["logits"], resumed_KV=kept["resumed"])


def _write(outputs: Outputs, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished.npz")
    assert outputs.features_NPD is not None and outputs.logits_KV is not None and outputs.resumed_KV is not None
    np.savez(unfinished, features=outputs.features_NPD, logits=outputs.logits_KV, resumed=outputs.resumed_KV)
    unfinished.rename(file)


def _reference_key(setting: Setting) -> str:
    what = (setting.weights_key(), version("transformers"), version("torch"), PROMPT_TOKENS, FORCED_TOKENS)
    return sha256(repr(what).encode()).hexdigest()[:16]


def outputs_of(worker: Worker) -> Outputs:
    """By a prompt and some steps, so that reading, the cache and positions are all looked at."""
    ids, forced = random_ids(PROMPT_TOKENS), random_ids(FORCED_TOKENS, seed=3)
    ask: dict[str, Callable[[], Float32]] = {
        "features": lambda: worker.ask("features", tiles=1),
        "logits": lambda: worker.ask("logits", ids=ids, forced=forced),
        "resumed": lambda: worker.ask("resumed", context=PROMPT_TOKENS, forced=forced),
    }
    found = [work() if name in worker.abilities else None for name, work in ask.items()]
    return Outputs(features_NPD=found[0], logits_KV=found[1], resumed_KV=found[2])


def compare(outputs: Outputs, reference: Outputs, precision: str) -> Agreement:
    """Features are compared after a norm without weights, as some towers are exported with their last norm.

    Going back must give what never having gone on gives, so it is held against the reference's first logits.
    """
    features = logits = resumed = None
    if outputs.features_NPD is not None and reference.features_NPD is not None:
        features = worst_cosine(normed(outputs.features_NPD), normed(reference.features_NPD))
    if outputs.logits_KV is not None and reference.logits_KV is not None:
        logits = worst_cosine(outputs.logits_KV, reference.logits_KV)
    if outputs.resumed_KV is not None and reference.logits_KV is not None:
        resumed = worst_cosine(outputs.resumed_KV, reference.logits_KV[1:])
    least_features = LEAST_FEATURES.get(precision, LEAST_FEATURES_OF_OTHERS)
    return Agreement(
        features=features, logits=logits, resumed=resumed, least=LEAST_LOGITS[precision], least_features=least_features
    )


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
