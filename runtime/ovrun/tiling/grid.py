"""Which grid of tiles an image is cut into: the any-resolution choice of LLaVA-OneVision.

Knows sizes and the pinpoint list only, no pixels and no tokens. Used by `tiles` (pixels) and `plan` (tokens),
so that both always agree.
"""

from __future__ import annotations

from ovengines.bundle.manifest import Geometry
from ovengines.errors import ExitCode, OVError


def select_grid(height_px: int, width_px: int, geometry: Geometry) -> tuple[int, int]:
    """The (rows, columns) of tiles for an image of this size.

    The pinpoint that keeps most of the image's own pixels wins, then the one that wastes least canvas; of
    equals the first in the list. Float64 products truncated to whole pixels, as in transformers
    `image_processing_utils.select_best_resolution` and LLaVA-NeXT `mm_utils.py`: rounding differently changes
    the grid of some sizes. (The paper, section 3.2, says "fewest crops"; the released code does this.) Raises
    OVError: BAD_INPUT for a side below 1 px, BUNDLE_INVALID for pinpoints that are not whole tiles.
    """
    if height_px < 1 or width_px < 1:
        raise OVError(ExitCode.BAD_INPUT, f"an image of {height_px} x {width_px} px has no pixels", "use another image")
    best: tuple[int, int] | None = None
    most_effective_px, least_wasted_px = -1, 0
    for target_height_px, target_width_px in geometry.grid_pinpoints:
        scale = min(target_width_px / width_px, target_height_px / height_px)
        resized_px = int(width_px * scale) * int(height_px * scale)
        effective_px = min(resized_px, width_px * height_px)
        wasted_px = target_width_px * target_height_px - effective_px
        if (effective_px, -wasted_px) > (most_effective_px, -least_wasted_px):
            most_effective_px, least_wasted_px = effective_px, wasted_px
            best = target_height_px, target_width_px
    return _whole_tiles(best, geometry)


def _whole_tiles(size_px: tuple[int, int] | None, geometry: Geometry) -> tuple[int, int]:
    """A pinpoint of pixels as tiles."""
    side_px = geometry.image_size_px
    if size_px is None or any(px < side_px or px % side_px for px in size_px):
        shown = "none" if size_px is None else f"{size_px[0]} x {size_px[1]} px"
        raise OVError(
            ExitCode.BUNDLE_INVALID,
            f"grid pinpoint {shown} is not a whole number of {side_px} px tiles",
            "build the bundle again from a checkpoint with a sound image_grid_pinpoints",
        )
    return size_px[0] // side_px, size_px[1] // side_px
