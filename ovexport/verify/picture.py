"""A picture to test with: drawn, so that nothing is shipped, but with the statistics of a photograph in miniature.

Smooth gradients, sharp edges, texture and noise: a network that mixes up rows, columns, channels or tiles shows it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def draw_picture(height_px: int, width_px: int, seed: int) -> Image.Image:
    """An RGB picture of sky, sun, hills, house and grass; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    y_HW, x_HW = np.mgrid[0 : 1 : height_px * 1j, 0 : 1 : width_px * 1j]
    canvas_HWC = _sky(y_HW)
    _paint(canvas_HWC, (x_HW - 0.78) ** 2 + (y_HW - 0.2) ** 2 < 0.012, (1.0, 0.88, 0.45))
    for base, colour in ((0.50, (0.34, 0.45, 0.52)), (0.60, (0.26, 0.42, 0.30))):
        phase, waves = rng.uniform(0, 2 * np.pi), rng.uniform(4, 9)
        _paint(canvas_HWC, y_HW > base + 0.06 * np.sin(waves * x_HW + phase), colour)
    _paint(canvas_HWC, (abs(x_HW - 0.3) < 0.13) & (abs(y_HW - 0.68) < 0.13), (0.78, 0.30, 0.24))
    _paint(canvas_HWC, (y_HW > 0.38) & (abs(x_HW - 0.3) < 0.9 * (y_HW - 0.38)) & (y_HW < 0.56), (0.35, 0.20, 0.18))
    _paint(canvas_HWC, (abs(x_HW - 0.33) < 0.03) & (abs(y_HW - 0.66) < 0.05), (0.95, 0.92, 0.70))
    grass_HW = (y_HW > 0.8) * 0.12 * np.sin(90 * x_HW + 14 * np.sin(31 * y_HW))
    canvas_HWC += grass_HW[..., None] + rng.normal(0, 0.025, canvas_HWC.shape)
    return Image.fromarray((canvas_HWC.clip(0, 1) * 255).round().astype(np.uint8))


def _sky(y_HW: NDArray[np.float64]) -> NDArray[np.float64]:
    top_C, bottom_C = np.array([0.30, 0.52, 0.86]), np.array([0.93, 0.80, 0.70])
    return top_C + (bottom_C - top_C) * y_HW[..., None]


def _paint(canvas_HWC: NDArray[np.float64], where_HW: NDArray[np.bool_], colour: tuple[float, float, float]) -> None:
    canvas_HWC[where_HW] = colour
