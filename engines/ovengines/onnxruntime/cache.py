"""Keys and values of a decoder whose past and present share one buffer (GroupQueryAttention).

Axes: L slots (conversations), H key/value heads, C capacity in tokens, D head width.
"""

from __future__ import annotations

import numpy as np

from ovengines.errors import ExitCode, OVError

GROW_TOKENS = 256  # attention over a capacity reads all of it, so little is kept spare


class SharedKVCache:
    """One [L, H, C, D] buffer for each of keys and values per layer; a slot is one contiguous view of it.

    The buffers grow in steps, so that a short question does not pay for a long context; a step copies the cache
    once, which is nothing beside the tokens in between.
    """

    def __init__(self, *, layers: int, heads: int, head_dim: int, dtype: np.dtype, capacity: int, slots: int) -> None:
        self.capacity = capacity
        self.slots = slots
        self.generation = 0  # changes whenever the buffers move, so that bindings can be renewed
        self._lengths = [0] * slots
        self._shape = (slots, heads, 0, head_dim)
        self._dtype = dtype
        self.buffers_LHCD: list[np.ndarray] = [np.zeros(self._shape, dtype) for _ in range(2 * layers)]

    @property
    def lengths(self) -> list[int]:
        return list(self._lengths)

    @property
    def allocated(self) -> int:
        """Tokens that the buffers hold room for now."""
        return self._shape[2]

    def rewind(self, slot: int, length: int) -> None:
        if not 0 <= length <= self._lengths[slot]:
            raise ValueError(f"slot {slot} holds {self._lengths[slot]} tokens, can't rewind to {length}")
        for buffer_LHCD in self.buffers_LHCD:  # an overflow that was rewound must not come back as 0 * NaN
            buffer_LHCD[slot, :, length : self._lengths[slot]] = 0
        self._lengths[slot] = length

    def swap(self, one: int, other: int) -> None:
        used = max(self._lengths[one], self._lengths[other])
        for buffer_LHCD in self.buffers_LHCD:
            buffer_LHCD[[one, other], :, :used] = buffer_LHCD[[other, one], :, :used]
        self._lengths[one], self._lengths[other] = self._lengths[other], self._lengths[one]

    def copy(self, source: int, target: int, length: int) -> None:
        if not 0 <= length <= self._lengths[source]:
            raise ValueError(f"slot {source} holds {self._lengths[source]} tokens, can't copy {length}")
        self.rewind(target, 0)
        for buffer_LHCD in self.buffers_LHCD:
            buffer_LHCD[target, :, :length] = buffer_LHCD[source, :, :length]
        self._lengths[target] = length

    def reserve(self, slots: slice, new_tokens: int) -> None:
        """Make room for `new_tokens` more in each of `slots`."""
        needed = max(self._lengths[slots]) + new_tokens
        if needed > self.capacity:
            raise OVError(
                ExitCode.LIMIT_EXCEEDED,
                f"{needed} tokens do not fit the cache of {self.capacity}",
                "ask for fewer new tokens, or use smaller images",
            )
        if needed > self.allocated:
            self._allocate(self._step_above(needed))

    def trim(self) -> None:
        needed = self._step_above(max(self._lengths))
        if needed < self.allocated:
            self._allocate(needed)

    def advance(self, slots: slice, new_tokens: int) -> None:
        for slot in range(*slots.indices(self.slots)):
            self._lengths[slot] += new_tokens

    def _step_above(self, tokens: int) -> int:
        return min(self.capacity, -(-tokens // GROW_TOKENS) * GROW_TOKENS)

    def _allocate(self, allocated: int) -> None:
        kept = max(self._lengths)
        self._shape = (*self._shape[:2], allocated, self._shape[3])
        for i, old_LHCD in enumerate(self.buffers_LHCD):
            # Zeros: attention multiplies what is beyond a row's length by zero. Untouched pages cost no memory.
            new_LHCD = np.zeros(self._shape, self._dtype)
            new_LHCD[:, :, :kept] = old_LHCD[:, :, :kept]
            self.buffers_LHCD[i] = new_LHCD
        self.generation += 1
