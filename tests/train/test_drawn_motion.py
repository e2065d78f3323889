"""Drawn albums, pairs and clips: every answer is worked out again from the pixels alone.

Colours are told by hue and shapes by how much of their box they fill, so nothing of the generators is trusted
but the boxes of the marks, and those are checked first.
"""

from __future__ import annotations

import colorsys
import hashlib
import random
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from ovexport.train.drawn import album, arrival, family, motion, pair, repaint
from ovexport.train.drawn.family import Drawing, Mark

MODULES = (album, pair, motion, arrival, repaint)
ORDINALS = ("first", "second", "third", "fourth")
NUMBERS = ("Zero", "One", "Two", "Three", "Four")
HUES = ((0.04, "red"), (0.112, "orange"), (0.2, "yellow"), (0.5, "green"), (0.7, "blue"), (0.86, "purple"),
        (0.955, "pink"), (1.01, "red"))  # fmt: skip
Seen = list[tuple[str, str]]  # (colour, shape)


def drawings(module: object, count: int = 40) -> list[Drawing]:
    sides = (False, True)
    return [module.draw(random.Random(f"test {i}"), held_out=sides[i % 2]) for i in range(count)]  # type: ignore


def contrast_of(image: Image.Image) -> np.ndarray:
    """How far a picture is from its background (the most frequent colour), in grey levels; HW."""
    _, background = max(image.getcolors(image.width * image.height))
    return np.abs(np.asarray(image).astype(int) - background).max(axis=-1)


def mask_of(image: Image.Image) -> np.ndarray:
    contrast_HW = contrast_of(image)
    return contrast_HW > contrast_HW.max() / 2


def colour_of(rgb: np.ndarray) -> str:
    hue, _, value = colorsys.rgb_to_hsv(*(rgb / 255))
    return "black" if value < 0.3 else next(name for limit, name in HUES if hue < limit)


def shape_of(mask_HW: np.ndarray) -> str:
    """From a tight box: how slim and how full it is, how low the centre of mass lies, and its corners."""
    height, width = mask_HW.shape
    y, x = int(0.115 * height), int(0.115 * width)  # inside of a tilted square, outside of a circle
    corners = sum(mask_HW[row, col] for row in (y, -1 - y) for col in (x, -1 - x))
    fill, low = mask_HW.mean(), (np.nonzero(mask_HW)[0].mean() + 0.5) / height
    tests = (("diamond", width / height < 0.85), ("star", fill < 0.43), ("triangle", low > 0.57),
             ("cross", fill < 0.68), ("circle", corners < 2), ("square", True))  # fmt: skip
    return next(name for name, is_it in tests if is_it)


def seen(image: Image.Image, marks: tuple[Mark, ...]) -> Seen:
    """What is in a picture, mark by mark; nothing may lie outside of the marks, and they must be tight."""
    contrast_HW, left_HW, found = contrast_of(image), contrast_of(image), []
    for mark in marks:
        top, bottom, left, right = int(mark.y0_px) - 1, int(mark.y1_px) + 2, int(mark.x0_px) - 1, int(mark.x1_px) + 2
        top, left = max(0, top), max(0, left)
        mask_HW = contrast_HW[top:bottom, left:right]
        mask_HW = mask_HW > mask_HW.max() / 2  # an edge is where shape and background are mixed half and half
        rows, cols = np.nonzero(mask_HW)
        offset = np.array([left, top, left, top])
        box = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1])
        assert np.abs(box + offset - (mark.x0_px, mark.y0_px, mark.x1_px, mark.y1_px)).max() < 2.5
        shape = shape_of(mask_HW[box[1] : box[3], box[0] : box[2]])
        inside = np.asarray(image)[top:bottom, left:right][rows, cols]
        found.append((colour_of(np.median(inside, axis=0)), shape))
        assert found[-1] == (mark.colour, mark.what)
        left_HW[top:bottom, left:right] = 0
    assert not left_HW.any()
    return found


def article(name: str) -> str:
    return ("an " if name[0] in "aeiou" else "a ") + name


def listing(things: Seen) -> str:
    parts = [article(" ".join(thing)) for thing in things]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def answers(drawing: Drawing) -> dict[str, tuple[str, str]]:
    """By family: question and answer, where a drawing asks a family once."""
    assert len({e.family for e in drawing.exchanges}) == len(drawing.exchanges) > 0
    return {e.family: (e.question, e.answer) for e in drawing.exchanges}


def asked_for(drawing: Drawing, family: str) -> list[tuple[str, str]]:
    """Questions and answers of a family, no question twice."""
    found = [(e.question, e.answer) for e in drawing.exchanges if e.family == family]
    assert len({question for question, _ in found}) == len(found)
    return found


def test_album() -> None:
    for drawing in drawings(album):
        pages = [seen(image, marks) for image, marks in zip(drawing.images, drawing.marks, strict=True)]
        for question, answer in asked_for(drawing, "which-image"):
            name = re.fullmatch(r"Which image shows an? (\w+ \w+)\?", question)[1]  # type: ignore[index]
            (where,) = [n for n, page in enumerate(pages) if tuple(name.split()) in page]
            assert answer == f"The {ORDINALS[where]}"
        ((question, answer),) = asked_for(drawing, "how-many-images")
        shape = re.fullmatch(r"How many images show an? (\w+)\?", question)[1]  # type: ignore[index]
        count = sum(any(shape == other for _, other in page) for page in pages)
        assert answer == NUMBERS[count]
        for question, answer in asked_for(drawing, "image-colour"):
            ordinal = re.fullmatch(r"What colour is the shape in the (\w+) image\?", question)[1]  # type: ignore[index]
            ((colour, _),) = pages[ORDINALS.index(ordinal)]
            assert answer == colour.capitalize()
        sentences = [f"The {ORDINALS[n]} image shows {listing(page)}." for n, page in enumerate(pages)]
        assert drawing.caption == " ".join(sentences)


def told(first: Seen, second: Seen) -> str:
    """The one change between two lists of things, worked out from their differences."""
    gone, new = [t for t in first if t not in second], [t for t in second if t not in first]
    if not new:
        return f"The {' '.join(gone[0])} is gone."
    if not gone:
        return f"{article(' '.join(new[0])).capitalize()} was added."
    ((old_colour, old_shape),), ((colour, shape),) = gone, new
    assert (old_colour == colour) != (old_shape == shape)
    became = f"The {old_colour} {old_shape} became {article(shape)}."
    return f"The {shape} turned {colour}." if old_shape == shape else became


def test_pair() -> None:
    endings: Counter[str] = Counter()
    for drawing in drawings(pair, 80):
        first, second = (seen(image, marks) for image, marks in zip(drawing.images, drawing.marks, strict=True))
        same = drawing.images[0].tobytes() == drawing.images[1].tobytes()
        assert same == (first == second)
        asked = answers(drawing)
        assert ("changed" in asked) == (not same)
        if "same" in asked:
            question, answer = asked["same"]
            assert answer == ("Yes" if same else "No")
            endings[question.removeprefix("Are the two images the same?")] += 1
        if not same:
            assert asked["changed"] == ("What changed from the first image to the second?", told(first, second))
            change = asked["changed"][1]
            kept = f"In the second image {change[0].lower()}{change[1:]}"
            assert drawing.caption == f"The first image shows {listing(first)}. {kept}"
        else:
            assert drawing.caption == f"Both images show {listing(first)}."
    assert set(endings) == {"", "\nAnswer the question with Yes or No."}


def test_motion_goes_where_the_answer_says() -> None:
    for drawing in drawings(motion):
        frames = [seen(image, marks) for image, marks in zip(drawing.frames, drawing.marks, strict=True)]
        assert len(frames) == 8 and len(set(map(tuple, frames))) == 1
        ((colour, shape),) = frames[0]
        centres_TX = np.array([np.argwhere(mask_of(frame)).mean(axis=0)[::-1] for frame in drawing.frames])
        way_X = centres_TX[-1] - centres_TX[0]
        axis = int(np.abs(way_X).argmax())
        direction = (("left", "right"), ("up", "down"))[axis][int(way_X[axis] > 0)]
        assert np.abs(way_X[axis]) > 49 and np.abs(way_X[1 - axis]) < 1
        steps_T = np.diff(centres_TX[:, axis]) * np.sign(way_X[axis])
        assert steps_T.min() > 5
        asked = answers(drawing)
        assert asked["direction"] == (f"In which direction does the {shape} move?", direction.capitalize())
        assert asked.get("video-object", ("", shape.capitalize()))[1] == shape.capitalize()
        assert drawing.caption == f"{article(f'{colour} {shape}').capitalize()} moves {direction}."


def test_arrival_order_and_count() -> None:
    for drawing in drawings(arrival):
        order: Seen = []
        for image, marks in zip(drawing.frames, drawing.marks, strict=True):
            there = seen(image, marks)
            assert all(thing in there for thing in order)  # what has appeared stays
            fresh = [thing for thing in there if thing not in order]
            assert len(fresh) <= 1
            order += fresh
        count = ("How many shapes appear in the video?", NUMBERS[len(order)])
        assert asked_for(drawing, "video-count") == [count]
        orders = asked_for(drawing, "order")
        assert len(orders) == {1: 0, 2: 2}.get(len(order), 3)
        for question, answer in orders:
            number = {"first": 0, "second": 1, "last": -1}[re.fullmatch(r"Which shape appears (\w+)\?", question)[1]]  # type: ignore[index]
            assert answer == order[number][1].capitalize()
        names = [article(" ".join(thing)) for thing in order]
        assert drawing.caption == ", then ".join([f"{names[0].capitalize()} appears", *names[1:]]) + "."


def test_repaint_colours() -> None:
    for drawing in drawings(repaint):
        frames = [seen(image, marks)[0] for image, marks in zip(drawing.frames, drawing.marks, strict=True)]
        (before, shape), (after, _) = frames[0], frames[-1]
        assert {thing[1] for thing in frames} == {shape} and before != after
        turned_at = [thing[0] for thing in frames].index(after)
        assert 3 <= turned_at <= 5 and [t[0] for t in frames] == [before] * turned_at + [after] * (8 - turned_at)
        expected = {f"Which colour does the {shape} turn?": after, f"What colour is the {shape} at the start?": before}
        colours = asked_for(drawing, "video-colour")
        assert dict(colours) == {question: colour.capitalize() for question, colour in expected.items()}
        assert all(answer == shape.capitalize() for _, answer in asked_for(drawing, "video-object"))
        assert drawing.caption == f"{article(f'{before} {shape}').capitalize()} turns {after}."


@pytest.mark.parametrize("module", MODULES)
def test_splits_are_disjoint(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The meaning that a drawing was accepted for is on its side of the hash, worked out here again."""
    original, meanings = family.held_out, []

    def spy(meaning: str) -> bool:
        meanings.append(meaning)
        return original(meaning)

    monkeypatch.setattr(family, "held_out", spy)
    accepted: dict[bool, set[str]] = {True: set(), False: set()}
    for side, found in accepted.items():
        for i in range(60):
            module.draw(random.Random(f"split {i}"), held_out=side)  # type: ignore[attr-defined]
            found.add(meanings[-1])
    assert not accepted[True] & accepted[False]
    for side, found in accepted.items():
        assert len(found) > 10
        for meaning in found:
            assert (int(hashlib.sha256(meaning.encode()).hexdigest()[:16], 16) % 10 == 0) == side


@pytest.mark.parametrize("module", MODULES)
def test_drawing_is_a_function_of_its_seed(module: object) -> None:
    one, other, third = (module.draw(random.Random(seed), held_out=False) for seed in ("a", "a", "b"))  # type: ignore
    pictures = [[p.tobytes() for p in (*d.images, *d.frames)] for d in (one, other, third)]
    assert pictures[0] == pictures[1] != pictures[2]
    assert (one.marks, one.caption, one.exchanges) == (other.marks, other.caption, other.exchanges)


@pytest.mark.parametrize("module", MODULES)
def test_chance_and_sizes(module: object) -> None:
    """The best constant answer, over all questions of a family, is about as often right as the family says."""
    given: dict[str, Counter[str]] = {f.name: Counter() for f in module.FAMILIES}  # type: ignore[attr-defined]
    for i in range(500):
        drawing = module.draw(random.Random(f"chance {i}"), held_out=False)  # type: ignore[attr-defined]
        for exchange in drawing.exchanges:
            given[exchange.family][exchange.answer] += 1
        assert all(80 <= side <= 104 for image in drawing.images for side in image.size)
        assert all(frame.size == (104, 104) for frame in drawing.frames)
        assert (len(drawing.frames) == 8 and not drawing.images) or 2 <= len(drawing.images) <= 4
        tallest = [max(m.y1_px - m.y0_px for m in marks) for marks in drawing.marks if marks]
        assert min(tallest) > 26  # large enough for 4x4 tokens
    for f in module.FAMILIES:  # type: ignore[attr-defined]
        total = given[f.name].total()
        share = given[f.name].most_common(1)[0][1] / total
        assert total > 100
        assert f.chance - 0.01 <= share <= f.chance + 0.08, (f.name, share)
