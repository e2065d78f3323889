"""Geometries that the tiling tests share."""

from __future__ import annotations

import pytest

from ovengines.bundle.manifest import Geometry


def make_geometry(
    image_size_px: int,
    patch_size_px: int = 14,
    unpad_rounding: str = "hf",
    max_tiles: int | None = 9,
    pinpoints: tuple[tuple[int, int], ...] | None = None,
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
    std: tuple[float, float, float] = (0.5, 0.5, 0.5),
) -> Geometry:
    """By default the 36 pinpoints of the released checkpoints: 1 to 6 tiles each way, rows first."""
    default = tuple((rows * image_size_px, columns * image_size_px) for rows in range(1, 7) for columns in range(1, 7))
    return Geometry(
        image_size_px=image_size_px,
        patch_size_px=patch_size_px,
        grid_pinpoints=pinpoints or default,
        max_tiles=max_tiles,
        unpad_rounding=unpad_rounding,
        image_mean=mean,
        image_std=std,
    )


@pytest.fixture(scope="session")
def geometry_of():
    return make_geometry


@pytest.fixture(scope="session")
def released() -> Geometry:
    """384 px tiles of 14 px patches: 27 x 27 tokens and 6 px that no patch sees."""
    return make_geometry(384)


@pytest.fixture(scope="session")
def tiny() -> Geometry:
    """104 px tiles of 14 px patches: 7 x 7 tokens and, again, 6 px that no patch sees."""
    return make_geometry(104)
