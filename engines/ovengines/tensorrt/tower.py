"""Encodes tiles with the vision engine, as many in a run as its profile takes.

Axes: N tiles, C channels, H W pixels, P patches of a tile, D width.
"""

from __future__ import annotations

import numpy as np

from ovengines.bundle.manifest import ModelSpec
from ovengines.engine import Float32
from ovengines.tensorrt.backend import Device, Plan


class Tower:
    """A loaded vision engine with the memory for its inputs and outputs."""

    def __init__(self, device: Device, plan: Plan, model: ModelSpec, most_tiles: int) -> None:
        side = model.geometry.image_size_px
        self._tile_shape = (model.geometry.patches_per_side**2, model.vision_hidden)
        self._most_tiles = most_tiles
        self._device = device
        self._scratch = device.allocate(plan.scratch_bytes)
        self._executor = plan.executor(0, self._scratch)
        self._pixels = device.allocate(4 * most_tiles * 3 * side * side)
        self._features = device.allocate(4 * most_tiles * self._tile_shape[0] * self._tile_shape[1])
        self._executor.bind("pixel_values", self._pixels.address)
        self._executor.bind("features", self._features.address)

    def encode(self, pixels_NCHW: Float32) -> Float32:
        """Features [N, P, D]."""
        features_NPD = np.empty((len(pixels_NCHW), *self._tile_shape), np.float32)
        for start in range(0, len(pixels_NCHW), self._most_tiles):
            batch = np.ascontiguousarray(pixels_NCHW[start : start + self._most_tiles], np.float32)
            self._device.upload(self._pixels.address, batch)
            self._executor.set_shape("pixel_values", batch.shape)
            self._executor.enqueue()
            self._device.download(features_NPD[start : start + len(batch)], self._features.address)
            self._device.synchronize()
        return features_NPD
