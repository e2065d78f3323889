"""What every contestant is given: the same tiles and tokens, made from a seed wherever they are needed.

Needs NumPy alone, as it runs in every peer's environment. Axes: N tiles, C channels, H W pixels, S tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TILE_PX = 384
FIRST_ID, LAST_ID = 10, 900  # ordinary words of the embedded model's tokenizer, which random checkpoints have


def random_ids(tokens: int, seed: int = 0) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(FIRST_ID, LAST_ID, tokens)]


def random_tiles(tiles: int, side_px: int = TILE_PX) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((tiles, 3, side_px, side_px), np.float32)
