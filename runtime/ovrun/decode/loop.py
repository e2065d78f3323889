"""The decode loop: prefill a prompt in chunks, then one token at a time until something ends it.

Knows an engine and a sampler; nothing of text, images or time. Axes: B rows (always 1 here), S tokens, K logits rows
asked for, T visual tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from ovengines import Engine, KVCache
from ovrun.decode.sampler import Sampler
from ovrun.options import GenerationOptions
from ovrun.prompt.expand import PromptIds

Float32 = NDArray[np.float32]
Progress = Callable[[int, int], None]  # (tokens done, tokens in all)


def prefill(
    engine: Engine,
    cache: KVCache,
    prompt: PromptIds,
    image_embeds_TD: Float32 | None,
    chunk_tokens: int,
    on_progress: Progress | None = None,
) -> Float32:
    """Append a prompt to the cache, `chunk_tokens` at a time; logits_V of its last token.

    Only that row ever meets the language-model head: the other chunks ask for no logits.
    """
    assert prompt.num_tokens > 0
    for start in range(0, prompt.num_tokens, chunk_tokens):
        stop = min(start + chunk_tokens, prompt.num_tokens)
        wanted = [[stop - start - 1]] if stop == prompt.num_tokens else [[]]
        logits_BKV = engine.decode(
            cache,
            prompt.ids_S[None, start:stop],
            embed_index_BS=prompt.embed_index_S[None, start:stop],
            image_embeds_TD=image_embeds_TD,
            logits_index_BK=np.array(wanted, dtype=np.int64),
        )
        if on_progress:
            on_progress(stop, prompt.num_tokens)
    return logits_BKV[0, 0]


def generate_tokens(
    engine: Engine,
    cache: KVCache,
    logits_V: Float32,
    sampler: Sampler,
    options: GenerationOptions,
    eos_ids: Collection[int],
) -> Iterator[int]:
    """Tokens of the answer from the logits after its prompt; ends with an end token, or after max_new_tokens.

    The token yielded last is not in the cache yet. Stop by leaving the iterator alone.
    """
    last_row_BK = np.zeros((1, 1), dtype=np.int64)
    for count in range(1, options.max_new_tokens + 1):
        token = sampler.pick(logits_V)
        yield token
        if token in eos_ids or count == options.max_new_tokens:
            return
        ids_BS = np.array([[token]], dtype=np.int64)
        logits_V = engine.decode(cache, ids_BS, logits_index_BK=last_row_BK)[0, 0]
