"""Slots of the shared cache: exchanged, copied, rewound; a plain list of arrays is the oracle."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable

import numpy as np
import pytest
from eager_device import EagerDevice

from ovengines.onnxruntime.cache import GROW_TOKENS, SharedKVCache
from ovengines.onnxruntime.device_planes import DevicePlanes
from ovengines.onnxruntime.planes import HostPlanes, Planes, PlaneShape

SLOTS, HEADS, WIDTH = 4, 2, 3
SHAPE = PlaneShape(count=4, slots=SLOTS, heads=HEADS, head_dim=WIDTH, dtype="float32")
PLACES: dict[str, Callable[[PlaneShape], Planes]] = {
    "host": HostPlanes,
    "device": lambda shape: DevicePlanes(shape, EagerDevice(), where="cpu"),
}


def buffers(cache: SharedKVCache) -> list[np.ndarray]:
    """What ONNX Runtime is given, as arrays [L, H, C, D]."""
    arrays = []
    for _, _, dtype, shape, address in cache.planes.bindings(0, SLOTS):
        size = int(np.prod(shape))
        memory = (ctypes.c_float * size).from_address(address) if size else np.zeros(0, dtype)
        arrays.append(np.frombuffer(memory, dtype, size).reshape(shape))
    return arrays


def write(cache: SharedKVCache, slot: int, tokens: int, rng: np.random.Generator) -> list[np.ndarray]:
    """What a decoder does: new rows at the end of a slot, in every buffer."""
    cache.reserve(slice(slot, slot + 1), tokens)
    start, new = cache.lengths[slot], []
    for buffer_LHCD in buffers(cache):
        new.append(rng.standard_normal((HEADS, tokens, WIDTH)).astype(np.float32))
        buffer_LHCD[slot, :, start : start + tokens] = new[-1]
    cache.advance(slice(slot, slot + 1), tokens)
    return new


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("seed", range(30))
def test_against_lists(seed: int, place: str) -> None:
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    cache = SharedKVCache(PLACES[place](SHAPE), capacity=2000, slots=SLOTS)
    empty = [np.zeros((HEADS, 0, WIDTH), np.float32)] * 4
    held = [list(empty) for _ in range(SLOTS)]
    for _ in range(60):
        one, other = rng.sample(range(SLOTS), 2)
        action = rng.choice(("write", "write", "swap", "copy", "rewind", "trim"))
        if action == "write":
            tokens = rng.choice((1, 1, 5, 90))
            new = write(cache, one, tokens, numbers)
            held[one] = [np.concatenate([old, part], axis=1) for old, part in zip(held[one], new, strict=True)]
        elif action == "swap":
            cache.swap(one, other)
            held[one], held[other] = held[other], held[one]
        elif action == "trim":
            cache.trim()
            assert cache.allocated - max(cache.lengths) < GROW_TOKENS
        else:
            length = rng.randint(0, cache.lengths[one])
            if action == "copy":
                cache.copy(one, other, length)
                held[other] = [part[:, :length] for part in held[one]]
            else:
                cache.rewind(one, length)
                held[one] = [part[:, :length] for part in held[one]]
        assert cache.lengths == [parts[0].shape[1] for parts in held], f"{seed=}"
        for number, buffer_LHCD in enumerate(buffers(cache)):
            for slot, length in enumerate(cache.lengths):
                np.testing.assert_array_equal(buffer_LHCD[slot, :, :length], held[slot][number])
                assert not buffer_LHCD[slot, :, length:].any(), "attention multiplies what lies beyond by zero"


def test_more_than_there_is_can_not_be_copied() -> None:
    cache = SharedKVCache(HostPlanes(SHAPE), capacity=10, slots=SLOTS)
    with pytest.raises(ValueError, match="holds 0 tokens"):
        cache.copy(0, 1, 3)
