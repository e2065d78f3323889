"""Runs a bundle's graphs on the reference's inputs and measures how far each is from PyTorch.

Each stage is fed with PyTorch's inputs, so that an error shows where it is made; the last rows are the whole pipeline
from pixels, where errors add up. One graph is in memory at a time.

Axes: N tiles, C channels, H W pixels, P patches of a tile, F kept patches, T visual tokens, D width, B rows (1),
S positions, K kept positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ovengines import Bundle
from ovengines.errors import ExitCode, OVError
from ovexport.precision.policy import PRECISIONS
from ovexport.verify.metrics import measure
from ovexport.verify.probe import chunk_bounds
from ovexport.verify.ranges import RangeRow, range_rows
from ovexport.verify.reference import Progress, Reference
from ovexport.verify.report import Report, Row, Subject
from ovexport.verify.tolerance import tolerance_for
from ovexport.verify.trt_files import TrtFiles
from ovexport.verify.widened import open_to_compare

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
ENCODE_BATCH_TILES = 2  # more than one, so that a graph that mixes up tiles is found; few, for memory
STEPS = 6


class _Runs(Protocol):
    """What is asked of an engine here; see `ovengines.Engine`."""

    name: str

    def encode(self, pixels_NCHW: Float32) -> Float32: ...

    def project(self, features_NPD: Float32, indices_T4: NDArray[np.int32], weights_T4: Float32) -> Float32: ...

    def new_cache(self, capacity: int) -> Any: ...

    def decode(
        self,
        cache: Any,
        ids_BS: Int64,
        *,
        logits_index_BK: Int64,
        embed_index_BS: Int64 | None = None,
        image_embeds_TD: Float32 | None = None,
    ) -> Float32: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class _Decoded:
    logits_KV: Float32
    greedy_ids: list[int]


def verify_bundle(
    bundle: Bundle, reference: Reference, *, threads: int | None = None, progress: Progress | None = None
) -> Report:
    """Compare every graph of every target and the whole pipeline, on the CPU.

    Raises:
        OVError: BUNDLE_INVALID if bundle and reference are of different models; whatever the engine raises.
    """
    _check_shapes(bundle, reference)
    report = progress or (lambda step, done, total: None)
    rows: list[Row] = []
    names: list[str] = []
    sides = [side for target, side in SIDES.items() if bundle.manifest.roles(target)]
    for number, side in enumerate(sides):
        part = partial(_tell_part, report, number * STEPS, len(sides) * STEPS)
        rows += _compare(bundle, reference, side, threads, part)
        names.append(side.open(bundle, threads).name)
    subject = _subject(bundle, reference, ", ".join(names))
    return Report(subject=subject, rows=tuple(rows), ranges=_ranges(bundle, reference))


def _ranges(bundle: Bundle, reference: Reference) -> tuple[RangeRow, ...]:
    precision = bundle.manifest.precision
    held = {t for t in SIDES if bundle.manifest.roles(t) and PRECISIONS[t][precision].activations == "float16"}
    return tuple(range_rows(reference.peaks, held))


def _tell_part(report: Progress, before: int, total: int, step: str, done: int, _: int) -> None:
    report(step, before + done, total)


@dataclass(frozen=True, kw_only=True)
class _Side:
    """A target's files and how they are run here. `mark` is in front of its stages in the report."""

    target: str
    mark: str
    open: Callable[[Bundle, int | None], _Runs]
    older: Callable[[Bundle, int | None], _Runs] | None = None  # with the decoder that older runtimes load


SIDES = {
    "ort": _Side(
        target="ort",
        mark="",
        open=open_to_compare,
        older=lambda bundle, threads: open_to_compare(bundle, threads, decoder="decoder"),
    ),
    "trt": _Side(target="trt", mark="tensorrt: ", open=lambda bundle, threads: TrtFiles(bundle, threads=threads)),
}


def _compare(bundle: Bundle, reference: Reference, side: _Side, threads: int | None, report: Progress) -> list[Row]:
    """The rows of one target. A new engine for each part: the graph before is freed with its engine."""
    report(f"{side.mark}vision", 0, STEPS)
    features_NPD = _encode(side.open(bundle, threads), reference)
    report(f"{side.mark}projector", 1, STEPS)
    engine = side.open(bundle, threads)
    plan = (reference.indices_T4, reference.weights_T4)
    image_embeds_TD = engine.project(reference.features_NPD, *plan)
    own_embeds_TD = engine.project(features_NPD, *plan)
    report(f"{side.mark}decoder", 2, STEPS)
    engine = side.open(bundle, threads)
    whole = _decode(engine, reference, reference.image_embeds_TD, chunked=False)
    report(f"{side.mark}decoder, in chunks", 3, STEPS)
    chunked = _decode(engine, reference, reference.image_embeds_TD, chunked=True)
    report(f"{side.mark}pipeline", 4, STEPS)
    pipeline = _decode(engine, reference, own_embeds_TD, chunked=True)
    features_FD = features_NPD.reshape(-1, features_NPD.shape[-1])[reference.features_rows_F]
    tell, roles = _Tell(bundle=bundle, side=side), bundle.manifest.roles(side.target)
    rows = [
        tell.row("vision", "vision", "features", features_FD, reference.features_FD),
        tell.row("projector", "projector", "visual tokens", image_embeds_TD, reference.image_embeds_TD),
        tell.logits_row("decoder", "decoder, one pass", whole, reference),
        tell.logits_row("decoder", "decoder, chunks + steps", chunked, reference),
    ]
    if len(rounded_KV := reference.rounded(side.target)):
        rows.append(tell.row("rounded", "decoder, same weights", "logits", chunked.logits_KV, rounded_KV))
    if side.older and "decoder_grouped" in roles:
        report("older runtimes", 5, STEPS)
        engine = side.older(bundle, threads)  # in the place of the other: both decoders together would be the peak
        plain = _decode(engine, reference, reference.image_embeds_TD, chunked=True)
        rows.append(tell.older_row(plain, reference))
    report("done", STEPS, STEPS)
    return [
        *rows,
        tell.row("seen", "pipeline to tokens", "visual tokens", own_embeds_TD, reference.image_embeds_TD),
        tell.logits_row("pipeline", "pipeline to logits", pipeline, reference),
    ]


def _encode(engine: _Runs, reference: Reference) -> Float32:
    pixels_NCHW = reference.pixels_NCHW
    starts = range(0, len(pixels_NCHW), ENCODE_BATCH_TILES)
    return np.concatenate([engine.encode(pixels_NCHW[i : i + ENCODE_BATCH_TILES]) for i in starts])


def _decode(engine: _Runs, reference: Reference, image_embeds_TD: Float32, *, chunked: bool) -> _Decoded:
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


def _greedy(engine: _Runs, cache: Any, logits_V: Float32, count: int) -> list[int]:
    ids = [int(logits_V.argmax())]
    last_row_BK = np.zeros((1, 1), np.int64)
    while len(ids) < count:
        logits_BKV = engine.decode(cache, np.array([[ids[-1]]], np.int64), logits_index_BK=last_row_BK)
        ids.append(int(logits_BKV[0, 0].argmax()))
    return ids


@dataclass(frozen=True, kw_only=True)
class _Tell:
    """Makes the rows of one target."""

    bundle: Bundle
    side: _Side

    def row(
        self,
        kind: str,
        stage: str,
        quantity: str,
        actual: Float32,
        wanted: Float32,
        greedy_equal: int | None = None,
        greedy_total: int | None = None,
    ) -> Row:
        precision = self.bundle.manifest.precision
        return Row(
            graph=kind,
            stage=f"{self.side.mark}{stage}",
            quantity=quantity,
            precision=precision,
            metrics=measure(actual, wanted, are_logits=quantity == "logits"),
            tolerance=tolerance_for(precision, kind, self.side.target),
            greedy_equal=greedy_equal,
            greedy_total=greedy_total,
        )

    def logits_row(self, kind: str, stage: str, decoded: _Decoded, reference: Reference) -> Row:
        wanted_ids = reference.greedy_ids_G.tolist()
        equal = equal_lead(decoded.greedy_ids, wanted_ids)
        return self.row(kind, stage, "logits", decoded.logits_KV, reference.logits_KV, equal, len(wanted_ids))

    def older_row(self, plain: _Decoded, reference: Reference) -> Row:
        """The decoder that older runtimes load, against the sharpest reference that there is."""
        stage = "decoder, older runtimes"
        if len(rounded_KV := reference.rounded(self.side.target)):
            return self.row("rounded", stage, "logits", plain.logits_KV, rounded_KV)
        return self.logits_row("decoder", stage, plain, reference)


def equal_lead(actual: Iterable[int], wanted: Iterable[int]) -> int:
    """How many leading items are equal."""
    count = 0
    for a, w in zip(actual, wanted, strict=False):
        if a != w:
            break
        count += 1
    return count


def _subject(bundle: Bundle, reference: Reference, engine: str) -> Subject:
    manifest = bundle.manifest
    return Subject(
        model=manifest.source,
        revision=manifest.source_revision,
        source_sha256=manifest.source_sha256,
        precision=manifest.precision,
        engine=engine,
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
