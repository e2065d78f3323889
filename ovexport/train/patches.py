"""The first minutes of ov-tiny: tower and projector learn to say, patch by patch, what lies there.

A tower that starts from nothing learns this in minutes from labels that the scene gives for free, and in hours from
answers alone (the published towers come trained). The heads that do the saying are thrown away.

Legend: N pictures, P patches of the base view, C channels, H and W pixels, 3 questions (colour, shape, place), D width.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from ovengines.bundle.manifest import Geometry
from ovexport.model import OneVision
from ovexport.train.scenes import COLOURS, PLACES, SHAPES, Scene, draw, scenes
from ovrun.tiling.tiles import squeeze_image

_TABLES: tuple[tuple[str, ...], ...] = (tuple(COLOURS), SHAPES, PLACES)
_ENOUGH = 0.2  # of the patch or of the thing must be covered for the patch to be called by the thing


class PatchHeads(nn.Module):
    """One linear classifier per question; class 0 is the background."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(hidden, len(table) + 1) for table in _TABLES)

    def loss(self, embeds_NPD: torch.Tensor, labels_NP3: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy; the colour is asked of every patch, shape and place only where there is a thing."""
        asked_NP = labels_NP3[..., 0] > 0
        colour, shape, place = self.heads
        losses = [F.cross_entropy(colour(embeds_NPD).flatten(0, 1), labels_NP3[..., 0].flatten())]
        losses += [
            F.cross_entropy(head(embeds_NPD[asked_NP]), labels_NP3[asked_NP][:, question])
            for question, head in ((1, shape), (2, place))
        ]
        return torch.stack(losses).sum()


def patch_labels(scene: Scene, geometry: Geometry) -> NDArray[np.int64]:
    """labels_P3 of the base view: (colour, shape, place) of the thing that covers most of a patch, counted from 1."""
    side, patch_px = geometry.patches_per_side, geometry.patch_size_px
    edges = np.arange(side + 1) * patch_px / geometry.image_size_px
    edges_x, edges_y = edges * scene.width_px, edges * scene.height_px
    labels_YX3 = np.zeros((side, side, 3), dtype=np.int64)
    best_YX = np.full((side, side), _ENOUGH)
    patch_area = (edges_x[1] - edges_x[0]) * (edges_y[1] - edges_y[0])
    for thing in scene.things:
        cover_YX = np.outer(
            _overlap(edges_y, thing.y_px, thing.size_px), _overlap(edges_x, thing.x_px, thing.size_px)
        ) / min(patch_area, thing.size_px**2)
        names = (thing.colour, thing.shape, thing.place)
        here_YX = cover_YX > best_YX
        labels_YX3[here_YX] = [table.index(name) + 1 for table, name in zip(_TABLES, names, strict=True)]
        best_YX = np.maximum(best_YX, cover_YX)
    return labels_YX3.reshape(-1, 3)


def _overlap(edges_px: NDArray[np.float64], centre_px: float, size_px: float) -> NDArray[np.float64]:
    low, high = centre_px - size_px / 2, centre_px + size_px / 2
    return np.clip(np.minimum(edges_px[1:], high) - np.maximum(edges_px[:-1], low), 0, None)


def patch_batch(geometry: Geometry, seed: str, *, count: int, size: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Base views [N, C, H, W] of training scenes, and their labels [N, P, 3]."""
    picked = [scene for _, scene in islice(scenes(seed, held_out=False, size=size, max_things=len(PLACES)), count)]
    pixels = np.concatenate([squeeze_image(draw(scene), geometry) for scene in picked])
    labels = np.stack([patch_labels(scene, geometry) for scene in picked])
    return torch.from_numpy(pixels), torch.from_numpy(labels)


def patch_loss(
    model: OneVision, heads: PatchHeads, pixels_NCHW: torch.Tensor, labels_NP3: torch.Tensor
) -> torch.Tensor:
    return heads.loss(model.projector(model.vision_tower(pixels_NCHW)), labels_NP3)
