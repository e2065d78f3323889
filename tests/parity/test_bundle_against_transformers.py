"""A bundle in the torch-free runtime against transformers on the same random checkpoint: pixels, tokens, numbers, text.

Runs against transformers 5.x and 4.57. Everything is drawn with the seeds of `parity_shapes.SHAPES`.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import numpy as np
import pytest
from parity_pair import IS_FOUR, Pair, Seen, ask_bundle, ask_transformers
from parity_shapes import ROUNDING_SIZES, SHAPES, Size, sizes_of
from PIL import Image

from ovrun.tiling.plan import count_image_tokens

TOLERANCE = 1e-4
# The closest choice of a token in an answer, over the error of its prompt's logits: two logits have to be off by half
# of it to change the token, so from 2 on no answer hangs on rounding.
MARGIN_OVER_ERROR = 4
PROMPT = "<image>\nWhat is in this picture, and où?"
CASES = [(name, size) for name in SHAPES for size in sizes_of(name)]

answers: set[int] = set()  # ids that some answer had, for the guard at the end


def random_image(size: Size, seed: int) -> Image.Image:
    """Noise over a gradient: both the filter's overshoot and its smooth parts matter for equal bits."""
    height_px, width_px = size
    rng = np.random.default_rng([seed, *size])
    ramp = np.linspace(0, 255, width_px)[None, :, None] * np.linspace(0, 1, height_px)[:, None, None]
    noise = rng.integers(0, 256, (height_px, width_px, 3))
    return Image.fromarray(np.where(noise % 3 == 0, noise, ramp).astype(np.uint8))


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def assert_same(got: Seen, expected: Seen, note: str) -> None:
    assert got.pixels_TCHW.dtype == np.float32 and np.array_equal(got.pixels_TCHW, expected.pixels_TCHW), note
    assert got.ids_S == expected.ids_S, f"{note}: {len(got.ids_S)} positions for {len(expected.ids_S)}"
    assert got.image_embeds_VD.shape == expected.image_embeds_VD.shape, note
    assert relative_error(got.image_embeds_VD, expected.image_embeds_VD) < TOLERANCE, note
    error = relative_error(got.logits_SN, expected.logits_SN)
    assert error < TOLERANCE, f"{note}: {error:.1e}"
    margin = f"{expected.margin:.1e} against an error of {error:.1e}"
    assert expected.margin > MARGIN_OVER_ERROR * error, f"{note}: no margin, {margin}; take another seed"
    assert got.answer == expected.answer, note
    answers.update(got.answer)


def test_there_are_enough_cases() -> None:
    assert len(sizes_of("main")) >= 50 and all(len(sizes_of(name)) >= 8 for name in SHAPES)
    assert {shape.saved_by for shape in SHAPES.values()} == {"transformers", "ovexport"}
    assert {shape.tied for shape in SHAPES.values()} == {True, False}


@pytest.mark.parametrize("name", SHAPES)
def test_rounding_sizes_are_such(name: str) -> None:
    hf = SHAPES[name].config().geometry
    llava = dataclasses.replace(hf, unpad_rounding="llava")
    for size in ROUNDING_SIZES[hf.image_size_px, hf.patch_size_px]:
        assert count_image_tokens(*size, hf) != count_image_tokens(*size, llava), size


@pytest.mark.parametrize(("name", "size"), CASES, ids=lambda value: str(value).replace(", ", "x").strip("()"))
def test_one_image(name: str, size: Size, pairs: Callable[[str], Pair]) -> None:
    if IS_FOUR and size[0] <= 3:
        pytest.skip("transformers 4 takes the rows of an image, or of one resized, for channels if they are 1 or 3")
    pair, image = pairs(name), random_image(size, SHAPES[name].seed)
    note = f"{name}, seed {SHAPES[name].seed}, {size} px"
    expected = ask_transformers(pair, [image], PROMPT)
    for role, session in pair.sessions.items():
        assert_same(ask_bundle(session, [image], PROMPT), expected, f"{note}, {role}")


@pytest.mark.parametrize("seed", range(8))
def test_several_images_are_single_views(seed: int, pairs: Callable[[str], Pair]) -> None:
    rng = random.Random(seed)
    name = rng.choice(list(SHAPES))
    sizes = [(rng.randint(4, 300), rng.randint(4, 300)) for _ in range(rng.choice((2, 3)))]
    images = [random_image(size, seed) for size in sizes]
    marks = "<image> " * (len(images) - 1) + "<image>\n"
    prompt = marks + "What differs?" if seed % 2 else f"Compare {marks.strip()} and say which is red."
    note = f"seed {seed}, {name}, {sizes} px"
    expected = ask_transformers(pairs(name), images, prompt)
    for role, session in pairs(name).sessions.items():
        assert_same(ask_bundle(session, images, prompt), expected, f"{note}, {role}")


def test_answers_varied(pairs: Callable[[str], Pair]) -> None:
    """Guards the comparisons above: answers of random models have to differ, and to depend on the picture."""
    session = pairs("main").sessions["best"]
    answered = {tuple(ask_bundle(session, [random_image((90, 120), seed)], PROMPT).answer) for seed in range(5)}
    assert len(answered) > 1
    assert len({token for answer in answered for token in answer} | answers) > 10
