"""Any Pillow mode as 8-bit RGB. Deeper pixels are scaled, not clipped as Pillow's own conversion does.

Knows modes and ranges of values, no files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovengines.errors import ExitCode, OVError

PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}  # Pillow converts these to their plain sisters only
DEEP_MODES = ("I", "F")
SCALE_HINT = "scale its pixels to 8 bits first"


def to_eight_bit(image: Image.Image, label: str, *, sixteen_bit: bool = False) -> Image.Image:
    """The image in mode RGB, itself if it is. Raises OVError (BAD_INPUT) for values that have no known white.

    `sixteen_bit` says that white is 65,535 even if no pixel of a 32-bit mode is bright.
    """
    if image.mode.startswith("I;16"):
        image = _grey(np.asarray(image).astype(np.uint16) >> 8)
    elif image.mode in DEEP_MODES:
        image = _grey(_scaled(image, label, sixteen_bit))
    elif image.mode in PREMULTIPLIED:
        image = image.convert(PREMULTIPLIED[image.mode])
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey(values_HW: NDArray[np.generic]) -> Image.Image:
    return Image.fromarray(values_HW.astype(np.uint8))


def _scaled(image: Image.Image, label: str, sixteen_bit: bool) -> NDArray[np.generic]:
    """32-bit and floating-point pixels: white is 1 (floats only), 255 or 65,535, the first that holds them all."""
    values_HW = np.asarray(image)
    low, high = values_HW.min(), values_HW.max()
    if not (low >= 0 and high <= 65_535):  # also false for NaN
        raise OVError(ExitCode.BAD_INPUT, f"{label} has pixel values outside 0 to 65,535", SCALE_HINT)
    if image.mode == "F" and high <= 1:
        return np.round(values_HW * 255)
    if high > 255 or sixteen_bit:
        return values_HW.astype(np.uint16) >> 8
    return np.round(values_HW)
