"""Questions without a picture: answers derived again from their words."""

from __future__ import annotations

import re

from drawn_pictures import exchanges, first_line


def test_sums_in_words() -> None:
    for _, exchange in exchanges("words", "sum-text", 1000):
        question = first_line(exchange)
        one, other = (int(n) for n in re.findall(r"\d+", question))
        if re.search(r"plus|\+|Add|sum of", question):
            assert exchange.answer == str(one + other)
        else:
            assert exchange.answer == str(abs(one - other))
            assert (one < other) <= ("Subtract" in question or "Take" in question), question


def test_repeated_codes_and_first_and_last_words() -> None:
    for _, exchange in exchanges("words", "repeat"):
        assert re.search(rf"\b{exchange.answer}\b", exchange.question)
    for _, exchange in exchanges("words", "word-list"):
        match = re.search(r"\w+(, \w+)+", first_line(exchange).replace("which word", ""))
        assert match is not None
        words = match[0].split(", ")
        assert exchange.answer == words[0 if "first" in exchange.question else -1].capitalize()


def test_opposites_are_mutual() -> None:
    of: dict[str, str] = {}
    for _, exchange in exchanges("words", "opposite", 1500):
        match = re.search(r"opposite of (\w+)", exchange.question)
        word = match[1] if match else ""
        assert of.setdefault(word, exchange.answer.lower()) == exchange.answer.lower()
        if ", " in exchange.question:
            assert exchange.answer.lower() in re.findall(r"\w+", exchange.question.lower().replace(word, "", 1))
    assert len(of) == 40 and all(of[of[word]] == word for word in of)
