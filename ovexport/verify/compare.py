"""Runs a bundle's graphs on the reference's inputs and measures how far each is from PyTorch.

Each stage is fed with PyTorch's inputs, so that an error shows where it is made; the last rows are the whole pipeline
from pixels, where errors add up. One graph is in memory at a time.

Axes: N tiles, C channels, H W pixels, P patches of a tile, F kept patches, T visual tokens, D width, B rows (1),
S positions, K kept positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ovengines import Bundle, Engine, KVCache, open_engine
from ovengines.errors import ExitCode, OVError
from ovexport.verify.metrics import measure
from ovexport.verify.probe import chunk_bounds
from ovexport.verify.reference import Progress, Reference
from ovexport.verify.report import Report, Row, Subject
from ovexport.verify.tolerance import tolerance_for

Float32 = NDArray[np.float32]
ENCODE_BATCH_TILES = 2  # more than one, so that a graph that mixes up tiles is found; few, for memory
STEPS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class _Decoded:
    logits_KV: Float32
    greedy_ids: list[int]


def verify_bundle(
    bundle: Bundle, reference: Reference, *, threads: int | None = None, progress: Progress | None = None
) -> Report:
    """Compare every graph and the whole pipeline, on the CPU.

    Raises:
        OVError: BUNDLE_INVALID if bundle and reference are of different models; whatever the engine raises.
    """
    _check_shapes(bundle, reference)
    report = progress or (lambda step, done, total: None)
    report("vision", 0, STEPS)
    engine = open_engine(bundle, "cpu", threads)
    subject = _subject(bundle, reference, engine)
    features_NPD = _encode(engine, reference)
    report("projector", 1, STEPS)
    engine = open_engine(bundle, "cpu", threads)  # the graph before is freed with its engine
    plan = (reference.indices_T4, reference.weights_T4)
    image_embeds_TD = engine.project(reference.features_NPD, *plan)
    own_embeds_TD = engine.project(features_NPD, *plan)
    report("decoder", 2, STEPS)
    engine = open_engine(bundle, "cpu", threads)
    whole = _decode(engine, reference, reference.image_embeds_TD, chunked=False)
    report("decoder, in chunks", 3, STEPS)
    chunked = _decode(engine, reference, reference.image_embeds_TD, chunked=True)
    report("pipeline", 4, STEPS)
    pipeline = _decode(engine, reference, own_embeds_TD, chunked=True)
    report("older runtimes", 5, STEPS)
    engine = open_engine(bundle, "cpu", threads, decoder="decoder")
    plain = _decode(engine, reference, reference.image_embeds_TD, chunked=True)
    report("older runtimes", STEPS, STEPS)
    features_FD = features_NPD.reshape(-1, features_NPD.shape[-1])[reference.features_rows_F]
    rows = [
        _row(bundle, "vision", "vision", "features", features_FD, reference.features_FD),
        _row(bundle, "projector", "projector", "visual tokens", image_embeds_TD, reference.image_embeds_TD),
        _logits_row(bundle, "decoder", "decoder, one pass", whole, reference),
        _logits_row(bundle, "decoder", "decoder, chunks + steps", chunked, reference),
        _older_row(bundle, plain, reference),
        _row(bundle, "seen", "pipeline to tokens", "visual tokens", own_embeds_TD, reference.image_embeds_TD),
        _logits_row(bundle, "pipeline", "pipeline to logits", pipeline, reference),
    ]
    if len(rounded_KV := reference.rounded_logits_KV):
        rows.insert(5, _row(bundle, "rounded", "decoder, same weights", "logits", chunked.logits_KV, rounded_KV))
    return Report(subject=subject, rows=tuple(rows))


def _encode(engine: Engine, reference: Reference) -> Float32:
    pixels_NCHW = reference.pixels_NCHW
    starts = range(0, len(pixels_NCHW), ENCODE_BATCH_TILES)
    return np.concatenate([engine.encode(pixels_NCHW[i : i + ENCODE_BATCH_TILES]) for i in starts])


def _decode(engine: Engine, reference: Reference, image_embeds_TD: Float32, *, chunked: bool) -> _Decoded:
    """Logits of the kept positions and, after rewinding to the prompt, a greedy continuation."""
    total, prompt_tokens = len(reference.input_ids_S), int(reference.prompt_tokens)
    num_greedy = len(reference.greedy_ids_G)
    cache = engine.new_cache(max(total, prompt_tokens + num_greedy))
    bounds = [*chunk_bounds(prompt_tokens), *range(prompt_tokens + 1, total + 1)] if chunked else [0, total]
    parts = []
    for start, stop in pairwise(bounds):
        positions_K = reference.logits_positions_K
        wanted_K = positions_K[(positions_K >= start) & (positions_K < stop)] - start
        logits_BKV = engine.decode(
            cache,
            reference.input_ids_S[None, start:stop],
            embed_index_BS=reference.embed_index_S[None, start:stop],
            image_embeds_TD=image_embeds_TD,
            logits_index_BK=wanted_K[None],
        )
        parts.append(logits_BKV[0].copy())  # the engine's array is valid until its next call only
    logits_KV = np.concatenate(parts)
    after_prompt_V = logits_KV[list(reference.logits_positions_K).index(prompt_tokens - 1)]
    cache.rewind(0, prompt_tokens)
    return _Decoded(logits_KV=logits_KV, greedy_ids=_greedy(engine, cache, after_prompt_V, num_greedy))


def _greedy(engine: Engine, cache: KVCache, logits_V: Float32, count: int) -> list[int]:
    ids = [int(logits_V.argmax())]
    last_row_BK = np.zeros((1, 1), np.int64)
    while len(ids) < count:
        logits_BKV = engine.decode(cache, np.array([[ids[-1]]], np.int64), logits_index_BK=last_row_BK)
        ids.append(int(logits_BKV[0, 0].argmax()))
    return ids


def _row(
    bundle: Bundle,
    kind: str,
    stage: str,
    quantity: str,
    actual: Float32,
    wanted: Float32,
    greedy_equal: int | None = None,
    greedy_total: int | None = None,
) -> Row:
    precision = bundle.manifest.precision
    return Row(
        graph=kind,
        stage=stage,
        quantity=quantity,
        precision=precision,
        metrics=measure(actual, wanted, are_logits=quantity == "logits"),
        tolerance=tolerance_for(precision, kind),
        greedy_equal=greedy_equal,
        greedy_total=greedy_total,
    )


def _logits_row(bundle: Bundle, kind: str, stage: str, decoded: _Decoded, reference: Reference) -> Row:
    wanted_ids = reference.greedy_ids_G.tolist()
    equal = equal_lead(decoded.greedy_ids, wanted_ids)
    return _row(bundle, kind, stage, "logits", decoded.logits_KV, reference.logits_KV, equal, len(wanted_ids))


def _older_row(bundle: Bundle, plain: _Decoded, reference: Reference) -> Row:
    """The decoder that older runtimes load, against the sharpest reference that there is."""
    stage = "decoder, older runtimes"
    if len(rounded_KV := reference.rounded_logits_KV):
        return _row(bundle, "rounded", stage, "logits", plain.logits_KV, rounded_KV)
    return _logits_row(bundle, "decoder", stage, plain, reference)


def equal_lead(actual: Iterable[int], wanted: Iterable[int]) -> int:
    """How many leading items are equal."""
    count = 0
    for a, w in zip(actual, wanted, strict=False):
        if a != w:
            break
        count += 1
    return count


def _subject(bundle: Bundle, reference: Reference, engine: Engine) -> Subject:
    manifest = bundle.manifest
    return Subject(
        model=manifest.source,
        revision=manifest.source_revision,
        source_sha256=manifest.source_sha256,
        precision=manifest.precision,
        engine=engine.name,
        torch_version=str(reference.torch_version),
        seed=int(reference.seed),
        tiles=len(reference.pixels_NCHW),
        visual_tokens=len(reference.indices_T4),
        prompt_tokens=int(reference.prompt_tokens),
        steps=len(reference.input_ids_S) - int(reference.prompt_tokens),
    )


def _check_shapes(bundle: Bundle, reference: Reference) -> None:
    model = bundle.manifest.model
    found = {
        "hidden": reference.image_embeds_TD.shape[1],
        "vision_hidden": reference.features_FD.shape[1],
        "vocab_size": reference.logits_KV.shape[1],
    }
    for name, value in found.items():
        if value != getattr(model, name):
            raise OVError(
                ExitCode.BUNDLE_INVALID,
                f"the reference is of another model: {name} is {value}, in the bundle {getattr(model, name)}",
                "build the bundle again",
            )
