"""Answers that are decoded together: each prompt is read into a slot of its own, then all take a step as one batch.

Rows come and go between steps (continuous batching). A slot keeps what it held, so a prompt that begins like another
one, or like one that is done, is read from where they part. One row alone may be decoded several tokens at a time.

Slots are in the order: rows that answer, rows whose prompt is still being read, free ones; so a step is over
neighbouring slots. Axes: B rows, S tokens, K rows of logits, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ovengines import Engine, KVCache
from ovengines.engine import Best
from ovengines.errors import OVError
from ovrun.decode.answer import Answer
from ovrun.decode.lookup import draft
from ovrun.decode.prompt import Held, Prompt
from ovrun.stopwatch import Stopwatch

WORTH_COPYING = 32  # tokens: what is shorter is read again sooner than copied


@dataclass(kw_only=True, eq=False)
class Row:
    """One prompt and its answer; `num_read` of the prompt's tokens are in the cache, `num_reused` were before."""

    prompt: Prompt
    answer: Answer
    clock: Stopwatch = field(default_factory=Stopwatch)
    on_read: Callable[[int, int], None] | None = None  # tokens read, tokens in all
    number: int = 0  # in the order of coming
    num_read: int = 0
    num_reused: int = 0
    error: OVError | None = None  # what ended it, if not the answer itself
    num_steps: int = 0  # runs of the decoder for the answer; fewer than tokens when drafts were right
    first_token_ms: float = 0.0
    embeds_TD: np.ndarray | None = None  # of what is still to be read
    embed_index_S: np.ndarray | None = None

    @property
    def is_done(self) -> bool:
        return self.answer.finish_reason is not None or self.error is not None

    @property
    def is_read(self) -> bool:
        return self.num_read == self.prompt.num_tokens

    def report(self, logits: np.ndarray | Best) -> str:
        """What the next token is chosen from; the text that has become certain. What is no number ends the row."""
        piece = ""
        try:
            with self.clock.stage("decode"):
                piece = self.answer.push(logits)
        except OVError as error:
            self.error = error
        self.first_token_ms = self.first_token_ms or self.clock.total_ms()
        return piece


class Rows:
    """At most `slots` rows over one cache. Not safe to use from several threads."""

    def __init__(
        self,
        engine: Engine,
        slots: int,
        capacity: int,
        *,
        keep_tokens: int | None = None,
    ) -> None:
        """`keep_tokens`: how long what a slot keeps may be once all is done; every step costs by the longest slot."""
        self._engine = engine
        self._cache: KVCache = engine.new_cache(capacity, slots)
        self._held: list[Held | None] = [None] * slots
        self._rows: list[Row] = []  # row i is in slot i; those that answer come first
        self._num_answering = self._num_added = 0
        self._keep_tokens = keep_tokens

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def has_room(self) -> bool:
        return len(self._rows) < len(self._held)

    def add(self, row: Row) -> None:
        """Take a row in; `step` reads its prompt and answers it. There must be room."""
        assert self.has_room and row.prompt.num_tokens > 0
        self._num_added += 1
        row.number = self._num_added
        self._rows.append(row)

    def drop(self, row: Row) -> None:
        """Take a row out, finished or not. What its slot holds stays there until another prompt needs the slot."""
        slot = self._rows.index(row)
        self._note_held(slot)
        if slot < self._num_answering:
            self._num_answering -= 1
            self._swap(slot, self._num_answering)
            slot = self._num_answering
        self._swap(slot, len(self._rows) - 1)
        self._rows.pop()
        if not self._rows and self._keep_tokens is not None:
            self._forget_long(self._keep_tokens)

    def step(self) -> list[tuple[Row, str]]:
        """Read a chunk of the first prompt that is not read, then one step of all that answer; the text of each.

        Rows that are done are dropped, one whose prompt can't be read among them. Raises OVError where the step of all
        fails.
        """
        said: list[tuple[Row, str]] = []
        answering = self._rows[: self._num_answering]
        if reading := self._rows[self._num_answering :]:
            said += self._read(min(reading, key=lambda row: row.number))
        if answering:
            said += self._decode(answering)
        for row in [row for row, _ in said if row.is_done]:
            self.drop(row)
        return said

    def answers(self, row: Row) -> Iterator[str]:
        """The pieces of a row that is alone, to its end; `step` for those who have nothing else to do."""
        while not row.is_done:
            for _, piece in self.step():
                if piece:
                    yield piece
        if row.error:
            raise row.error

    def _forget_long(self, tokens: int) -> None:
        for slot, length in enumerate(self._cache.lengths):
            if length > tokens:
                self._cache.rewind(slot, 0)
                self._held[slot] = None
        self._cache.trim()

    def _begin(self, row: Row, slot: int) -> None:
        """Make `slot` begin with as much of the row's prompt as any slot holds. The last token is read in any case, for
        its logits."""
        for number in range(len(self._rows)):
            self._note_held(number)
        most = row.prompt.num_tokens - 1
        shared = [min(held.shared_with(row.prompt), most) if held else 0 for held in self._held]
        own = max((slot, *range(len(self._rows), len(shared))), key=shared.__getitem__)
        best = max(range(len(shared)), key=shared.__getitem__)
        self._swap(slot, own)
        if shared[best] - shared[own] >= WORTH_COPYING:
            self._cache.copy(best, slot, shared[best])
        else:
            self._cache.rewind(slot, shared[own])
        row.num_read = row.num_reused = self._cache.lengths[slot]
        # Noted now, as looking at the images may fail: the slot does not hold any more what it did.
        self._held[slot] = Held(prompt=row.prompt.without_look(), generated=(), num_tokens=row.num_read)
        row.embeds_TD, index_S = row.prompt.embeds_from(row.num_read)
        row.embed_index_S = np.concatenate([np.full(row.num_read, -1), index_S])

    def _note_held(self, slot: int) -> None:
        """A row that has not begun leaves what its slot held before."""
        row = self._rows[slot]
        if row.embed_index_S is None:
            return
        self._held[slot] = Held(
            prompt=row.prompt.without_look(),
            generated=tuple(row.answer.token_ids),
            num_tokens=self._cache.lengths[slot],
        )

    def _read(self, row: Row) -> list[tuple[Row, str]]:
        try:
            return self._read_chunk(row)
        except OVError as error:
            row.error = error
            return [(row, "")]

    def _read_chunk(self, row: Row) -> list[tuple[Row, str]]:
        """The next tokens of a prompt; the first of its answer, once it is read."""
        prompt, slot = row.prompt, self._rows.index(row)
        if row.embed_index_S is None:
            self._begin(row, slot)
        assert row.embed_index_S is not None
        start, stop = row.num_read, min(row.num_read + row.answer.options.prefill_chunk_tokens, prompt.num_tokens)
        with row.clock.stage("prefill"):
            logits_BK = self._append(
                [row],
                prompt.ids_S[None, start:stop],
                embed_index_BS=row.embed_index_S[None, start:stop],
                image_embeds_TD=row.embeds_TD,
                logits_index_BK=np.array([[stop - start - 1] if stop == prompt.num_tokens else []], np.int64),
                slots=slice(slot, slot + 1),
            )
        row.num_read = stop
        if row.on_read:
            row.on_read(stop, prompt.num_tokens)
        if not row.is_read:
            return []
        row.embeds_TD, row.prompt = None, prompt.without_look()
        self._swap(slot, self._num_answering)
        self._num_answering += 1
        return [(row, row.report(logits_BK[0][0]))]

    def _decode(self, rows: list[Row]) -> list[tuple[Row, str]]:
        """A token for each of the rows, which have the first slots."""
        if len(rows) == 1 and (drafted := self._draft(rows[0])):
            return self._verify(rows[0], drafted)
        ids_BS = np.array([[row.answer.token_ids[-1]] for row in rows], np.int64)
        with ExitStack() as clocks:
            for row in rows:
                clocks.enter_context(row.clock.stage("decode"))
            logits_BK = self._append(
                rows, ids_BS, logits_index_BK=np.zeros((len(rows), 1), np.int64), slots=slice(0, len(rows))
            )
        said = []
        for row, logits_K in zip(rows, logits_BK, strict=True):
            row.num_steps += 1
            said.append((row, row.report(logits_K[0])))
        return said

    def _append(self, rows: list[Row], ids_BS: np.ndarray, **more: Any) -> Sequence[Sequence[np.ndarray | Best]]:
        """[B, K] of what to choose from: logits [V], or the likeliest tokens where they do and are cheaper to get."""
        if self._engine.best_is_cheap and all(row.answer.needs_only_best for row in rows):
            return self._engine.decode_best(self._cache, ids_BS, **more)
        return self._engine.decode(self._cache, ids_BS, **more)  # type: ignore[return-value]

    def _draft(self, row: Row) -> list[int]:
        options = row.answer.options
        num_tokens = min(options.prompt_lookup_num_tokens, row.answer.room - 1)
        if num_tokens < 1 or options.do_sample:
            return []
        return draft(np.concatenate([row.prompt.ids_S, np.asarray(row.answer.token_ids)]), num_tokens)

    def _verify(self, row: Row, drafted: list[int]) -> list[tuple[Row, str]]:
        """Decode the draft with the last token; as many of its tokens are kept as the model would have chosen."""
        length = self._cache.lengths[0]
        ids_BS = np.array([[row.answer.token_ids[-1], *drafted]], np.int64)
        with row.clock.stage("decode"):
            logits_BK = self._append([row], ids_BS, logits_index_BK=np.arange(ids_BS.shape[1])[None], slots=slice(0, 1))
        pieces, kept = [], 0
        for number, logits in enumerate(logits_BK[0]):
            pieces.append(row.report(logits))
            kept = number + 1
            right = number < len(drafted) and drafted[number] == row.answer.token_ids[-1]
            if row.is_done or not right:
                break
        self._cache.rewind(0, length + kept)
        row.num_steps += 1
        return [(row, "".join(pieces))]

    def _swap(self, one: int, other: int) -> None:
        if one == other:
            return
        self._cache.swap(one, other)
        self._held[one], self._held[other] = self._held[other], self._held[one]
        if max(one, other) < len(self._rows):
            self._rows[one], self._rows[other] = self._rows[other], self._rows[one]
