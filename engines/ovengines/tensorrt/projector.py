"""Projects and pools features with the projector engine; plans that are larger than its profile go in pieces.

Axes: N tiles, P patches of a tile, D width, T visual tokens, 4 sources of a token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ovengines.bundle.manifest import ModelSpec
from ovengines.engine import Float32
from ovengines.tensorrt.backend import Device, Plan
from ovengines.tensorrt.profiles import Bounds
from ovengines.tensorrt.staged import StagedTensor

Int32 = NDArray[np.int32]


class Projector:
    """A loaded projector engine with the memory for its inputs and outputs."""

    def __init__(self, device: Device, plan: Plan, model: ModelSpec, bounds: Bounds) -> None:
        self._device, self._bounds = device, bounds
        self._scratch = device.allocate(plan.scratch_bytes)
        self._executor = plan.executor(0, self._scratch)
        patches, tokens = model.geometry.patches_per_side**2, bounds.pooled_tokens
        stage = partial(StagedTensor, device, self._executor)
        self._features = stage("features", (bounds.pooled_tiles, patches, model.vision_hidden))
        self._indices = stage("indices", (tokens, 4), np.int32)
        self._weights = stage("weights", (tokens, 4))
        self._embeds = stage("image_embeds", (tokens, model.hidden))

    def project(self, features_NPD: Float32, indices_T4: Int32, weights_T4: Float32) -> Float32:
        """Visual tokens [T, D], the caller's own. Raises IndexError for a plan that names a row that is not there."""
        num_tiles, patches, _ = features_NPD.shape
        if indices_T4.size and not 0 <= indices_T4.min() <= indices_T4.max() <= num_tiles * patches:
            raise IndexError(f"a plan over {num_tiles} tiles names row {indices_T4.max()} or {indices_T4.min()}")
        embeds_TD = np.empty((len(indices_T4), self._embeds.host.shape[1]), np.float32)
        if num_tiles == 0:  # a dummy that no token names
            features_NPD = np.zeros((1, *features_NPD.shape[1:]), np.float32)
        for piece in split_plan(indices_T4, weights_T4, num_tiles, patches, self._bounds):
            self._send_features(features_NPD, piece.tiles)
            self._run(piece)
            embeds_TD[piece.start : piece.stop] = self._embeds.host[: piece.stop - piece.start]
        return embeds_TD

    def _send_features(self, features_NPD: Float32, tiles: NDArray[np.intp] | None) -> None:
        """Those of `tiles`, or all."""
        host, numbers = self._features.host, range(len(features_NPD)) if tiles is None else tiles
        for place, number in enumerate(numbers):
            host[place] = features_NPD[number]
        self._features.send(len(numbers))

    def _run(self, piece: Piece) -> None:
        count = piece.stop - piece.start
        self._indices.host[:count], self._weights.host[:count] = piece.indices_T4, piece.weights_T4
        for tensor in (self._indices, self._weights):
            tensor.send(count)
        self._executor.enqueue()
        self._embeds.fetch(count)
        self._device.synchronize()


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """Tokens `start` to `stop` of a plan, their sources counted over `tiles` alone (None: all, as they are)."""

    start: int
    stop: int
    tiles: NDArray[np.intp] | None
    indices_T4: Int32
    weights_T4: Float32


def split_plan(indices_T4: Int32, weights_T4: Float32, num_tiles: int, patches: int, bounds: Bounds) -> Iterator[Piece]:
    """The plan in pieces that need few enough tiles and tokens: one, for all but long videos and small devices."""
    num_tokens = len(indices_T4)
    if num_tokens == 0:
        return
    if 0 < num_tiles <= bounds.pooled_tiles and num_tokens <= bounds.pooled_tokens:
        yield Piece(start=0, stop=num_tokens, tiles=None, indices_T4=indices_T4, weights_T4=weights_T4)
        return
    start = 0
    while start < num_tokens:
        window = slice(start, min(start + bounds.pooled_tokens, num_tokens))
        piece = _first_piece(indices_T4[window], weights_T4[window], num_tiles, patches, bounds.pooled_tiles)
        yield Piece(
            start=start,
            stop=start + len(piece.indices_T4),
            tiles=piece.tiles,
            indices_T4=piece.indices_T4,
            weights_T4=piece.weights_T4,
        )
        start += len(piece.indices_T4)


def _first_piece(indices_T4: Int32, weights_T4: Float32, num_tiles: int, patches: int, most_tiles: int) -> Piece:
    """As many of the tokens, from the first, as need at most `most_tiles` tiles."""
    # The newline row and sources of weight zero need no tile.
    tiles_T4 = np.where((weights_T4 != 0) & (indices_T4 < num_tiles * patches), indices_T4 // patches, -1)
    tiles, firsts = np.unique(tiles_T4, return_index=True)
    firsts = np.sort(firsts[tiles >= 0])
    stop = len(tiles_T4) if len(firsts) <= most_tiles else int(firsts[most_tiles]) // 4
    needed = np.unique(tiles_T4[:stop])
    needed = needed[needed >= 0] if (needed >= 0).any() else np.zeros(1, needed.dtype)  # one, if only newlines
    place_T4 = np.searchsorted(needed, tiles_T4[:stop])
    moved_T4 = place_T4 * patches + indices_T4[:stop] % patches
    is_newline_T4 = indices_T4[:stop] == num_tiles * patches
    moved_T4 = np.where(tiles_T4[:stop] >= 0, moved_T4, np.where(is_newline_T4, len(needed) * patches, 0))
    return Piece(start=0, stop=stop, tiles=needed, indices_T4=moved_T4.astype(np.int32), weights_T4=weights_T4[:stop])
