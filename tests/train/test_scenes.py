"""Scenes: the same for the same seed, held-out ones never trained on, and pictures that show what the scene says."""

from __future__ import annotations

import random
from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ovexport.train.heldout import heldout_samples
from ovexport.train.questions import FAMILIES, ask, conversation
from ovexport.train.scenes import COLOURS, MAX_OBJECTS, PLACES, SIZES, Scene, draw, scenes

SEEDS = range(40)


def _scenes(seed: str, count: int, held_out: bool = False) -> list[Scene]:
    return [scene for _, scene in islice(scenes(seed, held_out=held_out), count)]


def test_a_seed_always_gives_the_same_scenes_and_pictures() -> None:
    first, second = _scenes("same", 25), _scenes("same", 25)
    assert first == second
    assert all(draw(a).tobytes() == draw(b).tobytes() for a, b in zip(first, second, strict=True))
    assert first != _scenes("other", 25)


def test_no_meaning_is_on_both_sides_of_the_split() -> None:
    trained = {scene.meaning for scene in _scenes("train 0 0", 4000)}
    held_out = {scene.meaning for scene in _scenes("held-out 0", 400, held_out=True)}
    assert not trained & held_out
    assert len(held_out) > 250  # a hash that sends nearly everything to one side would prove nothing


def test_held_out_share_is_a_tenth() -> None:
    indices = [index for index, _ in islice(scenes("share", held_out=True), 300)]
    assert 0.07 < 300 / (indices[-1] + 1) < 0.13


@pytest.mark.parametrize("size", SIZES)
def test_sizes_stay_in_their_class(size: str) -> None:
    (low_h, high_h), (low_w, high_w) = SIZES[size]
    for _, scene in islice(scenes("sizes", held_out=False, size=size), 50):
        assert low_h <= scene.height_px <= high_h and low_w <= scene.width_px <= high_w
        assert draw(scene).size == (scene.width_px, scene.height_px)


def _components(image: Image.Image) -> list[tuple[NDArray[np.bool_], NDArray[np.uint8]]]:
    """(mask, pixels) of each connected region that differs from the background, by flood fill."""
    pixels = np.asarray(image)
    values, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    background = values[counts.argmax()].astype(int)
    todo = np.abs(pixels.astype(int) - background).sum(axis=2) > 40
    found = []
    while todo.any():
        mask = np.zeros_like(todo)
        stack = [tuple(np.argwhere(todo)[0])]
        while stack:
            y, x = stack.pop()
            if 0 <= y < todo.shape[0] and 0 <= x < todo.shape[1] and todo[y, x]:
                todo[y, x], mask[y, x] = False, True
                stack += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        found.append((mask, pixels[mask]))
    return found


def _seen_kinds(image: Image.Image) -> list[tuple[str, str]]:
    """(colour, place) of everything in the picture, from its pixels alone."""
    names, palette = list(COLOURS), np.array(list(COLOURS.values()))
    kinds = []
    for mask, pixels in _components(image):
        colour = names[int(np.abs(palette - np.median(pixels, axis=0)).sum(axis=1).argmin())]
        ys, xs = np.nonzero(mask)
        row = int((ys.min() + ys.max() + 1) / 2 / image.height * 3)
        col = int((xs.min() + xs.max() + 1) / 2 / image.width * 3)
        kinds.append((colour, PLACES[3 * row + col]))
    return sorted(kinds)


@pytest.mark.parametrize("seed", SEEDS)
def test_pixels_show_every_thing_with_its_colour_in_its_place(seed: int) -> None:
    scene = _scenes(f"pixels {seed}", 1)[0]
    assert 1 <= len(scene.things) <= MAX_OBJECTS
    assert _seen_kinds(draw(scene)) == sorted((t.colour, t.place) for t in scene.things), f"seed {seed}"


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_agree_with_the_pixels(seed: int) -> None:
    scene = _scenes(f"answers {seed}", 1)[0]
    seen = _seen_kinds(draw(scene))
    rng = random.Random(f"answers {seed}")
    numbers = ["Zero", "One", "Two", "Three", "Four", "Five"]
    checked = 0
    for qa in (qa for _ in range(40) for qa in conversation(scene, rng, turns=6)):
        asked_colours = [colour for colour in COLOURS if colour in qa.question.lower()]
        if qa.family == "count" and any(noun in qa.question for noun in ("objects", "shapes", "things")):
            expected = sum(colour in asked_colours or not asked_colours for colour, _ in seen)
            assert qa.answer == numbers[expected], f"seed {seed}: {qa}"
        elif qa.family == "where" and asked_colours:
            assert (asked_colours[0], qa.answer.lower()) in seen, f"seed {seed}: {qa}"
        elif qa.family == "colour":
            assert qa.answer.lower() in {colour for colour, _ in seen}, f"seed {seed}: {qa}"
        elif qa.family == "describe":
            assert all(colour in qa.answer.lower() for colour, _ in seen), f"seed {seed}: {qa}"
        elif qa.family == "yes/no" and asked_colours and not {c for c, _ in seen} & set(asked_colours):
            assert qa.answer == "No", f"seed {seed}: {qa}"
        else:
            continue
        checked += 1
    assert checked > 20, f"seed {seed}"


def test_shapes_differ_in_how_much_of_their_square_they_fill() -> None:
    filled: dict[str, list[float]] = {}
    for scene in _scenes("fill", 400):
        if len(scene.things) == 1:
            mask = _components(draw(scene))[0][0]
            filled.setdefault(scene.things[0].shape, []).append(mask.sum() / scene.things[0].size_px ** 2)
    medians = sorted((float(np.median(values)), shape) for shape, values in filled.items())
    assert [shape for _, shape in medians] == ["star", "diamond", "triangle", "cross", "square", "circle"]


def test_held_out_samples_take_the_families_in_turn_and_repeat_exactly() -> None:
    first, second = list(heldout_samples(24, seed=3)), list(heldout_samples(24, seed=3))
    assert [sample.family for sample in first] == list(FAMILIES) * 4
    assert [(s.question, s.answer) for s in first] == [(s.question, s.answer) for s in second]
    assert all(a.image.tobytes() == b.image.tobytes() for a, b in zip(first, second, strict=True))


def test_a_question_without_one_answer_is_not_asked() -> None:
    for number, scene in enumerate(_scenes("unique", 300)):
        qa = ask(scene, "where", random.Random(number))
        if qa is not None:
            fitting = {
                t.place
                for t in scene.things
                if t.shape in qa.question
                and (t.colour in qa.question or not any(colour in qa.question for colour in COLOURS))
            }
            assert fitting == {qa.answer.lower()}, f"scene {number}: {qa}"
