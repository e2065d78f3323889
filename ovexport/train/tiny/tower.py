"""The stand-in for a published SigLIP: a tower from nothing that learns to say what lies under each half of a patch.

The drawings know what is where, so the labels are free; the heads that do the saying are thrown away. From answers
alone a tower of this size does not learn to see (docs/log.md).

Legend: N views, P patches of a view, 2 halves (left, right) of a patch, C channels, H and W pixels, M marks, D width.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from ovengines.bundle.manifest import Geometry
from ovexport.model import VisionTower
from ovexport.train.drawn.family import Mark
from ovexport.train.drawn.kinds import KINDS
from ovexport.train.drawn.scene import COLOURS, SHAPES
from ovrun.tiling.grid import select_grid
from ovrun.tiling.tiles import squeeze_image, tile_image

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-="
WHATS = (*SHAPES, "bar", *CHARACTERS)
_COLOUR_INDEX = {name: number for number, name in enumerate(COLOURS, 1)}
_WHAT_INDEX = {name: number for number, name in enumerate(WHATS, 1)}
_ENOUGH = 0.3  # of the half patch, or of the thing if that is smaller, must be covered
_SMALLEST_SCALE = 0.45  # of a picture in a view: below it, its characters are specks
_VIEWS_PER_PICTURE = 3

Box = tuple[float, float, float, float]  # x, y of the view's corner in the picture; picture pixels per view pixel, x, y


class PatchHeads(nn.Module):
    """Two linear classifiers on each half of a patch; class 0 is the background."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.what = nn.Linear(hidden, 2 * (len(WHATS) + 1))
        self.colour = nn.Linear(hidden, 2 * (len(COLOURS) + 1))

    def loss(self, features_NPD: torch.Tensor, labels_NP22: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of what is there, over all halves and over those that are covered; and of their colour."""
        what, colour = (head(features_NPD).unflatten(-1, (2, -1)) for head in (self.what, self.colour))
        covered_NP2 = labels_NP22[..., 0] > 0
        everywhere = F.cross_entropy(what.flatten(0, 2), labels_NP22[..., 0].flatten())
        if not covered_NP2.any():
            return everywhere
        return (
            everywhere
            + F.cross_entropy(what[covered_NP2], labels_NP22[covered_NP2][:, 0])
            + 0.5 * F.cross_entropy(colour[covered_NP2], labels_NP22[covered_NP2][:, 1])
        )


def view_boxes(height_px: int, width_px: int, geometry: Geometry) -> list[Box]:
    """Where the base view and the tiles of a picture lie in it, in the order of `tile_image`."""
    side_px = geometry.image_size_px
    rows, columns = select_grid(height_px, width_px, geometry)
    scale = min(columns * side_px / width_px, rows * side_px / height_px)
    left, top = (columns * side_px - width_px * scale) / 2, (rows * side_px - height_px * scale) / 2
    boxes: list[Box] = [(0.0, 0.0, width_px / side_px, height_px / side_px)]
    for row in range(rows):
        for column in range(columns):
            boxes.append(((column * side_px - left) / scale, (row * side_px - top) / scale, 1 / scale, 1 / scale))
    return boxes


def half_patch_labels(marks: Sequence[Mark], box: Box, geometry: Geometry) -> NDArray[np.int64]:
    """labels_P22 of one view: (what, colour) of the mark that covers most of each half of each patch."""
    side, patch_px = geometry.patches_per_side, geometry.patch_size_px
    x0, y0, scale_x, scale_y = box
    x_edges = x0 + np.arange(2 * side + 1) * (patch_px / 2 * scale_x)
    y_edges = y0 + np.arange(side + 1) * (patch_px * scale_y)
    area = (x_edges[1] - x_edges[0]) * (y_edges[1] - y_edges[0])
    labels_YX2 = np.zeros((side, 2 * side, 2), dtype=np.int64)
    best_YX = np.full((side, 2 * side), _ENOUGH)
    for mark in marks:
        across_X = _overlap(x_edges, mark.x0_px, mark.x1_px)
        down_Y = _overlap(y_edges, mark.y0_px, mark.y1_px)
        own_area = max(1e-6, (mark.x1_px - mark.x0_px) * (mark.y1_px - mark.y0_px))
        cover_YX = np.outer(down_Y, across_X) / min(area, own_area)
        labels_YX2[cover_YX > best_YX] = _WHAT_INDEX[mark.what], _COLOUR_INDEX[mark.colour]
        best_YX = np.maximum(best_YX, cover_YX)
    return labels_YX2.reshape(side * side, 2, 2)


def _overlap(edges: NDArray[np.floating], low: float, high: float) -> NDArray[np.float64]:
    return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)


def tower_batch(
    kinds: Sequence[str], geometry: Geometry, seed: str, num_views: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Views [N, C, H, W] of training drawings, and their labels [N, P, 2, 2]: a pure function of the arguments."""
    rng = random.Random(seed)
    pixels: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int64]] = []
    while len(pixels) < num_views:
        drawing = KINDS[rng.choice(kinds)].draw(rng, held_out=False)
        pictures = list(zip(drawing.images or drawing.frames, drawing.marks, strict=True))
        image, marks = rng.choice(pictures)
        boxes = view_boxes(image.height, image.width, geometry)
        alone = len(boxes) == 2  # one tile: all but the base view
        tiles = squeeze_image(image, geometry) if alone else tile_image(image, geometry)
        usable = [n for n, box in enumerate(boxes[: len(tiles)]) if 1 / max(box[2:]) > _SMALLEST_SCALE]
        for number in rng.sample(usable, min(_VIEWS_PER_PICTURE, len(usable))):
            pixels.append(tiles[number])
            labels.append(half_patch_labels(marks, boxes[number], geometry))
    return torch.from_numpy(np.stack(pixels[:num_views])), torch.from_numpy(np.stack(labels[:num_views]))


def tower_loss(
    tower: VisionTower, heads: PatchHeads, pixels_NCHW: torch.Tensor, labels_NP22: torch.Tensor
) -> torch.Tensor:
    return heads.loss(tower(pixels_NCHW), labels_NP22)
