"""Encodes tiles with the vision engine, as many in a run as its profile takes.

Axes: N tiles, C channels, H W pixels, P patches of a tile, D width.
"""

from __future__ import annotations

import numpy as np

from ovengines.bundle.manifest import ModelSpec
from ovengines.engine import Float32
from ovengines.tensorrt.backend import Device, Plan
from ovengines.tensorrt.staged import StagedTensor


class Tower:
    """A loaded vision engine with the memory for its inputs and outputs."""

    def __init__(self, device: Device, plan: Plan, model: ModelSpec, most_tiles: int) -> None:
        side, patches = model.geometry.image_size_px, model.geometry.patches_per_side**2
        self._most_tiles, self._device = most_tiles, device
        self._scratch = device.allocate(plan.scratch_bytes)
        self._executor = plan.executor(0, self._scratch)
        self._pixels = StagedTensor(device, self._executor, "pixel_values", (most_tiles, 3, side, side))
        self._features = StagedTensor(device, self._executor, "features", (most_tiles, patches, model.vision_hidden))

    def encode(self, pixels_NCHW: Float32) -> Float32:
        """Features [N, P, D], the caller's own."""
        features_NPD = np.empty((len(pixels_NCHW), *self._features.host.shape[1:]), np.float32)
        for start in range(0, len(pixels_NCHW), self._most_tiles):
            count = min(self._most_tiles, len(pixels_NCHW) - start)
            self._pixels.host[:count] = pixels_NCHW[start : start + count]
            self._pixels.send(count)
            self._executor.enqueue()
            self._features.fetch(count)
            self._device.synchronize()
            features_NPD[start : start + count] = self._features.host[:count]
        return features_NPD
