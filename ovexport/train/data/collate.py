"""Samples as one batch of tensors: a row per sample, or all of them packed into one row.

Rows are padded on the right. Legend: B rows, S positions, N tiles of the batch, C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ovexport.model.onevision import IGNORE_LABEL
from ovexport.train.data.sample import Sample
from ovrun.tiling.plan import TokenPlan, concat


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A broken record, for which the one after it stood in: record `index` of `file`. The id is empty if not known."""

    record_id: str
    file: str
    index: int
    reason: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """embed_index is -1 for text, else a row of the visual tokens that the plan makes of all tiles of the batch.

    sample_BS numbers the samples of a row from 0 and is -1 for padding; exchange_BS is theirs. A position sees those
    before it of its own sample that are shared (exchange 0) or of its own exchange; where plain causal attention
    amounts to that, `needs_mask` is false.
    """

    ids_BS: torch.Tensor
    labels_BS: torch.Tensor
    embed_index_BS: torch.Tensor
    positions_BS: torch.Tensor
    sample_BS: torch.Tensor
    exchange_BS: torch.Tensor
    pixels_NCHW: torch.Tensor | None
    plan: TokenPlan | None
    skipped: tuple[Skipped, ...]
    num_tokens: int
    num_supervised: int
    needs_mask: bool

    def to(self, device: torch.device | str) -> Batch:
        moved: dict[str, Any] = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), torch.Tensor)
        }
        return replace(self, **moved)


def collate(samples: Sequence[Sample], pad_id: int, skipped: Sequence[Skipped] = (), *, packed: bool = False) -> Batch:
    """One batch. With `packed` all samples stand in one row, one after the other."""
    rows = [list(samples)] if packed else [[sample] for sample in samples]
    with_media = [(sample, sample.plan) for sample in samples if sample.plan is not None]
    pixels = [torch.from_numpy(sample.pixels_NCHW) for sample, _ in with_media]
    labels_BS = _padded([_labels(row) for row in rows], IGNORE_LABEL)
    return Batch(
        ids_BS=_padded([[sample.ids_S for sample in row] for row in rows], pad_id),
        labels_BS=labels_BS,
        embed_index_BS=_embed_index(rows),
        positions_BS=_padded([[sample.positions_S for sample in row] for row in rows], 0),
        sample_BS=_padded(
            [[np.full(sample.num_tokens, number, np.int32) for number, sample in enumerate(row)] for row in rows], -1
        ),
        exchange_BS=_padded([[sample.exchange_S for sample in row] for row in rows], 0),
        pixels_NCHW=torch.cat(pixels) if pixels else None,
        plan=concat([plan for _, plan in with_media]) if with_media else None,
        skipped=tuple(skipped),
        num_tokens=sum(sample.num_tokens for sample in samples),
        num_supervised=int((labels_BS[:, 1:] != IGNORE_LABEL).sum()),  # no position tells the first one
        needs_mask=any(len(row) > 1 for row in rows) or any(sample.exchange_S.max() > 1 for sample in samples),
    )


def _labels(row: Sequence[Sample]) -> list[NDArray[np.int64]]:
    """Of a sample behind another one, the first label goes: it would be told from the end of the other."""
    ignored_1 = np.array([IGNORE_LABEL])
    return [row[0].labels_S, *(np.concatenate([ignored_1, sample.labels_S[1:]]) for sample in row[1:])]


def _embed_index(rows: Sequence[Sequence[Sample]]) -> torch.Tensor:
    """Visual positions are numbered through the batch, in the order of rows and of samples in them."""
    visual_BS = _padded([[sample.visual_S for sample in row] for row in rows], False)
    number_BS = visual_BS.flatten().cumsum(0).view_as(visual_BS) - 1
    return torch.where(visual_BS, number_BS, -1)


def _padded(rows: Sequence[Sequence[NDArray[Any]]], fill: int | bool) -> torch.Tensor:
    joined = [torch.from_numpy(np.concatenate(row)) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(joined, batch_first=True, padding_value=fill)
