"""A prompt as the decoder reads it: ids, and at visual positions which row of which sight stands there.

Knows how prompts are compared, which is what lets keys and values be kept; no engine, no pixels.

Axes: S positions, T visual tokens, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ovrun.prompt.expand import PromptIds

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Look = Callable[[Sequence[int]], Float32]  # numbers of sights -> their visual tokens [T, D], in that order


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompt:
    """sight_S is -1 for text, else the number of a sight, whose row row_S stands there.

    `marked_ids` are those of the conversation, with one id where a medium belongs. Equal digests of two sights mean
    equal visual tokens. `look` is called for what the cache does not hold yet.
    """

    ids_S: Int64
    sight_S: Int64
    row_S: Int64
    marked_ids: tuple[int, ...]
    digests: tuple[bytes, ...]
    look: Look

    @property
    def num_tokens(self) -> int:
        return len(self.ids_S)

    @property
    def num_visual(self) -> int:
        return int((self.sight_S >= 0).sum())

    def without_look(self) -> Prompt:
        """To be kept without the pixels that `look` holds on to."""
        return dataclasses.replace(self, look=_nothing_to_look_at)

    def embeds_from(self, start: int) -> tuple[Float32 | None, Int64]:
        """The visual tokens that positions from `start` on need, and the row of them for each (-1 for text)."""
        sight_S, row_S = self.sight_S[start:], self.row_S[start:]
        needed = np.unique(sight_S[sight_S >= 0])
        if not needed.size:
            return None, np.full_like(sight_S, -1)
        tokens_of = np.array([(self.sight_S == sight).sum() for sight in needed])
        first_row = np.zeros(len(self.digests), np.int64)
        first_row[needed] = np.cumsum(tokens_of) - tokens_of
        index_S = np.where(sight_S >= 0, first_row[sight_S] + row_S, -1)
        return self.look(needed.tolist()), index_S


def _nothing_to_look_at(sights: Sequence[int]) -> Float32:
    raise RuntimeError(f"sights {list(sights)} are gone: this prompt was kept for comparison only")


def make_prompt(
    ids: PromptIds, marked_ids: Sequence[int], tokens_of_sight: Sequence[int], digests: Sequence[bytes], look: Look
) -> Prompt:
    """`tokens_of_sight` in the order of the rows that `ids` refer to."""
    ends = np.cumsum(np.asarray(tokens_of_sight, np.int64)) if len(tokens_of_sight) else np.zeros(0, np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), ends])
    visual_S = ids.embed_index_S >= 0
    sight_S = np.where(visual_S, np.searchsorted(ends, ids.embed_index_S, side="right"), -1)
    row_S = np.where(visual_S, ids.embed_index_S - starts[sight_S], -1)
    return Prompt(
        ids_S=ids.ids_S,
        sight_S=sight_S,
        row_S=row_S,
        marked_ids=tuple(marked_ids),
        digests=tuple(digests),
        look=look,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """What a slot of the cache holds: a prompt, and tokens that were generated after it, `num_tokens` in all."""

    prompt: Prompt
    generated: tuple[int, ...]
    num_tokens: int

    def shared_with(self, prompt: Prompt) -> int:
        """How many positions from the first on are the same in `prompt`."""
        ids_S = np.concatenate([self.prompt.ids_S, np.asarray(self.generated, np.int64)])[: self.num_tokens]
        length = min(len(ids_S), prompt.num_tokens)
        codes: dict[bytes, int] = {}
        ours_S, rows_S = _codes(self.prompt, length, codes)
        theirs_S, their_rows_S = _codes(prompt, length, codes)
        same_S = (ids_S[:length] == prompt.ids_S[:length]) & (ours_S == theirs_S) & (rows_S == their_rows_S)
        return length if same_S.all() else int(same_S.argmin())


def _codes(prompt: Prompt, length: int, codes: dict[bytes, int]) -> tuple[Int64, Int64]:
    """Per position a number for the digest of its sight, and the row; -1 for text, and for what was generated."""
    of_sight = np.array([*(codes.setdefault(digest, len(codes)) for digest in prompt.digests), -1], np.int64)
    code_S, row_S = np.full(length, -1, np.int64), np.full(length, -1, np.int64)
    own = min(length, prompt.num_tokens)
    code_S[:own], row_S[:own] = of_sight[prompt.sight_S[:own]], prompt.row_S[:own]
    return code_S, row_S
