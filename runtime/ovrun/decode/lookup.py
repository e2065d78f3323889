"""Drafts for speculative decoding without a second model: what followed the last few tokens when they came before.

Prompt look-up (Saxena, 2023; transformers `prompt_lookup_num_tokens`). Knows ids only; the decoder says how many of a
draft are right, so a bad one costs time and never changes an answer.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

LONGEST_MATCH = 3  # tokens


def draft(ids_S: NDArray[np.int64], num_tokens: int) -> list[int]:
    """At most `num_tokens` that may come next; empty where the last token never came before.

    The longest match wins, of equals the latest.
    """
    for length in range(min(LONGEST_MATCH, len(ids_S) - 1), 0, -1):
        same = (sliding_window_view(ids_S[:-1], length) == ids_S[-length:]).all(axis=1)
        if same.any():
            after = int(np.flatnonzero(same)[-1]) + length
            found: list[int] = ids_S[after : after + num_tokens].tolist()
            return found
    return []
