"""Pixels of the views that the vision tower sees: base view and tiles, or one padded view.

Knows Pillow and NumPy, nothing of tokens or engines. Bit-exact with transformers'
LlavaOnevisionImageProcessorPil for RGB images, which is bit-exact with LLaVA-NeXT's loader.

Axes: T tiles (the base view first), C channels, H and W pixels of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovengines.bundle.manifest import Geometry
from ovengines.errors import ExitCode, OVError
from ovrun.tiling.grid import select_grid
from ovrun.tiling.resize import BICUBIC, resize_to_each
from ovrun.tiling.threads import for_each

MAX_SQUARE_SIDE_PX = 1 << 14  # resizing a padded square takes time by its area: one or two seconds at this side
STRIP_PX = 1 << 24  # pixels of the padded square that exist at a time; whole, a thin image's can be billions


def tile_image(image: Image.Image, geometry: Geometry) -> NDArray[np.float32]:
    """An RGB image as pixels_TCHW: the whole image squeezed into a square, then its grid's tiles row by row.

    The tiles keep the aspect ratio and stand centred on black; the base view does not (as in training).
    Raises OVError (BAD_INPUT) for another mode or an image without pixels.
    """
    _need_rgb(image)
    side_px = geometry.image_size_px
    rows, columns = select_grid(image.height, image.width, geometry)
    size_px = (image.height, image.width)
    top, left, height, width = place_on_canvas(*size_px, rows * side_px, columns * side_px)
    base_HWC, resized_HWC = resize_to_each(image, [(side_px, side_px), (width, height)])
    canvas_HWC = np.zeros((rows * side_px, columns * side_px, 3), dtype=np.uint8)
    canvas_HWC[top : top + height, left : left + width] = resized_HWC
    views_HWC = [base_HWC, *_cut(canvas_HWC, side_px)]
    pixels_TCHW = np.empty((1 + rows * columns, 3, side_px, side_px), dtype=np.float32)
    levels_CL = _levels(geometry.rescale_factor, geometry.image_mean, geometry.image_std)

    def normalise(tile: int) -> None:
        _normalise(views_HWC[tile], levels_CL, pixels_TCHW[tile])

    for_each(normalise, range(len(views_HWC)), pixels=canvas_HWC.size // 3)
    return pixels_TCHW


def pad_image(image: Image.Image, geometry: Geometry) -> NDArray[np.float32]:
    """An RGB image as pixels_1CHW: centred on a square of the mean colour, for prompts with several images.

    An image longer than MAX_SQUARE_SIDE_PX is reduced to that first (and is then no longer bit-exact, as nothing
    else here). Raises OVError (BAD_INPUT) as `tile_image` does.
    """
    _need_rgb(image)
    if max(image.size) > MAX_SQUARE_SIDE_PX:
        scale = MAX_SQUARE_SIDE_PX / max(image.size)
        width_px, height_px = (max(1, round(px * scale)) for px in image.size)
        image = image.resize((width_px, height_px), BICUBIC)
    side_px = geometry.image_size_px
    red, green, blue = (int(mean * 255) for mean in geometry.image_mean)
    return _one_view(_padded_square(image, side_px, (red, green, blue)), geometry)


def squeeze_image(image: Image.Image, geometry: Geometry) -> NDArray[np.float32]:
    """An RGB image as pixels_1CHW, squeezed into a square without padding: a frame of a video.

    Raises OVError (BAD_INPUT) as `tile_image` does.
    """
    _need_rgb(image)
    (view_HWC,) = resize_to_each(image, [(geometry.image_size_px, geometry.image_size_px)])
    return _one_view(view_HWC, geometry)


def _one_view(view_HWC: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.float32]:
    pixels_1CHW = np.empty((1, 3, geometry.image_size_px, geometry.image_size_px), dtype=np.float32)
    levels_CL = _levels(geometry.rescale_factor, geometry.image_mean, geometry.image_std)
    _normalise(view_HWC, levels_CL, pixels_1CHW[0])
    return pixels_1CHW


def _need_rgb(image: Image.Image) -> None:
    if image.mode != "RGB":
        raise OVError(ExitCode.BAD_INPUT, f"tiling needs RGB, not mode {image.mode}", "convert the image to RGB")
    if image.height < 1 or image.width < 1:
        raise OVError(
            ExitCode.BAD_INPUT,
            f"an image of {image.height} x {image.width} px has no pixels",
            "use another image",
        )


def place_on_canvas(
    height_px: int, width_px: int, canvas_height_px: int, canvas_width_px: int
) -> tuple[int, int, int, int]:
    """(top, left, height, width) in px of an image that is resized to touch two sides of a canvas, centred on it."""
    scale_y, scale_x = canvas_height_px / height_px, canvas_width_px / width_px
    # The longer side is exact; the other one is rounded up, unlike in grid selection and unpadding.
    if scale_x < scale_y:
        width, height = canvas_width_px, min(math.ceil(height_px * scale_x), canvas_height_px)
    else:
        width, height = min(math.ceil(width_px * scale_y), canvas_width_px), canvas_height_px
    return (canvas_height_px - height) // 2, (canvas_width_px - width) // 2, height, width


def _cut(canvas_HWC: NDArray[np.uint8], side_px: int) -> Iterator[NDArray[np.uint8]]:
    """The canvas's squares, row by row."""
    for top in range(0, len(canvas_HWC), side_px):
        for left in range(0, canvas_HWC.shape[1], side_px):
            yield canvas_HWC[top : top + side_px, left : left + side_px]


def _padded_square(image: Image.Image, side_px: int, colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """view_HWC: the image centred on a square of `colour`, resized to `side_px`, without ever holding the whole square.

    The width is resized first and the height second, so the former may be done strip by strip; rows of one colour keep
    it.
    """
    square_px = max(image.size)
    top, left = (square_px - image.height) // 2, (square_px - image.width) // 2
    narrow_HWC = np.full((square_px, side_px, 3), colour, dtype=np.uint8)
    strip_rows = max(1, STRIP_PX // square_px)
    for y in range(0, image.height, strip_rows):
        rows = min(strip_rows, image.height - y)
        strip = Image.new("RGB", (square_px, rows), colour)
        strip.paste(image.crop((0, y, image.width, y + rows)), (left, 0))
        (narrow_HWC[top + y : top + y + rows],) = resize_to_each(strip, [(side_px, rows)])
    (view_HWC,) = resize_to_each(Image.fromarray(narrow_HWC), [(side_px, side_px)])
    return view_HWC


@lru_cache(maxsize=8)
def _levels(
    rescale_factor: float, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> NDArray[np.float32]:
    """The normalised value of each channel's 256 levels, levels_CL, in transformers' float operations."""
    rescaled_L = (np.arange(256, dtype=np.float64) * rescale_factor).astype(np.float32)
    mean_C1, std_C1 = np.array(mean, dtype=np.float32)[:, None], np.array(std, dtype=np.float32)[:, None]
    levels_CL: NDArray[np.float32] = (rescaled_L[None, :] - mean_C1) / std_C1
    return levels_CL


def _normalise(view_HWC: NDArray[np.uint8], levels_CL: NDArray[np.float32], out_CHW: NDArray[np.float32]) -> None:
    for channel, levels_L in enumerate(levels_CL):
        np.take(levels_L, view_HWC[..., channel], out=out_CHW[channel], mode="clip")
