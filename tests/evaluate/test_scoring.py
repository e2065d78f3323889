"""Scores against what the rules say when they are worked out by hand, and against properties of the rules."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovexport.evaluate.letters import LETTERS, chosen_letter
from ovexport.evaluate.question import Question
from ovexport.evaluate.scoring import SCORERS, score
from ovexport.evaluate.vqa_words import ARTICLES, PUNCTUATION, comparable

WORDS = st.lists(st.text("bcdfgklmp", min_size=2, max_size=5), min_size=1, max_size=4)


def question(scorer: str, *answers: str, choices: tuple[str, ...] = ()) -> Question:
    return Question(id="q", family="f", prompt="?", answers=answers, scorer=scorer, choices=choices)


@pytest.mark.parametrize(
    ("scorer", "said", "answers", "expected"),
    [
        ("exact", " A red circle.\n", ["A red circle."], 1),
        ("exact", "A red circle", ["A red circle."], 0),
        ("exact", "a red circle.", ["A red circle."], 0),
        ("exact", "Two.", ["One.", "Two."], 1),
        ("fixed", "red", ["Red"], 1),
        ("fixed", " RED. ", ["Red"], 1),
        ("fixed", "Red .", ["red"], 1),
        ("fixed", "3.5", ["3.5."], 1),
        ("fixed", "Red..", ["Red"], 0),
        ("fixed", "Dark red", ["Red"], 0),
        ("fixed", "", ["Red"], 0),
        ("fixed", "Maße", ["MASSE"], 1),
        ("vqa", "The red car.", ["red car"], 1),
        ("vqa", "Two", ["2"], 1),
        ("vqa", "none", ["0", "zero"], 1),
        ("vqa", "dont know", ["Don't know"], 1),
        ("vqa", "it\u2019s", ["it's"], 1),
        ("vqa", "t-shirt", ["t shirt"], 1),
        ("vqa", "t- shirt", ["tshirt"], 0),  # beside a blank the mark goes, and the blank stays
        ("vqa", "1,000", ["1000"], 1),
        ("vqa", "1,000-2", ["10002"], 1),  # digits grouped by commas: all marks go without a trace
        ("vqa", "3.5", ["35"], 0),
        ("vqa", "St. Louis", ["st louis"], 1),
        ("vqa", "yes!", ["Yes"], 1),
        ("vqa", "(yes)", ["yes"], 1),
        ("vqa", "a", ["an"], 1),
        ("vqa", "twenty", ["20"], 0),  # the rules know numbers up to ten
        ("vqa", "white\tand\nblack", ["white and black"], 1),
        ("vqa", "reds", ["red"], 0),
    ],
)
def test_by_hand(scorer: str, said: str, answers: list[str], expected: float) -> None:
    assert score(said, question(scorer, *answers)) == expected


@pytest.mark.parametrize(("agreeing", "expected"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_soft_accuracy_of_ten_people(agreeing: int, expected: float) -> None:
    """The figures that papers on VQA give for the official metric."""
    answers = ["the Cat"] * agreeing + [f"dog{i}" for i in range(10 - agreeing)]
    assert score("cat", question("vqa-soft", *answers)) == pytest.approx(expected)


@given(st.lists(st.sampled_from(["cat", "dog", "a cow"]), min_size=10, max_size=10))
def test_soft_accuracy_is_the_mean_over_nine_of_ten(answers: list[str]) -> None:
    subsets = list(itertools.combinations(answers, 9))
    mean = sum(min(Fraction(1), Fraction(subset.count("dog"), 3)) for subset in subsets) / len(subsets)
    assert score("Dog.", question("vqa-soft", *answers)) == pytest.approx(float(mean))


@given(WORDS, st.randoms(use_true_random=False))
def test_wording_that_does_not_count(words: list[str], rng: random.Random) -> None:
    """Case, articles, marks at the end and blanks; but no word may go or come."""
    dressed = [rng.choice([word, word.upper(), word.title()]) for word in words]
    for article in sorted(ARTICLES):
        dressed.insert(rng.randint(0, len(dressed)), article)
    text = rng.choice(["  ", "\n"]).join(dressed) + rng.choice([".", "!", "?", ""])
    assert comparable(text) == " ".join(words)
    assert comparable(" ".join([*words, "more"])) != comparable(text)


@given(st.text(st.characters(codec="ascii"), max_size=30))
def test_nothing_is_left_to_normalise(text: str) -> None:
    words = comparable(text).split(" ")
    assert not set(words) & ARTICLES and not set(words) & {"none", "two", "ten"}
    assert (
        not set(comparable(text)) & set(PUNCTUATION.replace(",", "")) and comparable(text) == comparable(text).lower()
    )


CHOICES = ("a red circle", "two circles", "a circle", "blue")


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        *[("B", "B"), ("b", "B"), ("(B)", "B"), ("B.", "B"), (" B) ", "B"), ("[c]", "C"), ("D:", "D")],
        *[("B. Two circles", "B"), ("(C) a circle", "C"), ("D, because it is", "D"), ("B) yes", "B"), ("B: yes", "B")],
        *[("The answer is B", "B"), ("Answer: (D)", "D"), ("the correct option is C.", "C"), ("I take choice D", "D")],
        *[("Option A is wrong, so the answer is B", "B"), ("Two circles", "B"), ("The blue.", "D")],
        *[("A red circle", "A"), ("It is a red circle", None), ("I see blue", "D")],
        *[("E", None), ("", None), ("maybe", None), ("red", None), ("A or B", None), ("Because", None)],
    ],
)
def test_letters_by_hand(said: str, letter: str | None) -> None:
    """ "It is a red circle" also holds the third option, so it chooses none."""
    assert chosen_letter(said, CHOICES) == letter


@given(
    st.integers(2, 26),
    st.data(),
    st.sampled_from(["{}", "({})", "{}.", "{})", "[{}]", "Answer: {}", "The answer is ({}).", "{}. word two"]),
)
def test_any_letter_in_any_dress(num_choices: int, data: st.DataObject, dress: str) -> None:
    letter = data.draw(st.sampled_from(LETTERS[:num_choices]))
    choices = [f"word{i} two" for i in range(num_choices)]
    assert chosen_letter(dress.format(letter), choices) == letter
    assert chosen_letter(choices[LETTERS.index(letter)].upper(), choices) == letter


def test_choices_are_scored_by_letter() -> None:
    asked = question("choice", "B", choices=CHOICES)
    assert [score(said, asked) for said in ("B", "two circles.", "A", "who knows")] == [1, 1, 0, 0]


def test_every_scorer_is_tested_here() -> None:
    assert set(SCORERS) == {"exact", "fixed", "vqa", "vqa-soft", "choice"}
