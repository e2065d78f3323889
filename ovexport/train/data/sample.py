"""One training sample: a record as ids, labels, positions, tiles and one token plan.

Joins conversation, labels and media; expands every medium to its visual tokens, and truncates after that (as released).
Knows no batches. Legend: S positions, M positions before expansion, N tiles, C channels, H and W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ovexport.model.onevision import IGNORE_LABEL
from ovexport.train.data.conversation import MEDIUM, pieces
from ovexport.train.data.labels import LABELS
from ovexport.train.data.media import Media, load_media
from ovexport.train.data.records import BadRecord, Record
from ovexport.train.data.spec import SampleSpec
from ovrun.tiling.plan import TokenPlan, concat, first_tokens

__all__ = ["Sample", "SampleSpec", "make_sample"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """What one record teaches. The plan has a token for each position that is visual, in order; None without media.

    exchange_S is 0 for what all exchanges share and k in the k-th exchange; positions go on from the shared part in
    each. All 0, and counting on, when turns are chained.
    """

    ids_S: NDArray[np.int64]
    labels_S: NDArray[np.int64]
    visual_S: NDArray[np.bool_]
    exchange_S: NDArray[np.int32]
    positions_S: NDArray[np.int64]
    pixels_NCHW: NDArray[np.float32]
    plan: TokenPlan | None
    modality: str

    @property
    def num_tokens(self) -> int:
        return len(self.ids_S)


def make_sample(record: Record, spec: SampleSpec) -> Sample:
    """Raises BadRecord for a record that can't be read or that teaches nothing."""
    said = pieces(record, spec.chat, spec.template, spec.turns)
    label = LABELS[spec.labels]
    ids_M = np.array([id_ for piece in said for id_ in piece.ids], dtype=np.int64)
    labels_M = np.array([id_ for piece in said for id_ in label(piece, spec.chat)], dtype=np.int64)
    exchange_M = np.repeat([piece.exchange for piece in said], [len(piece.ids) for piece in said])
    media = load_media(record, spec)
    repeats_M = np.ones(len(ids_M), dtype=np.int64)
    visual_M = ids_M == MEDIUM
    repeats_M[visual_M] = [plan.num_tokens for plan in media.plans]
    keep = slice(spec.max_length)
    visual_S = np.repeat(visual_M, repeats_M)[keep]
    labels_S = np.repeat(labels_M, repeats_M)[keep]
    exchange_S = np.repeat(exchange_M, repeats_M)[keep].astype(np.int32)
    positions_S = _positions(exchange_S)
    # The first id of a later exchange comes after another exchange, which is nothing that it could be told from.
    labels_S[np.diff(positions_S, prepend=-1) != 1] = IGNORE_LABEL
    if (labels_S[1:] == IGNORE_LABEL).all():
        raise BadRecord(f"nothing to learn in its first {spec.max_length:,} tokens")
    ids_M[visual_M] = _visual_id(record, spec)
    return Sample(
        ids_S=np.repeat(ids_M, repeats_M)[keep],
        labels_S=labels_S,
        visual_S=visual_S,
        exchange_S=exchange_S,
        positions_S=positions_S,
        pixels_NCHW=media.pixels_NCHW,
        plan=_joined_plan(media, int(visual_S.sum())),
        modality=record.modality,
    )


def _visual_id(record: Record, spec: SampleSpec) -> int:
    if record.video and spec.video_token_id is not None:
        return spec.video_token_id
    return spec.image_token_id


def _positions(exchange_S: NDArray[np.int32]) -> NDArray[np.int64]:
    """Counting on within an exchange, each from the end of the shared part. Exchanges come one after the other."""
    position_S = np.arange(len(exchange_S), dtype=np.int64)
    bounds = [*np.flatnonzero(np.diff(exchange_S, prepend=0)).tolist(), len(exchange_S)]
    for start, end in pairwise(bounds):
        position_S[start:end] = np.arange(bounds[0], bounds[0] + end - start)
    return position_S


def _joined_plan(media: Media, num_visual: int) -> TokenPlan | None:
    """One plan for all media, cut to the visual tokens that truncation left."""
    if not media.plans:
        return None
    plan = media.plans[0] if len(media.plans) == 1 else concat(media.plans)
    return plan if plan.num_tokens == num_visual else first_tokens(plan, num_visual)
