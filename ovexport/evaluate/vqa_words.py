"""Short answers made comparable, by the rules of the VQA challenge's official evaluation.

In place of its table of contractions, apostrophes are dropped: "dont" and "don't" are one either way. Knows text only.
"""

from __future__ import annotations

import re

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ARTICLES = frozenset({"a", "an", "the"})

_DIGITS = {"none": "0", **{word: str(number) for number, word in enumerate(NUMBER_WORDS)}}
_DIGIT_GROUPS = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")  # not the point of a decimal number
_APOSTROPHES = re.compile(r"['\u2019]")


def comparable(answer: str) -> str:
    """Lower case, without punctuation and articles, numbers as digits.

    A punctuation mark between two words becomes a blank ("t-shirt"), unless the answer has one beside a blank or
    groups digits by commas ("1,000"): then all of that mark go without a trace.
    """
    text = " ".join(answer.split())
    grouped = _DIGIT_GROUPS.search(text) is not None
    bare = text
    for mark in PUNCTUATION:
        vanishes = grouped or f"{mark} " in text or f" {mark}" in text
        bare = bare.replace(mark, "" if vanishes else " ")
    bare = _APOSTROPHES.sub("", _FULL_STOP.sub("", bare)).lower()
    words = (_DIGITS.get(word, word) for word in bare.split())
    return " ".join(word for word in words if word not in ARTICLES)
