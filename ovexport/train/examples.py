"""Draws the pictures of `examples/` and their questions again: held-out scenes, the first of their kind in a stream.

    python -m ovexport.train.examples examples

The seeds were picked for pictures that ov-tiny answers with a wide margin: they show what works, and measure nothing
(heldout.py does). Sits on scenes.py and questions.py; knows nothing of models.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from ovexport.train.questions import DEFAULT_PROMPT, FAMILIES, ask, describe
from ovexport.train.scenes import Scene, draw, scenes

# file: (seed, size class of the scene, least width in px, how many things, how many of them are alike)
PICTURES = {
    "shapes.png": (1, "2x2", 190, 3, 2),
    "portrait.png": (0, "2x1", 80, 2, 1),
    "tile.png": (0, "1x1", 100, 1, 1),
}
COUNT_PROMPT = "How many shapes are there?"
_NUMBERS = ("Zero", "One", "Two", "Three", "Four", "Five")


def example_scene(file: str) -> Scene:
    seed, size, width_px, count, alike = PICTURES[file]
    for _, scene in scenes(f"examples {file} {seed}", held_out=True, size=size):
        kinds = [(thing.colour, thing.shape) for thing in scene.things]
        repeats = sorted(kinds.count(kind) for kind in set(kinds))
        differ = len({shape for _, shape in kinds}) == len(repeats)
        if scene.width_px >= width_px and len(kinds) == count and repeats[-1] == alike and differ:
            return scene
    raise AssertionError("the stream of scenes has no end")


def questions(file: str) -> list[dict[str, str]]:
    """The default prompt, the demo's second prompt, and a question of each family that the scene allows."""
    scene = example_scene(file)
    pairs = {DEFAULT_PROMPT: describe(scene), COUNT_PROMPT: _NUMBERS[len(scene.things)]}
    for family in FAMILIES[1:]:
        qa = ask(scene, family, random.Random(f"examples {file} {family}"))
        if qa is not None:
            pairs[qa.question] = qa.answer
    return [{"picture": file, "question": question, "answer": answer} for question, answer in pairs.items()]


def main(argv: list[str] | None = None) -> None:
    folder = Path((sys.argv[1:] if argv is None else argv)[0])
    folder.mkdir(parents=True, exist_ok=True)
    for file in PICTURES:
        draw(example_scene(file)).save(folder / file, optimize=True)
    rows = [row for file in PICTURES for row in questions(file)]
    (folder / "questions.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
