"""How long an image or a video of a recipe may become, by the runtime's own planner.

The paper counts views; the sequence also has a newline per row, and the cap of anyres_max_9 lets sides exceed it by a
tenth. P: tokens along a view's side.
"""

from __future__ import annotations

from ovengines.bundle.manifest import Geometry
from ovexport.train.recipe.recipe import Recipe
from ovexport.train.recipe.rules import MAX_TILES
from ovexport.train.recipe.sizes import PATCH_PX, TILE_PX, patches_per_view
from ovrun.tiling.plan import count_image_tokens


def geometry(recipe: Recipe) -> Geometry:
    """As `ovexport.train.data.spec.training_geometry` has it, without a model to take it from (nor PyTorch)."""
    tile_px = TILE_PX[recipe.size]
    return Geometry(
        image_size_px=tile_px,
        patch_size_px=PATCH_PX,
        grid_pinpoints=tuple((tile_px * rows, tile_px * columns) for rows, columns in recipe.grid_pinpoints),
        max_tiles=MAX_TILES[recipe.aspect_ratio],
        unpad_rounding="hf",
    )


def most_image_tokens(recipe: Recipe) -> int:
    """Of one image, newlines included: the most among images that fill each grid but for 0..P-1 rows or columns."""
    if not recipe.grid_pinpoints:
        return patches_per_view(recipe.size)
    spec, tile_px = geometry(recipe), TILE_PX[recipe.size]
    trims_px = [PATCH_PX * number for number in range(spec.patches_per_side)]
    sizes_px = {
        size_px
        for rows, columns in recipe.grid_pinpoints
        for trim_px in trims_px
        for size_px in (
            (rows * tile_px - trim_px, columns * tile_px),
            (rows * tile_px, columns * tile_px - trim_px),
        )
    }
    return max(count_image_tokens(height_px, width_px, spec) for height_px, width_px in sizes_px)


def most_video_tokens(recipe: Recipe) -> int:
    """Each frame pooled to ceil(P/2) squared, one newline at the end."""
    side = TILE_PX[recipe.size] // PATCH_PX
    return recipe.max_frames * ((side + 1) // 2) ** 2 + 1
