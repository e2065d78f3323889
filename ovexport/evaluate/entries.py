"""One entry of a user's own set -> questions: visual question answering with one answer, several or ten, or choices.

A table says by which key an entry is known. LLaVA's conversations are read by `ovexport.train.data.records`, and
become questions here. Knows no files but whether they are there.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovengines.errors import OVError
from ovexport.evaluate.letters import LETTERS
from ovexport.evaluate.question import LEVELS, Question
from ovexport.train.data.records import Record, Turn
from ovexport.train.drawn.wording import OPTION_LETTER, SHORT_ANSWER
from ovrun.prompt.messages import MARKERS, user_message

SOFT_ANSWERS = 10  # as many people as VQA asks

Entry = Mapping[str, Any]


class BadEntry(Exception):
    """An entry that is no question; its text is the reason."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an entry stands: its folder, the family of those that name none, and its number from 0."""

    folder: Path
    family: str
    number: int


def entry_id(entry: Entry, number: int) -> str:
    given = next((entry[key] for key in ("question_id", "id") if key in entry), number)
    return str(given)


def entry_question(entry: Entry, place: Place) -> Question:
    """The question of an entry that is no conversation. Raises BadEntry."""
    read = next((form for key, form in _FORMS.items() if key in entry), None)
    if read is None:
        raise BadEntry(f"it has none of {', '.join(('conversations', *_FORMS))}")
    return _checked(read(entry, place))


def record_questions(record: Record, place: Place) -> list[Question]:
    """A question per answer of a conversation, each asked by itself: the model is not shown the turns before it."""
    pairs = [(a.text, b.text) for a, b in zip(record.turns, record.turns[1:], strict=False) if _is_exchange(a, b)]
    if record.families and len(record.families) != len(pairs):
        raise BadEntry(f"{len(record.families)} families for {len(pairs)} questions")
    families = record.families or (place.family,) * len(pairs)
    images, videos = _files(record.images), _files([record.video] if record.video else [])
    shared = Question(
        id=record.id or str(place.number),
        family=place.family,
        prompt="",
        answers=(),
        scorer="exact" if record.response == "free-form" else "fixed",
        images=images,
        video=videos[0] if videos else None,
        vision_input=record.vision_input or _vision_input(images, videos),
        instruction=record.instruction or "",
        response=record.response or "",
    )
    questions = []
    for turn, (family, (asked, answer)) in enumerate(zip(families, pairs, strict=True)):
        prompt = asked.replace(MARKERS["image"], MARKERS["video"]) if videos else asked
        name = shared.id if len(pairs) == 1 else f"{shared.id}/{turn}"
        question = dataclasses.replace(shared, id=name, family=family, prompt=prompt, answers=(answer,))
        questions.append(_checked(question))
    return questions


def _is_exchange(turn: Turn, following: Turn) -> bool:
    return (turn.role, following.role) == ("user", "assistant")


def _open_question(entry: Entry, place: Place) -> Question:
    given = entry["answers"] if "answers" in entry else [entry["answer"]]
    if not isinstance(given, list) or not given:
        raise BadEntry("answers is not a list of answers")
    answers = tuple(_text(item.get("answer") if isinstance(item, dict) else item, "an answer") for item in given)
    fields = _shared_fields(entry, place)
    short = "" if fields["response"] == "free-form" else f"\n{SHORT_ANSWER}"
    return Question(
        prompt=_text(entry.get("question"), "the question") + short,
        answers=answers,
        scorer="vqa-soft" if len(answers) == SOFT_ANSWERS else "vqa",
        **fields,
    )


def _choice_question(entry: Entry, place: Place) -> Question:
    given = entry["options"] if "options" in entry else entry["choices"]
    choices = tuple(_text(item, "an option") for item in (_in_order(given) if isinstance(given, dict) else given or ()))
    if not 2 <= len(choices) <= len(LETTERS):
        raise BadEntry(f"{len(choices)} options: there should be 2 to {len(LETTERS)}")
    lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False)]
    return Question(
        prompt="\n".join([_text(entry.get("question"), "the question"), *lines, OPTION_LETTER]),
        answers=(_right_letter(entry.get("answer"), choices),),
        scorer="choice",
        choices=choices,
        chance=1 / len(choices),
        **{**_shared_fields(entry, place), "response": "fixed-form"},
    )


_FORMS: dict[str, Callable[[Entry, Place], Question]] = {
    "options": _choice_question,
    "choices": _choice_question,
    "answers": _open_question,
    "answer": _open_question,
}


def _in_order(options: dict[str, Any]) -> list[Any]:
    if sorted(options) != list(LETTERS[: len(options)]):
        raise BadEntry(f"options are called {', '.join(map(str, options))}, not A, B, ...")
    return [options[letter] for letter in sorted(options)]


def _right_letter(answer: Any, choices: tuple[str, ...]) -> str:
    """Of a letter, the number of an option from 0, or an option's text."""
    letters = LETTERS[: len(choices)]
    if type(answer) is int and 0 <= answer < len(choices):
        return letters[answer]
    if isinstance(answer, str):
        letter = answer.strip().strip("().").upper()
        if len(letter) == 1 and letter in letters:
            return letter
        if choices.count(answer) == 1:
            return letters[choices.index(answer)]
    raise BadEntry(f"the answer {str(answer)[:60]!r} is none of the {len(choices)} options")


def _shared_fields(entry: Entry, place: Place) -> dict[str, Any]:
    images = _files(place.folder / name for name in _names(entry, "image") + _names(entry, "images"))
    videos = _files(place.folder / name for name in _names(entry, "video"))
    if len(videos) > 1:
        raise BadEntry(f"{len(videos)} videos: one can be asked about")
    family = next((entry[key] for key in ("family", "category", "question_type") if key in entry), place.family)
    fields = {level: _text(entry.get(level, ""), level) for level in LEVELS}
    fields["vision_input"] = fields["vision_input"] or _vision_input(images, videos)
    return {
        "id": entry_id(entry, place.number),
        "family": _text(family, "the family"),
        "images": images,
        "video": videos[0] if videos else None,
        **fields,
    }


def _names(entry: Entry, key: str) -> list[str]:
    given = entry.get(key)
    names = given if isinstance(given, list) else [] if given is None else [given]
    return [_text(name, key) for name in names]


def _files(paths: Iterable[Path]) -> tuple[Path, ...]:
    found = tuple(paths)
    for path in found:
        if not os.path.exists(path):  # a video may be a folder of frames; no path is too odd for this function
            raise BadEntry(f"{path} does not exist")
    return found


def _text(value: Any, what: str) -> str:
    """A text, or a number as one."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise BadEntry(f"{what} is {str(value)[:60]!r}, not a text")


def _vision_input(images: tuple[Path, ...], videos: tuple[Path, ...]) -> str:
    return "video" if videos else ("text", "single-image", "multi-image")[min(2, len(images))]


def _checked(question: Question) -> Question:
    """Raises BadEntry where the prompt marks other media than there are."""
    try:
        user_message(question.prompt, len(question.images), int(question.video is not None))
    except OVError as err:
        raise BadEntry(err.message) from err
    return question
