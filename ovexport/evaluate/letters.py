"""Which of the lettered options an answer chooses, however it says so. Knows text only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ovexport.evaluate.vqa_words import comparable

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# The first that fits decides. "A" is also an article, so a letter with more text behind it needs a mark between them.
_SAYS_LETTER = (
    re.compile(r"[(\[]?(?P<letter>[A-Za-z])[)\]]?[.:]?"),  # B  (b)  B.
    re.compile(r"[(\[]?(?P<letter>[A-Z])[)\]]?[.:,)\]]\s.*", re.DOTALL),  # B. A dog   (B) a dog   B, because
    re.compile(r".*\b(?i:answer|option|choice)(?i:\s+is)?:?\s*[(\[]?(?P<letter>[A-Z])\b(?!['\u2019]).*", re.DOTALL),
)


def chosen_letter(answer: str, choices: Sequence[str]) -> str | None:
    """A letter that is said, else that of the option which is said; None where it is none, or more than one.

    `choices` are the texts behind A, B, ...
    """
    letters = LETTERS[: len(choices)]
    for pattern in _SAYS_LETTER:
        if (found := pattern.fullmatch(answer.strip())) and found["letter"].upper() in letters:
            return found["letter"].upper()
    said, options = comparable(answer), [comparable(choice) for choice in choices]
    for holds in (lambda option: said == option, lambda option: bool(option) and f" {option} " in f" {said} "):
        chosen = [letter for letter, option in zip(letters, options, strict=True) if holds(option)]
        if len(chosen) == 1:
            return chosen[0]
    return None
