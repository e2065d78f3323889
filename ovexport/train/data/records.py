"""LLaVA's records: a JSON list or JSONL of conversations with images or a video, read one at a time.

Checks what can be seen in the record itself, without opening a medium. Knows no tokens and no mixtures.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovexport.train.data.offsets import record_spans
from ovrun.log import logger
from ovrun.prompt.messages import MARKERS

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
IMAGE, VIDEO = MARKERS["image"], MARKERS["video"]
LEVELS = ("vision_input", "instruction", "response")
KNOWN_KEYS = frozenset({"id", "image", "video", "conversations", "data_source", "families", *LEVELS})


class BadRecord(Exception):
    """A record that nothing can be learned from; never fatal. `record_id` is "" while it is not known."""

    def __init__(self, reason: str, record_id: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.record_id = record_id


@dataclass(frozen=True, kw_only=True)
class Turn:
    """role is user, assistant or system; every medium is an `<image>` in the text, a video too."""

    role: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """One conversation. It has images, or one video, or neither; `families` has one name per exchange, or none."""

    source: str
    index: int
    id: str
    turns: tuple[Turn, ...]
    images: tuple[Path, ...] = ()
    video: Path | None = None
    families: tuple[str, ...] = ()
    vision_input: str | None = None
    instruction: str | None = None
    response: str | None = None

    @property
    def num_media(self) -> int:
        return 1 if self.video else len(self.images)

    @property
    def modality(self) -> str:
        """How it is seen: "text", "image", "multi-image" or "video"."""
        return "video" if self.video else ("text", "image", "multi-image")[min(2, len(self.images))]


class RecordFile:
    """The records of one file. Media are looked for in the folders given, by default in the file's own.

    Keys that no one knows are counted in `unknown_keys`, and each is warned about once.
    """

    def __init__(self, path: Path, image_folder: Path | None = None, video_folder: Path | None = None) -> None:
        """Raises OVError (BAD_INPUT) for a file that can't be read or is neither a JSON list nor JSONL."""
        self.path = path
        self.image_folder = image_folder or path.parent
        self.video_folder = video_folder or path.parent
        self.unknown_keys: Counter[str] = Counter()
        self._spans_R2 = record_spans(path)

    def __len__(self) -> int:
        return len(self._spans_R2)

    def __getitem__(self, index: int) -> Record:
        """Raises BadRecord for a record that is broken."""
        fields = self._fields(index)
        record_id = str(fields.get("id", ""))
        try:
            return self._record(fields, index, record_id)
        except BadRecord as err:
            raise BadRecord(err.reason, record_id) from err

    def word_count(self, index: int) -> int:
        """Words of all turns, negative for a record without media, as released (to group by); 1 for a broken one."""
        try:
            fields = self._fields(index)
            words = sum(len(turn.text.split()) for turn in _all_turns(fields))
        except BadRecord:
            return 1
        has_media = fields.get("image") is not None or fields.get("video") is not None
        return max(1, words) if has_media else -max(1, words)

    def _fields(self, index: int) -> dict[str, Any]:
        start, end = self._spans_R2[index].tolist()
        try:
            with self.path.open("rb") as file:  # kept open, it would be shared between the workers of a loader
                file.seek(start)
                fields = json.loads(file.read(end - start))
        except (ValueError, RecursionError) as err:
            raise BadRecord(f"not valid JSON: {err}") from err
        except OSError as err:
            raise BadRecord(f"can't be read: {err.strerror}") from err
        if not isinstance(fields, dict):
            raise BadRecord(f"{_shown(fields)} is not a record")
        self._count_unknown(fields)
        return fields

    def _count_unknown(self, fields: dict[str, Any]) -> None:
        unknown = fields.keys() - KNOWN_KEYS
        new = unknown - self.unknown_keys.keys()
        if new:
            logger.warning("%s: unknown keys are ignored: %s", self.path, ", ".join(sorted(new)))
        self.unknown_keys.update(unknown)

    def _record(self, fields: dict[str, Any], index: int, record_id: str) -> Record:
        images, video = _paths(fields, "image"), _paths(fields, "video")
        if len(video) > 1 or (video and images):
            raise BadRecord("more than one video, or images beside a video")
        turns = _from_first_human(_all_turns(fields))
        if video:
            turns = tuple(Turn(role=turn.role, text=turn.text.replace(VIDEO, IMAGE)) for turn in turns)
        _check_markers(turns, len(images) + len(video))
        return Record(
            source=str(self.path),
            index=index,
            id=record_id,
            turns=turns,
            images=tuple(self.image_folder / name for name in images),
            video=self.video_folder / video[0] if video else None,
            families=_families(fields, turns),
            **{level: _text_or_none(fields, level) for level in LEVELS},
        )


def _paths(fields: dict[str, Any], key: str) -> list[str]:
    given = fields.get(key)
    names = [] if given is None else given if isinstance(given, list) else [given]
    for name in names:
        if not isinstance(name, str) or not name or "\0" in name:
            raise BadRecord(f"{key} is {_shown(name)}, not a path")
    return names


def _all_turns(fields: dict[str, Any]) -> list[Turn]:
    conversations = fields.get("conversations")
    if not isinstance(conversations, list) or not conversations:
        raise BadRecord("no conversations" if not conversations else "conversations is not a list")
    return [_turn(turn) for turn in conversations]


def _turn(turn: Any) -> Turn:
    if not isinstance(turn, dict):
        raise BadRecord(f"{_shown(turn)} is not a turn")
    role = turn.get("role", turn.get("from"))
    text = turn.get("content", turn.get("value"))
    if not isinstance(text, str):
        raise BadRecord(f"a turn says {_shown(text)}, not a text")
    if not isinstance(role, str) or role not in ROLES:
        raise BadRecord(f"a turn is from {_shown(role)}, not from human or gpt")
    return Turn(role=ROLES[role], text=text)


def _from_first_human(turns: list[Turn]) -> tuple[Turn, ...]:
    """The conversation without a first turn that is not a human's (as released); its system turn stays first."""
    system = turns[:1] if turns[0].role == "system" else []
    talk = turns[len(system) :]
    if talk and talk[0].role != "user":
        talk = talk[1:]
    if any(turn.role == "system" for turn in talk):
        raise BadRecord("a system turn that is not the first")
    if not talk or talk[0].role != "user" or not any(turn.role == "assistant" for turn in talk):
        raise BadRecord("no question with an answer")
    return (*system, *talk)


def _check_markers(turns: tuple[Turn, ...], num_media: int) -> None:
    found = sum(turn.text.count(IMAGE) for turn in turns)
    if found != num_media:
        raise BadRecord(f"{found} {IMAGE} markers for {num_media} media")
    if any(turn.text.count(VIDEO) for turn in turns):
        raise BadRecord(f"a {VIDEO} marker, but no video")


def _families(fields: dict[str, Any], turns: tuple[Turn, ...]) -> tuple[str, ...]:
    families = fields.get("families") or []
    if not isinstance(families, list) or not all(isinstance(family, str) for family in families):
        raise BadRecord("families is not a list of names")
    num_answers = sum(turn.role == "assistant" for turn in turns)
    if families and len(families) != num_answers:
        raise BadRecord(f"{len(families)} families for {num_answers} answers")
    return tuple(families)


def _text_or_none(fields: dict[str, Any], key: str) -> str | None:
    text = fields.get(key)
    if text is not None and not isinstance(text, str):
        raise BadRecord(f"{key} is {_shown(text)}, not a text")
    return text


def _shown(value: Any) -> str:
    return repr(value)[:60]
