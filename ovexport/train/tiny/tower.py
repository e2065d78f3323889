"""The stand-in for a published SigLIP: a tower from nothing that learns to say what lies under each half of a patch.

The drawings know what is where, so the labels are free; the heads that do the saying are thrown away. From answers
alone a tower of this size does not learn to see (docs/log.md).

Legend: N views, P patches of a view, 2 halves (left, right) of a patch, 3 labels (what, colour, place), C channels, H
and W pixels, M marks, D width.
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
_RASTER = 3  # places of a view, to a side
_COLOUR_INDEX = {name: number for number, name in enumerate(COLOURS, 1)}
_WHAT_INDEX = {name: number for number, name in enumerate(WHATS, 1)}
_ENOUGH = 0.3  # of the half patch, or of the thing if that is smaller, must be covered
_SMALLEST_SCALE = 0.45  # of a picture in a view: below it, its characters are specks
_VIEWS_PER_PICTURE = 3

Box = tuple[float, float, float, float]  # x, y of the view's corner in the picture; picture pixels per view pixel, x, y


class PatchHeads(nn.Module):
    """Three linear classifiers on each half of a patch; class 0 is the background."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.what = nn.Linear(hidden, 2 * (len(WHATS) + 1))
        self.colour = nn.Linear(hidden, 2 * (len(COLOURS) + 1))
        self.place = nn.Linear(hidden, 2 * (_RASTER**2 + 1))

    def loss(self, features_NPD: torch.Tensor, labels_NP23: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of what is there, over all halves and over those that are covered; of its colour and place."""
        heads = ((self.what, 1.0), (self.colour, 0.5), (self.place, 0.5))
        covered_NP2 = labels_NP23[..., 0] > 0
        losses = [
            F.cross_entropy(self.what(features_NPD).unflatten(-1, (2, -1)).flatten(0, 2), labels_NP23[..., 0].flatten())
        ]
        for label, (head, weight) in enumerate(heads if covered_NP2.any() else ()):
            said = head(features_NPD).unflatten(-1, (2, -1))[covered_NP2]
            losses.append(weight * F.cross_entropy(said, labels_NP23[covered_NP2][:, label]))
        return torch.stack(losses).sum()


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
    """labels_P23 of one view: (what, colour, place) of the mark that covers most of each half of each patch.

    The place is the cell of a 3x3 raster over the view in which the mark's centre lies, or the nearest to it.
    """
    side, patch_px = geometry.patches_per_side, geometry.patch_size_px
    x0, y0, scale_x, scale_y = box
    x_edges = x0 + np.arange(2 * side + 1) * (patch_px / 2 * scale_x)
    y_edges = y0 + np.arange(side + 1) * (patch_px * scale_y)
    area = (x_edges[1] - x_edges[0]) * (y_edges[1] - y_edges[0])
    labels_YX3 = np.zeros((side, 2 * side, 3), dtype=np.int64)
    best_YX = np.full((side, 2 * side), _ENOUGH)
    for mark in marks:
        across_X = _overlap(x_edges, mark.x0_px, mark.x1_px)
        down_Y = _overlap(y_edges, mark.y0_px, mark.y1_px)
        own_area = max(1e-6, (mark.x1_px - mark.x0_px) * (mark.y1_px - mark.y0_px))
        cover_YX = np.outer(down_Y, across_X) / min(area, own_area)
        place = _place(mark, box, geometry.image_size_px)
        labels_YX3[cover_YX > best_YX] = _WHAT_INDEX[mark.what], _COLOUR_INDEX[mark.colour], place
        best_YX = np.maximum(best_YX, cover_YX)
    return labels_YX3.reshape(side * side, 2, 3)


def _place(mark: Mark, box: Box, side_px: int) -> int:
    """Counted from 1, row by row."""
    x0, y0, scale_x, scale_y = box
    x_px = ((mark.x0_px + mark.x1_px) / 2 - x0) / scale_x
    y_px = ((mark.y0_px + mark.y1_px) / 2 - y0) / scale_y
    column, row = (min(_RASTER - 1, max(0, int(px * _RASTER / side_px))) for px in (x_px, y_px))
    return 1 + row * _RASTER + column


def _overlap(edges: NDArray[np.floating], low: float, high: float) -> NDArray[np.float64]:
    return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)


def tower_batch(
    kinds: Sequence[str], geometry: Geometry, seed: str, num_views: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Views [N, C, H, W] of training drawings, and their labels [N, P, 2, 3]: a pure function of the arguments."""
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
    tower: VisionTower, heads: PatchHeads, pixels_NCHW: torch.Tensor, labels_NP23: torch.Tensor
) -> torch.Tensor:
    return heads.loss(tower(pixels_NCHW), labels_NP23)
