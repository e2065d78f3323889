"""Random training batches in two forms: `Batch` of this project, and keyword arguments of transformers' model.

Rows are single images (AnyRes), several images, a video, or text, each with random text around. Both forms are made
from the same rows, neither from the other.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parents[1] / "model"))

from tiny_oracle import IMAGE_ID, PAD_ID, VIDEO_ID

from ovexport.model import OneVisionConfig
from ovexport.train.data.collate import Batch, collate
from ovexport.train.data.sample import Sample
from ovrun.tiling.plan import TokenPlan, concat, plan_image, plan_single_view, plan_video

KINDS = ("image", "multi-image", "video", "text")
IGNORED = -100


@dataclass(frozen=True, kw_only=True, eq=False)
class Medium:
    """`size` is (height, width) of an image."""

    token: int
    tiles_NCHW: torch.Tensor
    plan: TokenPlan
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    kind: str
    ids: list[int]
    labels: list[int]
    media: tuple[Medium, ...]


def random_rows(config: OneVisionConfig, rng: random.Random, kinds: Sequence[str]) -> list[Row]:
    frames = rng.randint(1, 4)  # transformers wants as many in all videos of a call
    return [_row(kind, _media(config, rng, kind, frames), rng) for kind in kinds]


def _media(config: OneVisionConfig, rng: random.Random, kind: str, frames: int) -> tuple[Medium, ...]:
    geometry, side = config.geometry, config.geometry.image_size_px
    generator = torch.Generator().manual_seed(rng.randrange(1 << 30))

    def medium(token: int, plan: TokenPlan, size: tuple[int, int] = (0, 0)) -> Medium:
        tiles_NCHW = torch.randn(plan.num_tiles, 3, side, side, generator=generator)
        return Medium(token=token, tiles_NCHW=tiles_NCHW, plan=plan, size=size)

    size = rng.randint(1, 2 * side), rng.randint(1, 2 * side)
    makers = {
        "image": lambda: (medium(IMAGE_ID, plan_image(*size, geometry), size),),
        "multi-image": lambda: tuple(
            medium(IMAGE_ID, plan_single_view(geometry), size) for _ in range(rng.randint(2, 3))
        ),
        "video": lambda: (medium(VIDEO_ID, plan_video(frames, geometry)),),
        "text": lambda: (),
    }
    return makers[kind]()


def _row(kind: str, media: tuple[Medium, ...], rng: random.Random) -> Row:
    """Text, a medium, text, a medium, text; about a third of the text is not learned."""
    ids = _text(rng)
    for medium in media:
        ids += [medium.token] * medium.plan.num_tokens + _text(rng)
    learned = [id_ not in (IMAGE_ID, VIDEO_ID) and rng.random() < 0.7 for id_ in ids]
    learned[-1] = True
    labels = [id_ if wanted else IGNORED for id_, wanted in zip(ids, learned, strict=True)]
    return Row(kind=kind, ids=ids, labels=labels, media=media)


def _text(rng: random.Random) -> list[int]:
    return [rng.randint(2, 89) for _ in range(rng.randint(1, 12))]


def our_batch(rows: Sequence[Row], *, packed: bool = False) -> Batch:
    return collate([_sample(row) for row in rows], PAD_ID, packed=packed)


def _sample(row: Row) -> Sample:
    ids_S = np.array(row.ids, dtype=np.int64)
    tiles = [medium.tiles_NCHW.numpy() for medium in row.media]
    return Sample(
        ids_S=ids_S,
        labels_S=np.array(row.labels, dtype=np.int64),
        visual_S=np.isin(ids_S, (IMAGE_ID, VIDEO_ID)),
        exchange_S=np.zeros(len(ids_S), dtype=np.int32),
        positions_S=np.arange(len(ids_S), dtype=np.int64),
        pixels_NCHW=np.concatenate(tiles) if tiles else np.zeros((0, 3, 1, 1), dtype=np.float32),
        plan=concat([medium.plan for medium in row.media]) if row.media else None,
        modality=row.kind,
    )


def their_batch(rows: Sequence[Row]) -> dict[str, Any]:
    """Right-padded, images with their views padded to the most views, frames stacked."""
    longest = max(len(row.ids) for row in rows)
    real_BS = torch.tensor([[1] * len(row.ids) + [0] * (longest - len(row.ids)) for row in rows])
    inputs: dict[str, Any] = {
        "input_ids": torch.tensor([row.ids + [PAD_ID] * (longest - len(row.ids)) for row in rows]),
        "labels": torch.tensor([row.labels + [IGNORED] * (longest - len(row.labels)) for row in rows]),
        "attention_mask": real_BS,
    }
    images = [medium for row in rows for medium in row.media if medium.token == IMAGE_ID]
    videos = [medium for row in rows for medium in row.media if medium.token == VIDEO_ID]
    if images:
        views = torch.nn.utils.rnn.pad_sequence([image.tiles_NCHW for image in images], batch_first=True)
        counts = [len(row.media) for row in rows if row.kind in ("image", "multi-image")]
        inputs |= {
            "pixel_values": views,
            "image_sizes": torch.tensor([image.size for image in images]),
            "batch_num_images": torch.tensor(counts),
        }
    if videos:
        inputs["pixel_values_videos"] = torch.stack([video.tiles_NCHW for video in videos])
    return inputs
