"""Two images of two or three shapes at the same places: are they the same, and if not, what changed.

In a third of the pairs nothing changed, in the others exactly one thing. Sits on pictures.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from ovexport.train.drawn.family import Drawing, Exchange, Family, on_side
from ovexport.train.drawn.pictures import Figure, arranged, empty_scene, listing, random_figures, sentence
from ovexport.train.drawn.scene import COLOURS, SHAPES, Scene, jittered, marks, render
from ovexport.train.drawn.wording import YES_OR_NO, with_article, with_prompt

CHANGES = ("colour", "shape", "gone", "added")
FAMILIES = (
    Family(
        name="changed",
        vision_input="multi-image",
        instruction="General",
        response="free-form",
        # the kind of change, then the one figure of all that it says where it says least
        chance=1 / (len(CHANGES) * len(SHAPES) * len(COLOURS)),
    ),
    Family(name="same", vision_input="multi-image", instruction="General", response="fixed-form", chance=0.5),
)


@dataclass(frozen=True, kw_only=True)
class _Story:
    """`figures` are all that either image shows, in reading order; one of them changes, or none (`change` None)."""

    figures: tuple[Figure, ...]
    change: str | None
    changed: int  # index into figures
    after: Figure  # what the changed one looks like in the second image

    @property
    def meaning(self) -> str:
        there = ", ".join(sorted(map(str, self.figures)))
        return f"pair: {there}" + (f"; {self.told}" if self.change else "")

    @property
    def told(self) -> str:
        """The change in one canonical sentence, without capital and full stop."""
        before = self.figures[self.changed]
        return {
            "colour": f"the {before.shape} turned {self.after.colour}",
            "shape": f"the {before} became {with_article(self.after.shape)}",
            "gone": f"the {before} is gone",
            "added": f"{before.phrase} was added",
        }[self.change or ""]


def _new_colour(rng: random.Random, figures: tuple[Figure, ...], changed: Figure) -> Figure:
    return replace(changed, colour=rng.choice([c for c in COLOURS if all(c != f.colour for f in figures)]))


def _new_shape(rng: random.Random, figures: tuple[Figure, ...], changed: Figure) -> Figure:
    return replace(changed, shape=rng.choice([s for s in SHAPES if all(s != f.shape for f in figures)]))


_RENEW: dict[str | None, Callable[[random.Random, tuple[Figure, ...], Figure], Figure]] = {
    "colour": _new_colour,
    "shape": _new_shape,
}


def _random_story(rng: random.Random) -> _Story:
    figures = random_figures(rng, rng.choice((2, 3)))
    change = rng.choice(CHANGES) if rng.random() < 2 / 3 else None
    changed = rng.randrange(len(figures))
    renew = _RENEW.get(change)
    after = renew(rng, figures, figures[changed]) if renew else figures[changed]
    return _Story(figures=figures, change=change, changed=changed, after=after)


def _exchanges(rng: random.Random, story: _Story) -> tuple[Exchange, ...]:
    """Every changed pair is asked for its change; as many changed as unchanged ones whether they are the same."""
    question = with_prompt("Are the two images the same?", YES_OR_NO, 0.5, rng)
    same = Exchange(family="same", question=question, answer="No" if story.change else "Yes")
    if story.change is None:
        return (same,)
    question = "What changed from the first image to the second?"
    changed = Exchange(family="changed", question=question, answer=sentence(story.told))
    return (same, changed) if rng.random() < 0.5 else (changed,)


def _caption(story: _Story) -> str:
    if story.change is None:
        return sentence(f"both images show {listing(story.figures)}")
    first = [f for number, f in enumerate(story.figures) if (story.change, number) != ("added", story.changed)]
    return sentence(f"the first image shows {listing(first)}") + " " + sentence(f"in the second image {story.told}")


def _scenes(rng: random.Random, story: _Story) -> tuple[Scene, Scene]:
    """The same picture twice, but for what changed."""
    scene = empty_scene(rng)
    first = arranged(rng, scene, story.figures)
    second = list(first)
    if story.change == "added":
        del first[story.changed]
    elif story.change == "gone":
        del second[story.changed]
    elif story.change is not None:
        thing, after = second[story.changed], story.after
        rgb = jittered(after.colour, rng) if story.change == "colour" else thing.rgb
        second[story.changed] = replace(thing, colour=after.colour, shape=after.shape, rgb=rgb)
    return replace(scene, things=tuple(first)), replace(scene, things=tuple(second))


def draw(rng: random.Random, *, held_out: bool) -> Drawing:
    story = on_side(lambda: _random_story(rng), asked=held_out)
    scenes = _scenes(rng, story)
    return Drawing(
        kind="pair",
        images=tuple(map(render, scenes)),
        marks=tuple(map(marks, scenes)),
        caption=_caption(story),
        exchanges=_exchanges(rng, story),
    )
