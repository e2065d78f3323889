"""Runs tower and projector over the tiles of all images of a prompt, within a memory bound.

Knows tiles, token plans and an engine; nothing of files or text. Identical tiles are encoded once.

Axes: T tiles (in plans: tokens), C channels, H W pixels, N tiles of a batch, P patches of a tile, D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ovengines import Engine
from ovengines.bundle.manifest import ModelSpec
from ovrun.limits import limit_value
from ovrun.tiling.plan import retarget
from ovrun.vision.views import View

Float32 = NDArray[np.float32]
Progress = Callable[[int, int], None]  # (tiles done, tiles in all)


HEAD_DIM = 64  # the manifest does not state the tower's heads; narrower ones (SigLIP: 72) make the estimate too high


@dataclass(frozen=True, kw_only=True, eq=False)
class TileFeatures:
    """Features of the distinct tiles, and for each view which of them its tiles are."""

    features_NPD: Float32
    tiles_of_view: tuple[tuple[int, ...], ...]


def encode_tiles(
    engine: Engine, views: Sequence[View], model: ModelSpec, on_progress: Progress | None = None
) -> TileFeatures:
    """Encode every distinct tile once, in batches of `tiles_of_a_run`."""
    distinct, tiles_of_view = _distinct_tiles(views)
    parts: list[Float32] = []
    for batch in _batches(distinct, tiles_of_a_run(engine, model)):
        parts.append(engine.encode(np.stack(batch)))
        if on_progress:
            on_progress(sum(map(len, parts)), len(distinct))
    return TileFeatures(features_NPD=np.concatenate(parts), tiles_of_view=tiles_of_view)


def tiles_of_a_run(engine: Engine, model: ModelSpec) -> int:
    """As many as the engine was built for, else as pay on it and keep within the limit tile_batch_bytes."""
    if engine.tower_tiles is not None:
        return engine.tower_tiles
    batch_bytes = min(limit_value("tile_batch_bytes"), engine.tile_batch_bytes)
    return max(1, batch_bytes // tile_activation_bytes(model))


def project_views(engine: Engine, views: Sequence[View], tiles: TileFeatures) -> Float32:
    """Visual tokens of all views in order, image_embeds [T, D]; the projector runs once per view."""
    return np.concatenate(list(project_each(engine, views, tiles)))


def project_each(engine: Engine, views: Sequence[View], tiles: TileFeatures) -> Iterator[Float32]:
    """Visual tokens [T, D] of one view after the other."""
    for view, tile_ids in zip(views, tiles.tiles_of_view, strict=True):
        own_ids = list(dict.fromkeys(tile_ids))
        plan = retarget(view.plan, [own_ids.index(tile) for tile in tile_ids], len(own_ids))
        yield engine.project(_take(tiles.features_NPD, own_ids), plan.indices_T4, plan.weights_T4)


def tile_activation_bytes(model: ModelSpec) -> int:
    """Estimated peak of one tile's activations in the tower, float32.

    Attention scores before and after softmax, and sixteen times the residual stream: queries, keys, values, two copies
    of the stream and of the four times wider layer within the MLP, and what an allocator keeps. 0.13 GB at 729 patches
    of 1,152, so four tiles of the real tower within the default limit, and on a CPU one at a time.
    """
    patches = model.geometry.patches_per_side**2
    heads = -(-model.vision_hidden // HEAD_DIM)
    return 4 * (2 * heads * patches**2 + 16 * patches * model.vision_hidden)


def _distinct_tiles(views: Sequence[View]) -> tuple[list[Float32], tuple[tuple[int, ...], ...]]:
    distinct: list[Float32] = []
    id_of_digest: dict[bytes, int] = {}
    tiles_of_view: list[tuple[int, ...]] = []
    for view in views:
        tile_ids = []
        for tile_CHW in view.pixels_TCHW:
            digest = hashlib.blake2b(tile_CHW.tobytes(), digest_size=32).digest()
            if digest not in id_of_digest:
                id_of_digest[digest] = len(distinct)
                distinct.append(tile_CHW)
            tile_ids.append(id_of_digest[digest])
        tiles_of_view.append(tuple(tile_ids))
    return distinct, tuple(tiles_of_view)


def _batches(tiles: list[Float32], size: int) -> Iterator[list[Float32]]:
    for start in range(0, len(tiles), size):
        yield tiles[start : start + size]


def _take(features_NPD: Float32, ids: list[int]) -> Float32:
    """The rows `ids`; without a copy where they are all of them."""
    return features_NPD if ids == list(range(len(features_NPD))) else features_NPD[ids]
