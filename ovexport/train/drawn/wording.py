"""English of the drawn questions: numbers, places, lists and the format prompts of the paper.

Format prompts are those of LLaVA-OneVision's fixed-form data, at the end of the question on a line of their own.
Knows nothing of pictures; used by the files that ask.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

DEFAULT_PROMPT = "Describe this image."
SHORT_ANSWER = "Answer the question with a single word or phrase."
YES_OR_NO = "Answer the question with Yes or No."
OPTION_LETTER = "Answer with the option letter from the given choices directly."
NUMBERS = ("zero", "one", "two", "three", "four")
LETTERS = "ABCD"

_SHORT_ANSWER_SHARE = 0.3
_IN_PLACE = {"centre": "in the centre", "left": "on the left", "right": "on the right"}


def with_prompt(question: str, prompt: str, share: float, rng: random.Random) -> str:
    """The question, in `share` of the cases with the format prompt behind it."""
    return f"{question}\n{prompt}" if rng.random() < share else question


def short(question: str, rng: random.Random) -> str:
    """The question, at times with the prompt for a short answer."""
    return with_prompt(question, SHORT_ANSWER, _SHORT_ANSWER_SHARE, rng)


def with_options(question: str, answer: str, table: Sequence[str], rng: random.Random) -> tuple[str, str]:
    """A choice of four out of `table`, and the letter of the right one."""
    options = [answer, *rng.sample([word for word in table if word != answer], len(LETTERS) - 1)]
    rng.shuffle(options)
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=True)]
    return "\n".join([question, *lines, OPTION_LETTER]), LETTERS[options.index(answer)]


def in_place(place: str) -> str:
    return _IN_PLACE.get(place, f"at the {place}")


def with_article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def plural(noun: str) -> str:
    return noun + ("es" if noun.endswith("s") else "s")


def listed(parts: Sequence[str]) -> str:
    """a, b and c"""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
