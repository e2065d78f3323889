"""An answer that is given beforehand, made by the runtime's own decoding: random weights would not copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

CERTAIN = 1e9  # above every logit


class Forced:
    """An engine that does all of its work; its logits then have the next token of `text` as their largest."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.text: Sequence[int] = ()
        self.best_is_cheap = False  # so that it is asked for logits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def decode(self, cache: Any, ids_BS: Any, *, logits_index_BK: Any, **more: Any) -> Any:
        """Of one slot."""
        start = cache.lengths[0]
        logits_BKV = self._engine.decode(cache, ids_BS, logits_index_BK=logits_index_BK, **more)
        for number, index in enumerate(logits_index_BK[0]):
            logits_BKV[0, number, self.text[start + index + 1]] = CERTAIN
        return logits_BKV


def forced_rows(engine: Any, capacity: int) -> tuple[Forced, Any]:
    """The engine to give the text to, and the runtime's `Rows` over it."""
    from ovrun.decode.rows import Rows

    forced = Forced(engine)
    return forced, Rows(forced, 1, capacity)  # type: ignore[arg-type]


def forced_row(session: Any, prompt: Sequence[int], tokens: int, drafted: int) -> Any:
    """A row of the runtime that reads `prompt` and answers so many tokens, with drafts of so many."""
    from ovrun.decode.answer import Answer
    from ovrun.decode.prompt import Prompt
    from ovrun.decode.rows import Row
    from ovrun.options import GenerationOptions

    ids_S = np.array(prompt)
    text_S = np.full(len(prompt), -1)
    options = GenerationOptions(max_new_tokens=tokens, prompt_lookup_num_tokens=drafted)
    return Row(
        prompt=Prompt(
            ids_S=ids_S, sight_S=text_S, row_S=text_S, marked_ids=tuple(prompt), digests=(), look=lambda _: ids_S
        ),
        answer=Answer(options, session.tokenizer.decode, session.model.eos_token_ids, prompt_ids=prompt),
    )
