"""A record's conversation as token ids, with one placeholder per medium: the templates of training.

As LLaVA-NeXT's `preprocess_multimodal`, `preprocess_qwen` and `preprocess_plain`: every turn is tokenised on its own.
Knows no labels, no pixels and no numbers of visual tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tokenizers import Tokenizer

from ovengines.errors import ExitCode, OVError
from ovexport.train.data.records import IMAGE, BadRecord, Record, Turn
from ovrun.prompt.messages import DEFAULT_SYSTEM

TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
MEDIUM = -200  # stands among the ids where a medium belongs; the number that LLaVA uses
_NOISE = "QA_GT_caption_based_noisy"  # left in VideoInstruct-100K


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Ids that one role says, in exchange 0 (what all exchanges share) or k; MEDIUM where a medium stands.

    All but the first `header` and the last `trailer` ids are what is said, with the end of the turn.
    """

    role: str
    ids: list[int]
    exchange: int = 0
    header: int = 0
    trailer: int = 0


class Chat:
    """Text to ids for training: a tokenizer, and the ids that ChatML is made of. Picklable.

    Raises OVError (BAD_INPUT) for a tokenizer without ChatML's tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        tokenizer.no_truncation()  # files of tokenizers may carry both, and here nothing may be cut or added
        tokenizer.no_padding()
        for token in (TURN_START, TURN_END):
            if tokenizer.token_to_id(token) is None:
                raise OVError(
                    ExitCode.BAD_INPUT, f"the tokenizer has no {token}", "use the tokenizer of a Qwen2-Instruct"
                )
        newline = self.encode("\n")
        self.structure = frozenset({*newline, tokenizer.token_to_id(TURN_START), tokenizer.token_to_id(TURN_END)})
        self.answer_header = len(self.encode(f"{TURN_START}assistant\n"))
        self.answer_trailer = len(newline)
        self._default_system = self._system(DEFAULT_SYSTEM)

    def encode(self, text: str) -> list[int]:
        """The ids of the text, MEDIUM where it says `<image>`. Raises BadRecord for what is not Unicode."""
        first, *others = text.split(IMAGE)
        ids = self._encode(first)
        for chunk in others:
            ids.append(MEDIUM)
            ids += self._encode(chunk)
        return ids

    def turn(self, role: str, text: str, exchange: int = 0) -> Piece:
        """A whole turn."""
        ids = self.encode(f"{TURN_START}{role}\n{text}{TURN_END}\n")
        return Piece(role=role, ids=ids, exchange=exchange, header=self.answer_header, trailer=self.answer_trailer)

    def system(self, text: str) -> Piece:
        return self._default_system if text == DEFAULT_SYSTEM else self._system(text)

    def _system(self, text: str) -> Piece:
        return self.turn("system", text)

    def _encode(self, text: str) -> list[int]:
        if not text:
            return []
        try:
            ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        except (UnicodeError, TypeError) as err:  # a lone surrogate, which JSON can write
            raise BadRecord("a text is not valid Unicode") from err
        return ids


def pieces(record: Record, chat: Chat, template: str, turns: str) -> list[Piece]:
    """The conversation by a template ("qwen_1_5", "plain") and a way to join turns ("chained", "apart").

    Chained is a conversation, all of it exchange 0. Apart, every exchange is put as if it were the first one: what all
    share (system turn, and everything up to the last medium) is exchange 0, and exchange k goes on from there.
    Raises BadRecord for a conversation that the template can't put.
    """
    return _WRITERS[template, turns](_cleaned(record), chat)


def _cleaned(record: Record) -> Record:
    """As `preprocess_multimodal`: noise is deleted, and the only medium of a turn goes to its front."""
    if not record.num_media:
        return record
    return replace(record, turns=tuple(Turn(role=turn.role, text=_medium_first(turn.text)) for turn in record.turns))


def _medium_first(text: str) -> str:
    if text.count(IMAGE) == 1 and not text.startswith(IMAGE):
        text = f"{IMAGE}\n{text.replace(IMAGE, '').strip()}".strip()
    return text.replace(_NOISE, "")


def _system_and_talk(record: Record) -> tuple[str, Sequence[Turn]]:
    if record.turns[0].role == "system":
        return record.turns[0].text, record.turns[1:]
    return DEFAULT_SYSTEM, record.turns


def _chained(record: Record, chat: Chat) -> list[Piece]:
    system, talk = _system_and_talk(record)
    return [chat.system(system), *(chat.turn(turn.role, turn.text) for turn in talk)]


def _apart(record: Record, chat: Chat) -> list[Piece]:
    system, talk = _system_and_talk(record)
    questions, answers = talk[::2], talk[1::2]
    roles = {turn.role for turn in questions}, {turn.role for turn in answers}
    if roles != ({"user"}, {"assistant"}) or len(questions) != len(answers):
        raise BadRecord("questions and answers do not take turns, as turns apart need")
    if any(IMAGE in turn.text for turn in talk[1:]):
        raise BadRecord("a medium after the first question, which turns apart can't share")
    before, marker, first_question = questions[0].text.rpartition(IMAGE)
    opening = f"{TURN_START}user\n{before}{marker}" if marker else ""
    # A question on its own would follow the medium after a newline, as the first one does.
    lead = "\n" if marker else f"{TURN_START}user\n"
    texts = [first_question if marker else lead + first_question, *(lead + turn.text for turn in questions[1:])]
    found = [chat.system(system), Piece(role="user", ids=chat.encode(opening))]
    for number, (text, answer) in enumerate(zip(texts, answers, strict=True), start=1):
        found.append(Piece(role="user", ids=chat.encode(f"{text}{TURN_END}\n"), exchange=number))
        found.append(chat.turn("assistant", answer.text, number))
    return found


def _plain(record: Record, chat: Chat) -> list[Piece]:
    """Stage 1: the medium instead of a question, the caption, a newline; no system turn, no ChatML, no end token."""
    if len(record.turns) != 2 or record.turns[1].role != "assistant" or record.num_media != 1:
        raise BadRecord("the plain template takes one medium and two turns, a question and its answer")
    if IMAGE in record.turns[1].text:
        raise BadRecord("a medium in the answer, which the plain template has no place for")
    caption = chat.encode(record.turns[1].text + "\n")
    return [Piece(role="user", ids=[MEDIUM]), Piece(role="assistant", ids=caption)]


_WRITERS: dict[tuple[str, str], Callable[[Record, Chat], list[Piece]]] = {
    ("qwen_1_5", "chained"): _chained,
    ("qwen_1_5", "apart"): _apart,
    ("plain", "chained"): _plain,
    ("plain", "apart"): _plain,
}
TEMPLATES = tuple(dict.fromkeys(template for template, _ in _WRITERS))
TURNS = tuple(dict.fromkeys(turns for _, turns in _WRITERS))
