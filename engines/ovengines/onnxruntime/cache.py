"""Keys and values of a decoder whose past and present share one buffer (GroupQueryAttention): the books of it.

Where the numbers are is the business of planes.py.
"""

from __future__ import annotations

from ovengines.errors import ExitCode, OVError
from ovengines.onnxruntime.planes import Planes

GROW_TOKENS = 256  # attention over a capacity reads all of it, so little is kept spare


class SharedKVCache:
    """See `ovengines.engine.KVCache`.

    The planes grow in steps, so that a short question does not pay for a long context; a step copies the cache
    once, which is nothing beside the tokens in between.
    """

    def __init__(self, planes: Planes, *, capacity: int, slots: int) -> None:
        self.planes = planes
        self.capacity = capacity
        self.slots = slots
        self.generation = 0  # changes whenever the planes move, so that bindings can be renewed
        self.allocated = 0  # tokens that the planes hold room for now
        self._lengths = [0] * slots

    @property
    def lengths(self) -> list[int]:
        return list(self._lengths)

    def rewind(self, slot: int, length: int) -> None:
        if not 0 <= length <= self._lengths[slot]:
            raise ValueError(f"slot {slot} holds {self._lengths[slot]} tokens, can't rewind to {length}")
        # Zeros: an overflow that was rewound must not come back as 0 * NaN
        self.planes.clear(slot, length, self._lengths[slot])
        self._lengths[slot] = length

    def swap(self, one: int, other: int) -> None:
        self.planes.swap(one, other, max(self._lengths[one], self._lengths[other]))
        self._lengths[one], self._lengths[other] = self._lengths[other], self._lengths[one]

    def copy(self, source: int, target: int, length: int) -> None:
        if not 0 <= length <= self._lengths[source]:
            raise ValueError(f"slot {source} holds {self._lengths[source]} tokens, can't copy {length}")
        self.rewind(target, 0)
        self.planes.copy(source, target, length)
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
        self.planes.resize(allocated, max(self._lengths))
        self.allocated = allocated
        self.generation += 1
