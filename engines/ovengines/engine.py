"""What an engine is to the runtime: three graphs to run, and a cache of keys and values to append to.

The form in which a decoder takes its cache (one shared buffer, or only the new rows) stays behind `decode`.

Axes: N tiles, C channels, H W pixels, P patches of a tile, D width of the tower's features or of the language
model, T visual tokens, B rows of a batch, S new tokens, K rows of logits asked for, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


class Best(NamedTuple):
    """The likeliest token of a row of logits. `finite` is False if any of them is NaN, or infinite."""

    token: int
    finite: bool


class KVCache(Protocol):
    """Keys and values of `slots` conversations; grows by itself up to `capacity` tokens each."""

    capacity: int

    @property
    def lengths(self) -> list[int]:
        """Tokens held per slot."""

    def rewind(self, slot: int, length: int) -> None:
        """Forget all but the first `length` tokens of a slot. Raises ValueError if it holds fewer."""

    def swap(self, one: int, other: int) -> None:
        """Exchange what two slots hold."""

    def copy(self, source: int, target: int, length: int) -> None:
        """Make `target` hold the first `length` tokens of `source`. Raises ValueError if that holds fewer."""

    def trim(self) -> None:
        """Give back the memory beyond what the longest slot holds."""


class Engine(Protocol):
    """The graphs of one bundle, ready to run on one device."""

    name: str
    tile_batch_bytes: int  # activations of tiles beyond which more tiles in one run are no faster, only larger
    tower_tiles: int | None  # that a run takes whose memory was set aside when the engine was loaded; None: none was
    best_is_cheap: bool  # decode_best copies no logits from the device; where False, it is as dear as decode
    context_tokens: int  # most tokens of one conversation: the model's, or fewer where memory is set aside for them

    def load(self, *roles: str) -> None:
        """Load graphs (vision, projector, decoder) now; what is not loaded yet is loaded when first used."""

    def encode(self, pixels_NCHW: Float32) -> Float32:
        """Tiles to SigLIP features [N, P, D]; the caller bounds N."""

    def project(self, features_NPD: Float32, indices_T4: NDArray[np.int32], weights_T4: Float32) -> Float32:
        """Features to visual tokens [T, D]: projector, newline row and the pooling of a token plan."""

    def new_cache(self, capacity: int, slots: int = 1) -> KVCache:
        """An empty cache. Raises OVError (LIMIT_EXCEEDED) beyond the model's positions."""

    def decode(
        self,
        cache: KVCache,
        ids_BS: Int64,
        *,
        logits_index_BK: Int64,
        embed_index_BS: Int64 | None = None,
        image_embeds_TD: Float32 | None = None,
        slots: slice | None = None,
    ) -> Float32:
        """Append S tokens to each of B slots; logits [B, K, V] of the positions asked for (indices into S).

        Where `embed_index_BS` is not -1, the token's embedding is that row of `image_embeds_TD`. The array
        returned is valid until the next call.
        """

    def decode_best(
        self,
        cache: KVCache,
        ids_BS: Int64,
        *,
        logits_index_BK: Int64,
        embed_index_BS: Int64 | None = None,
        image_embeds_TD: Float32 | None = None,
        slots: slice | None = None,
    ) -> list[list[Best]]:
        """As `decode`; of each of the B rows, the likeliest token of the K positions asked for."""


def best_of(logits_BKV: Float32) -> list[list[Best]]:
    """What `decode_best` gives, from logits that are at hand."""
    ids_BK = logits_BKV.argmax(axis=-1)  # a NaN, if there is one
    finite_BK = np.isfinite(np.take_along_axis(logits_BKV, ids_BK[..., None], axis=-1)[..., 0])
    return best_rows(ids_BK, finite_BK)


def best_rows(ids_BK: NDArray[np.integer], finite_BK: NDArray[np.bool_]) -> list[list[Best]]:
    return [
        [Best(token, finite) for token, finite in zip(ids_K, finite_K, strict=True)]
        for ids_K, finite_K in zip(ids_BK.tolist(), finite_BK.tolist(), strict=True)
    ]
