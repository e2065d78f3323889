"""The tables of rotary positions as weights of a graph. Axes: positions of the context, E head width."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ovexport.graphs.builder import GraphBuilder, Weight
from ovexport.model.attention import rotary_angles
from ovexport.model.config import LanguageConfig
from ovexport.precision.weights import TORCH_TYPES, bytes_of


def rotary_tables(builder: GraphBuilder, config: LanguageConfig, dtype: str) -> tuple[str, str]:
    """cos and sin [positions, E / 2], one row per position of the context; computed in float32 whatever the dtype."""
    half = config.head_dim // 2

    def pieces(which: int) -> Iterator[np.ndarray]:
        positions = torch.arange(config.max_positions)[None]
        table = rotary_angles(positions, config.head_dim, config.rope_theta, torch.float32)[which]
        yield bytes_of(table[0, 0, :, :half].to(TORCH_TYPES[dtype]))

    def weight(which: int) -> Weight:
        shape = (config.max_positions, half)
        return Weight(dtype=dtype, shape=shape, pieces=lambda: pieces(which))

    return builder.weight("rotary.cos", weight(0)), builder.weight("rotary.sin", weight(1))
