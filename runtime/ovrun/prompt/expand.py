"""Puts as many positions as an image has visual tokens where its one marker stands.

Knows ids and counts only. Axis: S positions of the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ovengines.errors import ExitCode, OVError


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptIds:
    """What the decoder reads: ids_S, and embed_index_S, which is -1 for text or a row of image_embeds.

    A visual position has the pad id: the decoder looks it up and drops it, so the id must only be one that
    exists.
    """

    ids_S: NDArray[np.int64]
    embed_index_S: NDArray[np.int64]

    @property
    def num_tokens(self) -> int:
        return len(self.ids_S)


def expand(
    ids: ArrayLike,
    image_token_id: int,
    tokens_per_image: Sequence[int],
    pad_id: int,
    *,
    video_token_id: int | None = None,
    tokens_per_video: Sequence[int] = (),
) -> PromptIds:
    """Replace the k-th image marker by tokens_per_image[k] positions, and the k-th video marker likewise.

    image_embeds holds the rows of all images in order, then those of all videos. Without a video_token_id a
    video is marked as an image that comes after the images. Raises OVError (BAD_INPUT) when there is another
    number of markers than of images or videos; it names both.
    """
    ids_M = np.asarray(ids, dtype=np.int64).reshape(-1)
    if video_token_id is None:
        counts = [np.asarray([*tokens_per_image, *tokens_per_video], dtype=np.int64)]
        places = [ids_M == image_token_id]
    else:
        counts = [np.asarray(tokens, dtype=np.int64) for tokens in (tokens_per_image, tokens_per_video)]
        places = [ids_M == image_token_id, ids_M == video_token_id]
    for name, counts_K, place_M in zip(("image", "video"), counts, places, strict=False):
        if place_M.sum() != len(counts_K):
            raise OVError(
                ExitCode.BAD_INPUT,
                f"the prompt has {place_M.sum()} {name} markers for {len(counts_K)} {name}s",
                f"write one <{name}> per {name}, or none to put them first",
            )
    return _spread(ids_M, places, counts, pad_id)


def _spread(
    ids_M: NDArray[np.int64], places: list[NDArray[np.bool_]], counts: list[NDArray[np.int64]], pad_id: int
) -> PromptIds:
    repeats_M = np.ones(len(ids_M), dtype=np.int64)
    first_row_M = np.full(len(ids_M), -1, dtype=np.int64)  # of image_embeds
    num_rows = 0
    for place_M, counts_K in zip(places, counts, strict=True):
        repeats_M[place_M] = counts_K
        first_row_M[place_M] = num_rows + np.cumsum(counts_K) - counts_K
        num_rows += int(counts_K.sum())
    first_row_S = np.repeat(first_row_M, repeats_M)
    is_visual_S = first_row_S >= 0
    start_S = np.repeat(np.cumsum(repeats_M) - repeats_M, repeats_M)
    position_S = np.arange(len(first_row_S)) - start_S  # within its medium
    ids_S = np.where(is_visual_S, pad_id, np.repeat(ids_M, repeats_M))
    return PromptIds(ids_S=ids_S, embed_index_S=np.where(is_visual_S, first_row_S + position_S, -1))
