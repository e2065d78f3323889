"""Exchanges without a picture: small sums, codes to repeat, lists of words and opposites.

The split goes by the whole question, that of codes by the code (codes.py). Knows nothing of tokens or models; sits on
family.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from ovexport.train.drawn.codes import random_code
from ovexport.train.drawn.family import MOST_EXCHANGES, Drawing, Exchange, Family, on_side, shuffled
from ovexport.train.drawn.sum_picture import random_terms
from ovexport.train.drawn.wording import capitalised, short

_SUM = {
    "+": ("What is {0} plus {1}?", "What is {0} + {1}?", "Add {0} and {1}.", "What is the sum of {0} and {1}?",
          "How much is {0} plus {1}?", "Calculate {0} + {1}."),
    "-": ("What is {0} minus {1}?", "What is {0} - {1}?", "Subtract {1} from {0}.", "Take {1} away from {0}.",
          "How much is {0} minus {1}?", "Calculate {0} - {1}."),
}  # fmt: skip
_REPEAT = ("Repeat the code {0}.", "Say the code {0}.", "The code is {0}. What is the code?", "Write {0} once more.")
_IN_LIST = ("Which word comes {0} in this list: {1}?", "What is the {0} word of this list: {1}?",
            "Here is a list: {1}. Which word is {0}?")  # fmt: skip
_OPPOSITE = ("What is the opposite of {0}?", "Name the opposite of {0}.", "Which word is the opposite of {0}?",
             "Say the opposite of {0}.", "The opposite of {0} is?")  # fmt: skip
_OPPOSITE_AMONG = ("Which of these words is the opposite of {0}: {1}?", "{1}: which one is the opposite of {0}?")
_WORDS = (
    "apple", "bread", "bridge", "chair", "cloud", "door", "field", "fish", "flower", "forest", "garden", "glass",
    "hat", "house", "island", "key", "lamp", "letter", "moon", "mountain", "music", "paper", "river", "road", "school",
    "ship", "shoe", "stone", "sun", "table", "train", "tree", "water", "wheel", "wind", "window",
)  # fmt: skip
_OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("up", "down"), ("left", "right"), ("day", "night"), ("fast", "slow"),
    ("old", "new"), ("open", "closed"), ("wet", "dry"), ("full", "empty"), ("high", "low"), ("light", "dark"),
    ("long", "short"), ("loud", "quiet"), ("hard", "soft"), ("early", "late"), ("rich", "poor"), ("clean", "dirty"),
    ("thick", "thin"), ("near", "far"),
)  # fmt: skip


@dataclass(frozen=True)
class _Pair:
    question: str
    answer: str

    @property
    def meaning(self) -> str:
        return self.question


def _ask_sum(rng: random.Random) -> _Pair:
    one, sign, other, result = random_terms(rng)
    return _Pair(rng.choice(_SUM[sign]).format(one, other), str(result))


def _ask_list(rng: random.Random) -> _Pair:
    words = rng.sample(_WORDS, rng.randint(3, 4))
    which, answer = rng.choice((("first", words[0]), ("last", words[-1])))
    return _Pair(rng.choice(_IN_LIST).format(which, ", ".join(words)), capitalised(answer))


def _ask_opposite(rng: random.Random) -> _Pair:
    word, opposite = rng.sample(rng.choice(_OPPOSITES), 2)
    if rng.random() < 0.5:
        return _Pair(rng.choice(_OPPOSITE).format(word), capitalised(opposite))
    among = [opposite, *rng.sample(_WORDS, 2)]
    rng.shuffle(among)
    return _Pair(capitalised(rng.choice(_OPPOSITE_AMONG).format(word, ", ".join(among))), capitalised(opposite))


_ASKERS: dict[str, Callable[[random.Random], _Pair]] = {
    "sum-text": _ask_sum,
    "word-list": _ask_list,
    "opposite": _ask_opposite,
}
# Chance without reading to the end: the first word of the list, one of the words named, the most frequent sum.
FAMILIES = tuple(
    Family(name=name, vision_input="text", instruction=instruction, response="fixed-form", chance=chance)
    for name, instruction, chance in (
        ("sum-text", "Math/Reasoning", 0.1),
        ("repeat", "Language", 0.0),
        ("word-list", "Language", 0.5),
        ("opposite", "Language", 0.18),
    )
)


def _exchange(family: str, rng: random.Random, *, held_out: bool) -> Exchange:
    if family == "repeat":
        code = random_code(rng, held_out=held_out)
        return Exchange(family=family, question=rng.choice(_REPEAT).format(code), answer=code)
    pair = on_side(lambda: _ASKERS[family](rng), asked=held_out)
    return Exchange(family=family, question=short(pair.question, rng), answer=pair.answer)


def draw(rng: random.Random, *, held_out: bool) -> Drawing:
    """Nothing to see: exchanges that have nothing to do with each other."""
    names = [family.name for family in FAMILIES]
    picked = [rng.choice(names) for _ in range(rng.randint(2, MOST_EXCHANGES))]
    exchanges = [_exchange(name, rng, held_out=held_out) for name in picked]
    return Drawing(kind="words", exchanges=shuffled(exchanges, rng))
