"""The token plan: every visual token as a weighted sum of at most four rows of [features ; newline].

Knows geometry and sizes, no pixels and no features. Everything irregular of LLaVA-OneVision (stitching tiles,
removing padding, the token cap, newlines, video pooling) ends here as two small arrays that any engine applies.

Axes: T tokens, 4 sources of a token, R source rows = tiles * P * P patches + 1 newline; P patches along a tile's side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovengines.bundle.manifest import Geometry
from ovengines.errors import ExitCode, OVError
from ovrun.tiling.grid import select_grid

SOURCES = 4  # bilinear: two rows times two columns
REDUCE_ABOVE = 1.1  # sides may exceed the cap by this factor before the map is reduced (transformers modeling file)

# What truncation makes of a size; the two differ for about 26 in a million of all sizes, by up to 218 tokens.
_UNPAD_ROUNDING: dict[str, Callable[[float], int]] = {
    "hf": lambda size: int(round(size, 7)),  # huggingface/transformers#35779
    "llava": int,
}
_Axis = tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]  # first source, second source, weight of the second


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenPlan:
    """Which source rows, with which weights, make each visual token.

    A source row is `tile * P*P + y * P + x` for a patch, and `num_tiles * P*P` for the newline. A token of
    one source has weights (1, 0, 0, 0) and names that same row four times, so no engine reads a row that the
    token does not use. grid is (rows, columns) of tiles beside the base view and map_size the (rows, columns)
    of tokens behind it; both are (0, 0) where there is no such thing.
    """

    indices_T4: NDArray[np.int32]
    weights_T4: NDArray[np.float32]
    num_tiles: int
    patches_per_tile: int
    grid: tuple[int, int]
    map_size: tuple[int, int]

    def __post_init__(self) -> None:
        indices, weights = self.indices_T4, self.weights_T4
        if indices.dtype != np.int32 or weights.dtype != np.float32:
            raise TypeError(f"a plan is int32 and float32, not {indices.dtype} and {weights.dtype}")
        if indices.ndim != 2 or indices.shape[1] != SOURCES or indices.shape != weights.shape:
            raise ValueError(f"a plan is [T,4] and [T,4], not {indices.shape} and {weights.shape}")
        # Engines take index -1 as the last row without a word, so nothing out of range may leave this file.
        if indices.size and (indices.min() < 0 or indices.max() >= self.num_rows):
            raise IndexError(f"plan indices {indices.min()}..{indices.max()} leave 0..{self.num_rows - 1}")

    @property
    def num_tokens(self) -> int:
        return len(self.indices_T4)

    @property
    def newline_row(self) -> int:
        return self.num_tiles * self.patches_per_tile

    @property
    def num_rows(self) -> int:
        """R: the source rows that the plan expects, newline included."""
        return self.newline_row + 1


@dataclass(frozen=True, kw_only=True)
class _GridMap:
    """The stitched map of a grid: what unpadding keeps of it, and the size that the cap reduces that to."""

    grid: tuple[int, int]
    top: int
    left: int
    kept: tuple[int, int]
    final: tuple[int, int]


def plan_image(height_px: int, width_px: int, geometry: Geometry) -> TokenPlan:
    """The plan of one image alone (any resolution): base view of P*P tokens, then the grid, a newline per row.

    Height and width are the image's own, before any resizing. Tile 0 is the base view, then the grid row by
    row. Same numbers as transformers `LlavaOnevisionModel.pack_image_features`. Raises OVError as
    `select_grid` does, and BAD_INPUT where the token cap would leave an image without rows (transformers
    fails there too).
    """
    side = geometry.patches_per_side
    patches = side * side
    grid_map = _grid_map(height_px, width_px, geometry)
    (tile_rows, tile_columns), (rows, columns) = grid_map.grid, grid_map.final
    num_tiles = 1 + tile_rows * tile_columns
    indices_T4, weights_T4 = _empty(_num_tokens(grid_map, patches), newline_row=num_tiles * patches)
    indices_T4[:patches] = np.arange(patches, dtype=np.int32)[:, None]
    y_first, y_second, y_weight = _bilinear_axis(grid_map.kept[0], rows)
    x_first, x_second, x_weight = _bilinear_axis(grid_map.kept[1], columns)
    # A patch's row is a part of its map row plus a part of its map column, so the 2-D plan is an outer sum.
    map_y = np.arange(grid_map.top, grid_map.top + grid_map.kept[0], dtype=np.int32)
    map_x = np.arange(grid_map.left, grid_map.left + grid_map.kept[1], dtype=np.int32)
    of_y = patches + (map_y // side) * (tile_columns * patches) + (map_y % side) * side
    of_x = (map_x // side) * patches + map_x % side
    # The last column of every row is left as the newline that _empty put there.
    indices_RC4 = indices_T4[patches:].reshape(rows, columns + 1, SOURCES)[:, :columns]
    weights_RC4 = weights_T4[patches:].reshape(rows, columns + 1, SOURCES)[:, :columns]
    _fill_outer(
        indices_RC4,
        weights_RC4,
        (of_y[y_first], of_y[y_second], y_weight),
        (of_x[x_first], of_x[x_second], x_weight),
    )
    return TokenPlan(
        indices_T4=indices_T4,
        weights_T4=weights_T4,
        num_tiles=num_tiles,
        patches_per_tile=patches,
        grid=grid_map.grid,
        map_size=grid_map.final,
    )


def plan_single_view(geometry: Geometry) -> TokenPlan:
    """The plan of one image among several: its one padded view, P*P tokens and one newline at the end.

    Padding is not removed (LLaVA-NeXT `mm_utils.py` and transformers agree; the paper's appendix C.1 says
    otherwise).
    """
    side = geometry.patches_per_side
    indices_T4, weights_T4 = _empty(side * side + 1, newline_row=side * side)
    indices_T4[:-1] = np.arange(side * side, dtype=np.int32)[:, None]
    return TokenPlan(
        indices_T4=indices_T4,
        weights_T4=weights_T4,
        num_tiles=1,
        patches_per_tile=side * side,
        grid=(0, 0),
        map_size=(side, side),
    )


def plan_flat(geometry: Geometry) -> TokenPlan:
    """The plan of one view as P*P tokens without a newline: `mm_patch_merge_type` flat, as in stage 1 of training."""
    return first_tokens(plan_single_view(geometry), geometry.patches_per_side**2)


def plan_video(num_frames: int, geometry: Geometry) -> TokenPlan:
    """The plan of a video: every frame reduced bilinearly to ceil(P/2) squared tokens, one newline at the very end.

    A frame is one tile. Same numbers as transformers `LlavaOnevisionModel.apply_pooling`. Raises OVError
    (BAD_INPUT) for a video without frames.
    """
    if num_frames < 1:
        raise OVError(ExitCode.BAD_INPUT, f"a video of {num_frames} frames has nothing to see", "use another video")
    side = geometry.patches_per_side
    pooled = math.ceil(side / 2)
    newline_row = num_frames * side * side
    indices_T4, weights_T4 = _empty(num_frames * pooled * pooled + 1, newline_row=newline_row)
    first, second, weight = _bilinear_axis(side, pooled)
    frame_start = np.arange(num_frames, dtype=np.int32)[:, None] * (side * side)
    y_first, y_second = ((frame_start + y * side).reshape(-1) for y in (first, second))
    _fill_outer(
        indices_T4[:-1].reshape(num_frames * pooled, pooled, SOURCES),
        weights_T4[:-1].reshape(num_frames * pooled, pooled, SOURCES),
        (y_first, y_second, np.tile(weight, num_frames)),
        (first, second, weight),
    )
    return TokenPlan(
        indices_T4=indices_T4,
        weights_T4=weights_T4,
        num_tiles=num_frames,
        patches_per_tile=side * side,
        grid=(0, 0),
        map_size=(pooled, pooled),
    )


def plan_frame(geometry: Geometry) -> TokenPlan:
    """The plan of one frame of a video, without the newline that ends the video."""
    return first_tokens(plan_video(1, geometry), math.ceil(geometry.patches_per_side / 2) ** 2)


def plan_newline(geometry: Geometry) -> TokenPlan:
    """The newline alone, behind one tile whose features do not matter."""
    patches = geometry.patches_per_side**2
    indices_T4, weights_T4 = _empty(1, newline_row=patches)
    return TokenPlan(
        indices_T4=indices_T4,
        weights_T4=weights_T4,
        num_tiles=1,
        patches_per_tile=patches,
        grid=(0, 0),
        map_size=(0, 0),
    )


def count_image_tokens(height_px: int, width_px: int, geometry: Geometry) -> int:
    """How many tokens `plan_image` of the same arguments has, without making it. Raises as it does."""
    return _num_tokens(_grid_map(height_px, width_px, geometry), geometry.patches_per_side**2)


def first_tokens(plan: TokenPlan, num_tokens: int) -> TokenPlan:
    """The plan without what comes after `num_tokens` tokens; its tiles stay, used or not."""
    return replace(plan, indices_T4=plan.indices_T4[:num_tokens], weights_T4=plan.weights_T4[:num_tokens])


def shift(plan: TokenPlan, first_tile: int, num_tiles: int | None = None) -> TokenPlan:
    """The same tokens, from features in which the plan's tiles start at `first_tile` of `num_tiles` in all.

    Without `num_tiles` the plan's own tiles are the last. Raises ValueError when the tiles do not fit.
    """
    total = first_tile + plan.num_tiles if num_tiles is None else num_tiles
    return retarget(plan, range(first_tile, first_tile + plan.num_tiles), total)


def retarget(plan: TokenPlan, tile_of: Sequence[int], num_tiles: int) -> TokenPlan:
    """The same tokens, with tile t's features found at tile `tile_of[t]` of `num_tiles`.

    Several tiles may point at one, so that identical tiles are encoded once. Raises ValueError for a tile outside.
    """
    if len(tile_of) != plan.num_tiles or not all(0 <= tile < num_tiles for tile in tile_of):
        raise ValueError(f"tiles {list(tile_of)} do not map {plan.num_tiles} tiles onto {num_tiles}")
    starts = np.asarray([*tile_of, num_tiles], dtype=np.int32) * np.int32(plan.patches_per_tile)
    tile_T4, patch_T4 = np.divmod(plan.indices_T4, np.int32(plan.patches_per_tile))
    return TokenPlan(
        indices_T4=starts[tile_T4] + patch_T4,
        weights_T4=plan.weights_T4,
        num_tiles=num_tiles,
        patches_per_tile=plan.patches_per_tile,
        grid=plan.grid,
        map_size=plan.map_size,
    )


def concat(plans: Sequence[TokenPlan]) -> TokenPlan:
    """Several media as one plan over one features array: tiles and tokens in the order given, one newline row.

    The result has no grid or map of its own. Raises ValueError for no plans, or for plans of different tile sizes.
    """
    if len({plan.patches_per_tile for plan in plans}) != 1:
        raise ValueError("concat needs at least one plan, all of the same patches per tile")
    num_tiles = sum(plan.num_tiles for plan in plans)
    shifted, first_tile = [], 0
    for plan in plans:
        shifted.append(shift(plan, first_tile, num_tiles))
        first_tile += plan.num_tiles
    return TokenPlan(
        indices_T4=np.concatenate([plan.indices_T4 for plan in shifted]),
        weights_T4=np.concatenate([plan.weights_T4 for plan in shifted]),
        num_tiles=num_tiles,
        patches_per_tile=plans[0].patches_per_tile,
        grid=(0, 0),
        map_size=(0, 0),
    )


def _grid_map(height_px: int, width_px: int, geometry: Geometry) -> _GridMap:
    """Unpadding and the token cap, in the arithmetic of transformers `unpad_image` and `pack_image_features`."""
    grid = select_grid(height_px, width_px, geometry)
    side = geometry.patches_per_side
    map_height, map_width = grid[0] * side, grid[1] * side
    whole = _UNPAD_ROUNDING.get(geometry.unpad_rounding)
    if whole is None:
        raise OVError(
            ExitCode.BUNDLE_INVALID,
            f"unpad_rounding {geometry.unpad_rounding!r} is none of {', '.join(_UNPAD_ROUNDING)}",
            "build the bundle again",
        )
    top = left = 0
    if width_px / height_px > map_width / map_height:
        top = (map_height - whole(height_px * (map_width / width_px))) // 2
    else:
        left = (map_width - whole(width_px * (map_height / height_px))) // 2
    # Cropping is symmetric, so an odd row or column of padding stays; an even map may lose all of them.
    kept = map_height - 2 * top, map_width - 2 * left
    return _GridMap(grid=grid, top=top, left=left, kept=kept, final=_capped(kept, geometry))


def _capped(kept: tuple[int, int], geometry: Geometry) -> tuple[int, int]:
    """The map after the cap of `anyres_max_N`: N views of tokens with 21 % slack, newlines not counted."""
    if geometry.max_tiles is None:
        return kept
    ratio = math.sqrt(kept[0] * kept[1] / (geometry.max_tiles * geometry.patches_per_side**2))
    if ratio <= REDUCE_ABOVE:
        return kept
    final = int(kept[0] // ratio), int(kept[1] // ratio)
    if 0 in final:
        raise OVError(
            ExitCode.BAD_INPUT,
            f"the image is too thin: its {kept[0]} x {kept[1]} tokens do not reduce to {geometry.max_tiles} tiles",
            "crop the image, or allow more tiles with --max-tiles",
        )
    return final


def _num_tokens(grid_map: _GridMap, patches: int) -> int:
    rows, columns = grid_map.final
    return patches + rows * (columns + 1)


def _empty(num_tokens: int, newline_row: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """A plan in which every token is the newline."""
    indices_T4 = np.full((num_tokens, SOURCES), newline_row, dtype=np.int32)
    weights_T4 = np.zeros((num_tokens, SOURCES), dtype=np.float32)
    weights_T4[:, 0] = 1
    return indices_T4, weights_T4


def _bilinear_axis(size_in: int, size_out: int) -> _Axis:
    """First and second source of each output position along one axis, and the weight of the second.

    torch.nn.functional.interpolate(mode="bilinear", align_corners=False, antialias=False), in its arithmetic.
    """
    if size_in == size_out:
        same = np.arange(size_in)
        return same, same, np.zeros(size_in, dtype=np.float32)
    scale = np.float64(np.float32(size_in) / np.float32(size_out))
    # A float32 fused multiply-add: rounded once. Without the fusing, weights near 162 columns are 1e-5 off.
    position = np.maximum(scale * (np.arange(size_out) + 0.5) - 0.5, 0).astype(np.float32)
    first = np.minimum(position.astype(np.int64), size_in - 1)
    weight = np.clip(position - first.astype(np.float32), 0, 1).astype(np.float32)
    return first, np.where(weight > 0, np.minimum(first + 1, size_in - 1), first), weight


def _fill_outer(
    indices_YX4: NDArray[np.int32],
    weights_YX4: NDArray[np.float32],
    y_axis: _Axis,
    x_axis: _Axis,
) -> None:
    """Write the outer sums of the axes' row numbers and the outer products of their weights."""
    ys = ((y_axis[0], 1 - y_axis[2]), (y_axis[1], y_axis[2]))
    xs = ((x_axis[0], 1 - x_axis[2]), (x_axis[1], x_axis[2]))
    source = 0
    for y_row, y_weight in ys:
        for x_row, x_weight in xs:
            np.add(y_row[:, None], x_row[None, :], out=indices_YX4[..., source], casting="same_kind")
            np.multiply(y_weight[:, None], x_weight[None, :], out=weights_YX4[..., source])
            source += 1
