"""An image or a video as the tower sees it: any-resolution tiles of an image alone, one padded view of an image among
several, one squeezed view of each frame of a video.

Joins the two sides of tiling (pixels and token plan) so that they can't disagree. Knows no engine.

Axes: T tiles, C channels, H W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovengines.bundle.manifest import Geometry
from ovengines.errors import ExitCode, OVError
from ovrun.tiling.plan import TokenPlan, plan_frame, plan_image, plan_single_view, plan_video
from ovrun.tiling.tiles import pad_image, squeeze_image, tile_image


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """The tiles of one image or video, and how their features become visual tokens."""

    pixels_TCHW: NDArray[np.float32]
    plan: TokenPlan


def make_view(image: Image.Image, geometry: Geometry, *, alone: bool) -> View:
    """Tiles and plan of an RGB image; `alone` as in training: only a prompt's sole image is tiled."""
    if alone:
        plan = plan_image(image.height, image.width, geometry)
        return View(pixels_TCHW=tile_image(image, geometry), plan=plan)
    return View(pixels_TCHW=pad_image(image, geometry), plan=plan_single_view(geometry))


def make_frame_view(frame: Image.Image, geometry: Geometry) -> View:
    """One RGB frame of a video, without the newline that ends the video."""
    return View(pixels_TCHW=squeeze_image(frame, geometry), plan=plan_frame(geometry))


def make_video_view(frames: Iterable[Image.Image], geometry: Geometry) -> View:
    """Tiles and plan of the RGB frames of one clip, read one after the other; at least one, or OVError (BAD_INPUT)."""
    tiles = [squeeze_image(frame, geometry) for frame in frames]
    plan = plan_video(len(tiles), geometry)
    return View(pixels_TCHW=np.concatenate(tiles), plan=plan)


def cap_tiles(geometry: Geometry, max_tiles: int) -> Geometry:
    """The geometry with grids of at most `max_tiles` tiles beside the base view; not what the model was trained with.

    Raises:
        OVError: USAGE when no grid is that small.
    """
    tile_px = geometry.image_size_px**2
    kept = tuple(size for size in geometry.grid_pinpoints if size[0] * size[1] <= max_tiles * tile_px)
    if not kept:
        smallest = min(height * width // tile_px for height, width in geometry.grid_pinpoints)
        raise OVError(ExitCode.USAGE, f"no grid has at most {max_tiles} tiles", f"give at least {smallest}")
    return dataclasses.replace(geometry, grid_pinpoints=kept)
