"""Pixels, bit by bit against transformers' Pillow image processor."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ovengines.bundle.manifest import Geometry
from ovengines.errors import ExitCode, OVError
from ovrun.tiling import tiles
from ovrun.tiling.tiles import pad_image, squeeze_image, tile_image

# transformers 4 misreads images of 1 or 3 rows; on others tests/parity compares pixels with it, too.
LlavaOnevisionImageProcessorPil = pytest.importorskip(
    "transformers.models.llava_onevision.image_processing_pil_llava_onevision", reason="needs transformers 5"
).LlavaOnevisionImageProcessorPil

# (height, width): thin, tiny, exact multiples, one off, the sizes of the released checkpoints' rounding cases.
SIZES = [
    *[(1, 1), (1, 2), (2, 1), (3, 3), (2, 3), (3, 1), (1, 50), (50, 1), (3, 200), (200, 3), (1, 624), (1, 2304)],
    *[(104, 104), (208, 208), (104, 208), (208, 104), (312, 624), (624, 312), (624, 624), (416, 520), (520, 416)],
    *[(103, 105), (105, 103), (209, 207), (207, 209), (313, 311), (625, 623), (623, 625), (415, 521), (7, 623)],
    *[(84, 84), (100, 1000), (1000, 100), (300, 300), (384, 384), (480, 640), (640, 480), (333, 500), (500, 333)],
    *[(768, 768), (899, 1024), (720, 1280), (1280, 720), (1080, 1920), (1153, 944), (600, 2304), (1270, 1270)],
    *[(820, 1107), (369, 820), (47, 423), (49, 1323), (53, 61), (97, 131), (131, 97), (211, 577), (577, 211)],
    *[(5, 9), (9, 5), (31, 17), (17, 31), (64, 4000), (4000, 64), (250, 251), (251, 250), (1000, 1001)],
]  # fmt: skip


def processor(geometry: Geometry) -> Any:
    return LlavaOnevisionImageProcessorPil(
        image_mean=list(geometry.image_mean),
        image_std=list(geometry.image_std),
        size={"height": geometry.image_size_px, "width": geometry.image_size_px},
        image_grid_pinpoints=[list(pair) for pair in geometry.grid_pinpoints],
    )


def random_image(height_px: int, width_px: int, seed: int) -> Image.Image:
    """Noise over a gradient: both the filter's overshoot and its smooth parts matter for equal bits."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 255, width_px)[None, :, None] * np.linspace(0, 1, height_px)[:, None, None]
    noise = rng.integers(0, 256, (height_px, width_px, 3))
    return Image.fromarray(np.where(noise % 3 == 0, noise, ramp).astype(np.uint8))


def assert_same_pixels(image: Image.Image, geometry: Geometry, note: str) -> None:
    expected = processor(geometry)(image, return_tensors="np")["pixel_values"][0]
    pixels_TCHW = tile_image(image, geometry)
    assert pixels_TCHW.dtype == np.float32 and pixels_TCHW.shape == expected.shape, note
    assert np.array_equal(pixels_TCHW, expected), note


def test_there_are_enough_sizes() -> None:
    assert len(set(SIZES)) >= 60


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_tiles_are_bit_exact(size: tuple[int, int], tiny: Geometry) -> None:
    assert_same_pixels(random_image(*size, seed=sum(size)), tiny, f"{size} px")


@pytest.mark.parametrize(
    "size", [(1, 2304), (3, 5), (384, 384), (385, 383), (899, 1024), (333, 500), (47, 423), (1000, 100)], ids=str
)
def test_tiles_of_384_px_are_bit_exact(size: tuple[int, int], released: Geometry) -> None:
    assert_same_pixels(random_image(*size, seed=sum(size)), released, f"{size} px")


@pytest.mark.parametrize("seed", range(40))
def test_tiles_are_bit_exact_on_random_lists(seed: int, geometry_of) -> None:
    rng = random.Random(seed)
    side_px = rng.choice((28, 56, 104, 150))
    pairs = tuple((rng.randint(1, 4) * side_px, rng.randint(1, 4) * side_px) for _ in range(rng.randint(1, 6)))
    # CLIP's mean and deviation: three channels that differ, as a checkpoint with a careless config has.
    clip = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}
    geometry = geometry_of(side_px, pinpoints=pairs, **(clip if seed % 2 else {}))
    size = tuple(rng.choice((rng.randint(1, 3), rng.randint(4, 700))) for _ in "hw")
    assert_same_pixels(random_image(*size, seed=seed), geometry, f"{size} px of {pairs}, seed {seed}")


@pytest.mark.parametrize("strip_px", [tiles.STRIP_PX, 2000])
@pytest.mark.parametrize("size", SIZES[::3], ids=lambda size: f"{size[0]}x{size[1]}")
def test_padded_view_is_bit_exact(size, strip_px: int, tiny: Geometry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "STRIP_PX", strip_px)
    image = random_image(*size, seed=sum(size))
    # transformers decides by nesting: two images in one list are padded, not tiled.
    expected = processor(tiny)([[image, image]], return_tensors="np")["pixel_values"][0]
    pixels_1CHW = pad_image(image, tiny)
    assert pixels_1CHW.dtype == np.float32 and pixels_1CHW.shape == expected.shape
    assert np.array_equal(pixels_1CHW, expected)


def test_an_image_over_the_side_is_reduced_and_then_padded(tiny: Geometry, monkeypatch: pytest.MonkeyPatch) -> None:
    image = random_image(2000, 300, seed=9)
    exact = pad_image(image, tiny)
    monkeypatch.setattr(tiles, "MAX_SQUARE_SIDE_PX", 1000)
    reduced = pad_image(image, tiny)
    # Resized twice: the same picture, within a few of 255 grey levels on average.
    assert 0 < np.abs(reduced - exact).mean() * 127.5 < 3


def test_padding_has_the_mean_colour_of_each_channel(geometry_of) -> None:
    geometry = geometry_of(56, mean=(0.1, 0.5, 0.9), std=(1.0, 1.0, 1.0))
    image = Image.new("RGB", (60, 20))
    expected = processor(geometry)([[image, image]], return_tensors="np")["pixel_values"][0]
    pixels_1CHW = pad_image(image, geometry)
    assert np.array_equal(pixels_1CHW, expected)
    np.testing.assert_allclose(
        pixels_1CHW[0, :, 0, 0], [int(m * 255) / 255 - m for m in geometry.image_mean], atol=1e-6
    )


def test_squeezed_view_is_the_base_view(tiny: Geometry) -> None:
    image = random_image(77, 311, seed=3)
    assert np.array_equal(squeeze_image(image, tiny)[0], tile_image(image, tiny)[0])


def test_a_long_thin_image_is_padded_in_little_memory() -> None:
    # The whole square would be 4.8 GB, and 0.8 GB at the side that it is reduced to.
    pytest.importorskip("resource")
    script = """
        import resource, sys
        import numpy as np
        from PIL import Image
        from ovengines.bundle.manifest import Geometry
        from ovrun.tiling.tiles import pad_image
        geometry = Geometry(image_size_px=104, patch_size_px=14, grid_pinpoints=((104, 104),), max_tiles=9,
                            unpad_rounding="hf")
        pad_image(Image.new("RGB", (8, 8)), geometry)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pixels = pad_image(Image.new("RGB", (2, 40_000), "white"), geometry)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, pixels.shape)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(ran.stdout.split()[0]) * unit < 250e6, ran.stdout


@pytest.mark.parametrize("view", [tile_image, pad_image, squeeze_image])
@pytest.mark.parametrize("image", [Image.new("L", (5, 5)), Image.new("RGBA", (5, 5)), Image.new("RGB", (0, 5))])
def test_refuses_what_is_not_rgb_pixels(view, image: Image.Image, tiny: Geometry) -> None:
    with pytest.raises(OVError) as caught:
        view(image, tiny)
    assert caught.value.code is ExitCode.BAD_INPUT
