"""A picture of any size to measure with: gradients, shapes and noise, so that tiles differ from one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_picture(path: Path, width_px: int, height_px: int) -> Path:
    y_HW, x_HW = np.mgrid[0:height_px, 0:width_px]
    channels = [127 + 127 * np.sin(x_HW / 37), 127 + 127 * np.cos(y_HW / 53), (x_HW * y_HW) % 256]
    noise_HWC = np.random.default_rng(0).integers(0, 16, (height_px, width_px, 3))
    pixels_HWC = np.clip(np.stack(channels, -1) + noise_HWC, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels_HWC).save(path, quality=90) if path.suffix == ".jpg" else Image.fromarray(pixels_HWC).save(
        path
    )
    return path
