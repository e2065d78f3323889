"""Labels of the tower against pixels: every mark is painted alone and cut into views, and what halves show is measured.

Legend: N views, P patches of a view, 2 halves of a patch, C channels, H and W pixels, M marks.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ovexport.train.drawn.family import Mark
from ovexport.train.drawn.kinds import KINDS, MULTI_IMAGE, SINGLE_IMAGE, VIDEO
from ovexport.train.drawn.scene import COLOURS
from ovexport.train.tiny.config import PATCH_PX, TILE_PX, tiny_geometry
from ovexport.train.tiny.tower import WHATS, PatchHeads, half_patch_labels, tower_batch, view_boxes
from ovrun.tiling.tiles import tile_image

GEOMETRY = tiny_geometry()
SIDE = TILE_PX // PATCH_PX
ENOUGH, CLEARLY = 0.3, 0.1  # tiles lie on whole pixels, boxes do not: half a pixel is a fourteenth of a half


def painted(size: tuple[int, int], mark: Mark) -> NDArray[np.float64]:
    """shares_NHW: white where the mark's box is, black elsewhere, as the tower would see it."""
    image = Image.new("RGB", size, "black")
    corner = mark.x1_px - 1, mark.y1_px - 1
    ImageDraw.Draw(image).rectangle((mark.x0_px, mark.y0_px, *corner), fill="white")
    pixels_NCHW = tile_image(image, GEOMETRY)
    return (pixels_NCHW[:, 0] - pixels_NCHW.min()) / (pixels_NCHW.max() - pixels_NCHW.min())


def covers(size: tuple[int, int], mark: Mark) -> NDArray[np.float64]:
    """How much of each half the mark covers, or of itself if it is smaller: covers_NP2."""
    shares_NHW = painted(size, mark)
    seen_NHW = shares_NHW[:, : SIDE * PATCH_PX, : SIDE * PATCH_PX]
    halves_NP2 = seen_NHW.reshape(-1, SIDE, PATCH_PX, SIDE, 2, PATCH_PX // 2).sum(axis=(2, 5)).reshape(-1, SIDE**2, 2)
    base, tiles = shares_NHW[:1].sum(), shares_NHW[1:].sum()
    own_N = np.array([base] + [tiles] * (len(shares_NHW) - 1))
    return halves_NP2 / np.minimum(PATCH_PX * PATCH_PX / 2, own_N)[:, None, None]


def random_marks(rng: random.Random, size: tuple[int, int]) -> list[Mark]:
    marks = []
    for _ in range(rng.randint(1, 6)):
        width, height = rng.randint(7, min(60, size[0])), rng.randint(7, min(60, size[1]))
        x0, y0 = rng.randint(0, size[0] - width), rng.randint(0, size[1] - height)
        marks.append(
            Mark(
                x0_px=x0, y0_px=y0, x1_px=x0 + width, y1_px=y0 + height, what=rng.choice(WHATS),
                colour=rng.choice(list(COLOURS)),
            )
        )  # fmt: skip
    return marks


@pytest.mark.parametrize("seed", range(60))
def test_labels_are_what_the_pixels_show(seed: int) -> None:
    rng = random.Random(seed)
    size = rng.randint(60, 330), rng.randint(60, 330)
    marks = random_marks(rng, size)
    boxes = view_boxes(size[1], size[0], GEOMETRY)
    labels_NP23 = np.stack([half_patch_labels(marks, box, GEOMETRY) for box in boxes])
    covers_MNP2 = np.stack([covers(size, mark) for mark in marks])
    assert covers_MNP2.shape[1:] == labels_NP23.shape[:3], f"seed {seed}"

    first_NP2, best_NP2 = covers_MNP2.argmax(axis=0), covers_MNP2.max(axis=0)
    second_NP2 = np.sort(covers_MNP2, axis=0)[-2] if len(marks) > 1 else np.zeros_like(best_NP2)
    names = [(1 + WHATS.index(mark.what), 1 + list(COLOURS).index(mark.colour)) for mark in marks]
    empty_NP2 = best_NP2 < ENOUGH - CLEARLY
    clear_NP2 = (best_NP2 > ENOUGH + CLEARLY) & (best_NP2 > second_NP2 + CLEARLY)
    assert (labels_NP23[empty_NP2] == 0).all(), f"seed {seed}"
    assert (labels_NP23[clear_NP2][:, :2] == np.array(names)[first_NP2[clear_NP2]]).all(), f"seed {seed}"
    assert clear_NP2.any() and (empty_NP2 | clear_NP2).mean() > 0.75, f"seed {seed}"


def test_places_are_where_the_middle_of_a_mark_is_painted() -> None:
    checked = 0
    for seed in range(20):
        rng = random.Random(seed)
        size = rng.randint(60, 330), rng.randint(60, 330)
        x0, y0 = rng.randint(0, size[0] - 20), rng.randint(0, size[1] - 20)
        mark = Mark(x0_px=x0, y0_px=y0, x1_px=x0 + 20, y1_px=y0 + 20, what="bar", colour="red")
        for shares_HW, box in zip(painted(size, mark), view_boxes(size[1], size[0], GEOMETRY), strict=True):
            labels_P23 = half_patch_labels([mark], box, GEOMETRY)
            cell = painted_cell(shares_HW)
            if cell is not None and labels_P23.any():
                assert set(labels_P23[labels_P23[..., 0] > 0][:, 2].tolist()) == {cell}, f"seed {seed}"
                checked += 1
    assert checked >= 20


def painted_cell(shares_HW: NDArray[np.float64]) -> int | None:
    """The cell of the 3x3 raster in the middle of what is white; None for what is cut off or between two cells."""
    ys, xs = np.nonzero(shares_HW > 0.5)
    if not len(ys) or 0 in (ys.min(), xs.min()) or TILE_PX - 1 in (ys.max(), xs.max()):
        return None
    row, column = (3 * (part.min() + part.max() + 1) / 2 / TILE_PX for part in (ys, xs))
    clear = all(0.05 < part % 1 < 0.95 for part in (row, column))
    return 1 + 3 * int(row) + int(column) if clear else None


@pytest.mark.parametrize("name", [*SINGLE_IMAGE, *MULTI_IMAGE, *VIDEO])
def test_every_mark_of_a_drawing_is_somewhere(name: str) -> None:
    """In some view, each shape, bar and character names at least one half; but for what another one covers."""
    rng, found, there = random.Random(name), 0, 0
    for _ in range(30):
        drawing = KINDS[name].draw(rng, held_out=False)
        for image, marks in zip(drawing.images or drawing.frames, drawing.marks, strict=True):
            boxes = view_boxes(image.height, image.width, GEOMETRY)
            labels = np.concatenate([half_patch_labels(marks, box, GEOMETRY) for box in boxes]).reshape(-1, 3)[:, :2]
            names = {(1 + WHATS.index(m.what), 1 + list(COLOURS).index(m.colour)) for m in marks}
            told = set(map(tuple, labels[labels[:, 0] > 0].tolist()))
            assert told <= names
            found, there = found + len(told), there + len(names)
    assert found > 0.97 * there


def test_a_batch_depends_on_its_arguments_alone() -> None:
    kinds = (*SINGLE_IMAGE, *MULTI_IMAGE, *VIDEO)
    pixels_NCHW, labels_NP23 = tower_batch(kinds, GEOMETRY, "one", 24)
    random.seed(3)
    again = tower_batch(kinds, GEOMETRY, "one", 24)
    assert torch.equal(again[0], pixels_NCHW) and torch.equal(again[1], labels_NP23)
    assert not torch.equal(tower_batch(kinds, GEOMETRY, "two", 24)[0], pixels_NCHW)
    assert pixels_NCHW.shape == (24, 3, TILE_PX, TILE_PX) and labels_NP23.shape == (24, SIDE**2, 2, 3)
    assert (labels_NP23[..., 0] > 0).flatten(1).any(dim=1).float().mean() > 0.8
    assert all(torch.equal(labels_NP23[..., 0] > 0, labels_NP23[..., label] > 0) for label in (1, 2))


def test_loss_is_none_for_heads_that_know() -> None:
    """Heads that read the labels off the features lose nothing, those that swap the halves lose much."""
    _, labels_NP23 = tower_batch(SINGLE_IMAGE, GEOMETRY, "heads", 8)
    sizes = 2 * (len(WHATS) + 1), 2 * (len(COLOURS) + 1), 2 * (9 + 1)
    heads = PatchHeads(sum(sizes))
    with torch.no_grad():
        for head, weight in zip(
            (heads.what, heads.colour, heads.place), torch.eye(sum(sizes)).split(sizes), strict=True
        ):
            head.weight.copy_(50 * weight)
            head.bias.zero_()
        losses = []
        for labels in (labels_NP23, labels_NP23.flip(2)):
            known = [torch.nn.functional.one_hot(labels[..., i], size // 2).flatten(2) for i, size in enumerate(sizes)]
            losses.append(float(heads.loss(torch.cat(known, dim=-1).float(), labels_NP23)))
    assert losses[0] < 1e-3 < 1 < losses[1]
