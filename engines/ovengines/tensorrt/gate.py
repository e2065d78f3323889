"""Compares a new engine with PyTorch's numbers before it is used: an engine that builds may still be wrong.

Each engine alone is fed with the reference's inputs. The decoder is asked in the ways that it will run: a prompt in
chunks, then one token at a time, over a past as short as may be, of more than 1,024 rows, and of all that fit; and far
into a long text, where no reference reaches, a step has to agree with the same token read like a prompt. Greedy answers
see no logits, only the likeliest token and the sum: both have to be those of the logits of the same run.

Axes: K kept positions, V vocabulary, F kept patches, S positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ovengines.engine import Float32
from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.cache import DeviceKVCache
from ovengines.tensorrt.decoder import Decoder
from ovengines.tensorrt.projector import Projector
from ovengines.tensorrt.reference import Reference
from ovengines.tensorrt.tolerance import LIMITS, Errors, measure, measure_best, measure_sums
from ovengines.tensorrt.tower import Tower

HINT = "it was not taken; try another precision, or a recipe with another optimization_level, and report this"
LONG_PASTS = (1100, 4100, 16400)  # just beyond powers of two, where kernels change; as far as the engine's reach
_AFTER_CUT = 11  # tokens of the prompt's text that are a chunk of their own


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One comparison: what was compared, and how far it was off."""

    what: str
    errors: Errors


def check_engine(stage: Tower | Projector | Decoder, reference: Reference, precision: str, built: str) -> list[Finding]:
    """All that was compared. `built` says what the engine is ("the decoder engine of TensorRT 10.3.0 on Orin").

    Raises:
        OVError: PARITY_FAILED for the first comparison that leaves its limits.
    """
    role, comparisons = _comparisons(stage, reference)
    findings = []
    for finding in comparisons:
        if broken := finding.errors.exceeds(LIMITS[precision][role]):
            message = f"{built} is wrong in {finding.what}: {', '.join(broken)}"
            raise OVError(ExitCode.PARITY_FAILED, message, HINT)
        findings.append(finding)
    return findings


def as_details(findings: list[Finding]) -> list[dict[str, Any]]:
    """For the sidecar."""
    return [{"what": finding.what, **dataclasses.asdict(finding.errors)} for finding in findings]


def _compare(what: str, actual_MD: Float32, wanted_MD: Float32) -> Finding:
    return Finding(what=what, errors=measure(actual_MD, wanted_MD))


def _comparisons(stage: Tower | Projector | Decoder, reference: Reference) -> tuple[str, Iterator[Finding]]:
    if isinstance(stage, Tower):
        return "vision", _of_tower(stage, reference)
    if isinstance(stage, Projector):
        return "projector", _of_projector(stage, reference)
    return "decoder", _of_decoder(stage, reference)


def _of_tower(tower: Tower, reference: Reference) -> Iterator[Finding]:
    features_NPD = tower.encode(reference.pixels_NCHW)
    flat_RD = features_NPD.reshape(-1, features_NPD.shape[-1])
    yield _compare("features", flat_RD[reference.features_rows_F], reference.features_FD)


def _of_projector(projector: Projector, reference: Reference) -> Iterator[Finding]:
    embeds_TD = projector.project(reference.features_NPD, reference.indices_T4, reference.weights_T4)
    yield _compare("visual tokens", embeds_TD, reference.image_embeds_TD)


def _of_decoder(decoder: Decoder, reference: Reference) -> Iterator[Finding]:
    prompt_tokens, total = int(reference.prompt_tokens), len(reference.input_ids_S)
    engine_bounds = decoder.spec.bounds
    cache = decoder.new_cache(engine_bounds.capacity_tokens, 1)
    bounds = [0, prompt_tokens * 2 // 5, prompt_tokens - _AFTER_CUT, prompt_tokens]
    steps = list(range(prompt_tokens, total + 1))
    is_step_K = reference.logits_positions_K >= prompt_tokens
    wanted_KV = reference.wanted_logits_KV
    yield from _run(decoder, cache, reference, bounds, wanted_KV[~is_step_K], what="a prompt in chunks")
    for past in sorted({0, min(LONG_PASTS[0], engine_bounds.past_rows), engine_bounds.past_rows}):
        cache.rewind(0, prompt_tokens)
        shown = f"steps over a past of {past:,} rows" if past else "steps"
        yield from _run(decoder, cache, reference, steps, wanted_KV[is_step_K], what=shown, least_past=past)
    yield from _far_steps(decoder, cache, reference)


def _run(
    decoder: Decoder,
    cache: DeviceKVCache,
    reference: Reference,
    bounds: list[int],
    wanted_KV: Float32,
    *,
    what: str,
    least_past: int = 0,
) -> Iterator[Finding]:
    """The kept positions between the first and the last of `bounds`, run from each to the next."""
    parts = []
    for start, stop in pairwise(bounds):
        positions_K = reference.logits_positions_K
        wanted_K = positions_K[(positions_K >= start) & (positions_K < stop)] - start
        (logits_KV,), (ids_K,), (sums_K,) = decoder.decode_all(
            cache,
            reference.input_ids_S[None, start:stop],
            embed_index_BS=reference.embed_index_S[None, start:stop],
            image_embeds_TD=reference.image_embeds_TD,
            logits_index_BK=wanted_K[None],
            least_past=least_past,
        )
        parts.append((logits_KV, ids_K, sums_K))
    logits_KV, ids_K, sums_K = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    yield _compare(what, logits_KV, wanted_KV)
    yield Finding(what=f"the likeliest tokens of {what}", errors=measure_best(ids_K, logits_KV))
    yield Finding(what=f"the sums of {what}", errors=measure_sums(sums_K, logits_KV))


def _far_steps(decoder: Decoder, cache: DeviceKVCache, reference: Reference) -> Iterator[Finding]:
    """A step against the same token read like a prompt, after a long text: the reference's own words, over and over."""
    words_S = reference.input_ids_S[reference.embed_index_S < 0]
    ends = sorted({min(past, cache.capacity - 1) for past in (*LONG_PASTS, cache.capacity)})
    cache.rewind(0, 0)
    token_11, last_11 = words_S[:1][None], np.zeros((1, 1), np.int64)
    for end in ends:
        missing = end - cache.lengths[0]
        ids_1S = np.resize(words_S, missing)[None]
        decoder.decode(cache, ids_1S, logits_index_BK=np.zeros((1, 0), np.int64))
        by_reading_KV = decoder.decode(cache, token_11, logits_index_BK=last_11, by_step=False)[0].copy()
        cache.rewind(0, end)
        by_step_KV = decoder.decode(cache, token_11, logits_index_BK=last_11)[0].copy()
        cache.rewind(0, end)
        yield _compare(f"a step after {end:,} tokens", by_step_KV, by_reading_KV)
