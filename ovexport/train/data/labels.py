"""Which ids of a conversation are learned: the released rule, and a cleaner one.

Knows pieces of ids and nothing of positions or the shift. A medium is never a label.
"""

from __future__ import annotations

from collections.abc import Callable

from ovexport.model.onevision import IGNORE_LABEL
from ovexport.train.data.conversation import MEDIUM, Chat, Piece


def released(piece: Piece, chat: Chat) -> list[int]:
    """As LLaVA-NeXT's `preprocess_qwen`: answers with their header and the newline behind them, and everywhere, in
    system and user turns too, every newline token and every start and end of a turn.
    """
    if piece.role == "assistant":
        return [IGNORE_LABEL if id_ == MEDIUM else id_ for id_ in piece.ids]
    return [id_ if id_ in chat.structure else IGNORE_LABEL for id_ in piece.ids]


def assistant_only(piece: Piece, chat: Chat) -> list[int]:
    """What the assistant says and the end of its turn: just what a model has to generate."""
    if piece.role != "assistant":
        return [IGNORE_LABEL] * len(piece.ids)
    said = piece.ids[piece.header : len(piece.ids) - piece.trailer]
    learned = [IGNORE_LABEL if id_ == MEDIUM else id_ for id_ in said]
    return [IGNORE_LABEL] * piece.header + learned + [IGNORE_LABEL] * piece.trailer


LABELS: dict[str, Callable[[Piece, Chat], list[int]]] = {"released": released, "assistant-only": assistant_only}
