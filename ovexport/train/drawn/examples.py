"""Draws the pictures and the clip of `examples/`, and their questions: held-out drawings, the first that fit a row.

    python -m ovexport.train.drawn.examples examples

The seeds were picked for what ov-tiny answers rightly: examples show what works, and measure nothing (heldout.py does).
`--check MODEL` asks a model the questions that are there, `--seeds N` those of other seeds. Sits on kinds.py.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ovexport.train.drawn.clipfile import write_clip
from ovexport.train.drawn.family import Drawing, Exchange
from ovexport.train.drawn.kinds import KINDS
from ovexport.train.drawn.scene import ONE_TILE_PX
from ovexport.train.drawn.wording import DEFAULT_PROMPT, NUMBERS, capitalised

if TYPE_CHECKING:
    from ovexport.evaluate.ask import Said
    from ovexport.evaluate.question import Question

QUESTIONS = "questions.json"
COUNT_PROMPT = "How many shapes are there?"  # the demo's second question
MAX_NEW_TOKENS = 128
MOST_QUESTIONS = 6  # of one example
_TILE_PX = ONE_TILE_PX[1]


@dataclass(frozen=True, kw_only=True)
class Example:
    """One drawing: its files, and which one of its kind it is."""

    files: tuple[str, ...]
    kind: str
    seed: int
    fits: Callable[[Drawing], bool]


def _tiles(drawing: Drawing) -> tuple[int, int]:
    """(rows, columns) of the first picture."""
    image = drawing.images[0]
    return math.ceil(image.height / _TILE_PX), math.ceil(image.width / _TILE_PX)


def _things(drawing: Drawing) -> list[int]:
    """How many shapes of each sort, fewest first; empty where two sorts have the colour or the shape in common."""
    sorts = Counter((mark.colour, mark.what) for mark in drawing.marks[0])
    names = [name for sort in sorts for name in sort]
    return sorted(sorts.values()) if len(set(names)) == len(names) else []


def _asks(*questions: str) -> Callable[[Drawing], bool]:
    """Whether all of these are among the questions, word for word."""
    return lambda drawing: {exchange.question for exchange in drawing.exchanges}.issuperset(questions)


def _two_by_two(drawing: Drawing) -> bool:
    return _tiles(drawing) == (2, 2) and drawing.images[0].width > 170 and _things(drawing) == [1, 2]


def _page(drawing: Drawing) -> bool:
    return math.prod(_tiles(drawing)) >= 6 and len(drawing.exchanges) == 3


def _album(drawing: Drawing) -> bool:
    return len(drawing.images) == 3 and len({exchange.family for exchange in drawing.exchanges}) == 3


EXAMPLES = (
    Example(files=("shapes.png",), kind="shapes", seed=6, fits=_two_by_two),
    Example(files=("portrait.png",), kind="shapes", seed=0, fits=lambda d: (_tiles(d), _things(d)) == ((2, 1), [1, 1])),
    Example(files=("tile.png",), kind="shapes", seed=0, fits=lambda d: (_tiles(d), _things(d)) == ((1, 1), [1])),
    Example(files=("sign.png",), kind="sign", seed=0, fits=_asks("What does the sign say?")),
    Example(files=("page.png",), kind="small-text", seed=8, fits=_page),
    Example(files=("chart.png",), kind="bars", seed=0, fits=_asks("Which bar is the highest?")),
    Example(files=("sum.png",), kind="sum-picture", seed=0, fits=_asks("What is the result?")),
    Example(files=("first.png", "second.png", "third.png"), kind="album", seed=0, fits=_album),
    Example(files=("before.png", "after.png"), kind="pair", seed=0, fits=lambda d: len(d.exchanges) == 2),
    Example(files=("clip.mp4",), kind="motion", seed=0, fits=lambda d: len(d.exchanges) == 2),
)


def drawing_of(example: Example) -> Drawing:
    stream = random.Random(f"examples {example.files[0]} {example.seed}")
    while True:
        drawing = KINDS[example.kind].draw(stream, held_out=True)
        if example.fits(drawing):
            return drawing


def exchanges_of(drawing: Drawing) -> list[Exchange]:
    """The first questions of the drawing; for shapes, before them what the demo asks of any picture."""
    demo = []
    if drawing.kind == "shapes":
        count = capitalised(NUMBERS[len(drawing.marks[0])])
        demo = [
            Exchange(family="describe", question=DEFAULT_PROMPT, answer=drawing.caption),
            Exchange(family="count", question=COUNT_PROMPT, answer=count),
        ]
    return list({exchange.question: exchange for exchange in (*demo, *drawing.exchanges)}.values())[:MOST_QUESTIONS]


def rows(example: Example, drawing: Drawing) -> list[dict[str, object]]:
    """The entries of the questions file."""
    if drawing.frames:
        media: dict[str, object] = {"video": example.files[0]}
    else:
        media = {"pictures": list(example.files)} if len(example.files) > 1 else {"picture": example.files[0]}
    return [
        {**media, "question": exchange.question, "answer": exchange.answer, "family": exchange.family}
        for exchange in exchanges_of(drawing)
    ]


def write_examples(folder: Path, seed: int | None = None) -> None:
    """All files and the questions; of another seed than the table's if one is given."""
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, object]] = []
    for example in EXAMPLES:
        drawing = drawing_of(example if seed is None else replace(example, seed=seed))
        if drawing.frames:
            write_clip(folder / example.files[0], drawing.frames)
        else:
            for file, image in zip(example.files, drawing.images, strict=True):
                image.save(folder / file, optimize=True)
        entries += rows(example, drawing)
    (folder / QUESTIONS).write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def _ask(model: str, folder: Path) -> list[tuple[Question, Said]]:
    from ovexport.evaluate.answerer import How
    from ovexport.evaluate.ask import Said, ask_all
    from ovexport.evaluate.examples import example_suite
    from ovexport.evaluate.targets import open_answerer

    questions = example_suite(folder / QUESTIONS).questions
    with closing(open_answerer(model, How())) as answerer:
        answers = ask_all(model, answerer, questions, max_new_tokens=MAX_NEW_TOKENS).answers
    return [(question, said) for question, said in zip(questions, answers, strict=True) if isinstance(said, Said)]


def _check(model: str, folder: Path) -> None:
    """A line for each question: whether it is answered rightly, and if not, what is said."""
    asked = _ask(model, folder)
    for question, said in asked:
        told = "right" if said.score else f"wrong: {said.text!r} for {question.answers[0]!r}"
        print(f"{question.id}  {question.prompt!r}  {told}")
    print(f"{sum(said.score == 1 for _, said in asked)} of {len(asked)}")


def _survey(model: str, num_seeds: int) -> None:
    """A line for each seed: of each example how many questions are answered rightly."""
    for seed in range(num_seeds):
        with TemporaryDirectory() as folder:
            write_examples(Path(folder), seed)
            asked = _ask(model, Path(folder))
        right = Counter(question.id for question, said in asked if said.score)
        counts = Counter(question.id for question, _ in asked)
        shares = (f"{name} {right[name]}/{count}" for name, count in counts.items())
        print(f"seed {seed}  " + "  ".join(shares), flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ovexport.train.drawn.examples")
    parser.add_argument("folder", type=Path, help="where the examples are or shall be")
    parser.add_argument("--check", metavar="MODEL", help="only ask a bundle or checkpoint what is in the folder")
    parser.add_argument("--seeds", type=int, metavar="N", help="with --check: ask examples of seeds 0..N-1 instead")
    args = parser.parse_args(argv)
    if args.check is None:
        write_examples(args.folder)
    elif args.seeds is None:
        _check(args.check, args.folder)
    else:
        _survey(args.check, args.seeds)


if __name__ == "__main__":
    main()
