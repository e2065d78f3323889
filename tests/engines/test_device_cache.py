"""The path of a GPU with the host's memory in its place: a cache in a device's memory, fp16, the decoder for CUDA."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from eager_device import EagerDevice, EagerMemory

from ovengines import open_bundle
from ovengines.errors import ExitCode, OVError
from ovengines.onnxruntime.cache import SharedKVCache
from ovengines.onnxruntime.device_planes import DevicePlanes
from ovengines.onnxruntime.engine import OnnxRuntimeEngine
from ovengines.onnxruntime.places import CPU, Place, check_on_cuda
from ovengines.onnxruntime.planes import PlaneShape


def place(capability: tuple[int, int] = (8, 7)) -> Place:
    """As `cuda_place`, but for the provider and where the memory is."""
    device = EagerDevice()
    return Place(
        name="like cuda",
        providers=CPU.providers,
        decoders=("decoder",),
        planes=lambda shape: DevicePlanes(shape, device, where="cpu"),
        is_host=False,
        tile_batch_bytes=1 << 30,
        check=partial(check_on_cuda, capability=capability),
    )


@pytest.mark.parametrize("seed", range(4))
def test_logits_are_those_of_the_cpu(seed: int, build_tiny: Callable[[str], Path]) -> None:
    """Slots that are written, exchanged, copied and rewound at random, over more than one growth."""
    bundle = open_bundle(build_tiny("fp16"))
    engines = (
        OnnxRuntimeEngine(bundle, threads=1, decoder="decoder"),
        OnnxRuntimeEngine(bundle, place=place(), threads=1),
    )
    assert engines[1].name == "like cuda"
    caches = [engine.new_cache(900, 3) for engine in engines]
    rng = np.random.default_rng(seed)
    for _ in range(30):
        slot, other = (int(n) for n in rng.choice(3, 2, replace=False))
        action = rng.choice(["write", "write", "write", "swap", "copy", "rewind", "trim"])
        length = int(rng.integers(0, caches[0].lengths[slot] + 1))
        if action == "write" and caches[0].lengths[slot] < 600:
            ids_1S = rng.integers(10, 400, (1, int(rng.choice([1, 1, 7, 130]))))
            wanted_1K = np.array([[ids_1S.shape[1] - 1]])
            logits = [
                engine.decode(cache, ids_1S, logits_index_BK=wanted_1K, slots=slice(slot, slot + 1)).copy()
                for engine, cache in zip(engines, caches, strict=True)
            ]
            np.testing.assert_array_equal(*logits, err_msg=f"{seed=}")
        for cache in caches:
            if action == "swap":
                cache.swap(slot, other)
            elif action == "copy":
                cache.copy(slot, other, length)
            elif action == "rewind":
                cache.rewind(slot, length)
            elif action == "trim":
                cache.trim()
        assert caches[0].lengths == caches[1].lengths


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_other_precisions_are_refused_with_what_to_do(precision: str, build_tiny: Callable[[str], Path]) -> None:
    with pytest.raises(OVError) as caught:
        OnnxRuntimeEngine(open_bundle(build_tiny(precision)), place=place())
    assert caught.value.code is ExitCode.USAGE and "--precision fp16" in caught.value.hint


def test_bfloat16_wants_ampere(build_tiny: Callable[[str], Path]) -> None:
    bundle = open_bundle(build_tiny("bf16"))
    with pytest.raises(OVError, match=r"compute capability 7\.5") as caught:
        OnnxRuntimeEngine(bundle, place=place((7, 5)))
    assert caught.value.code is ExitCode.USAGE and "--precision fp16" in caught.value.hint
    OnnxRuntimeEngine(bundle, place=place((8, 0)))


class FullDevice(EagerDevice):
    """Has memory for so many more blocks."""

    left = 100

    def allocate(self, size_bytes: int) -> EagerMemory:
        self.left -= 1
        if self.left < 0:
            raise OVError(ExitCode.OUT_OF_MEMORY, "full", "")
        return super().allocate(size_bytes)


@pytest.mark.parametrize("blocks", range(5))
def test_out_of_memory_leaves_the_cache_as_it_was(blocks: int) -> None:
    """Wherever growing stops, the books and the memory agree, and it can go on when there is memory again."""
    device = FullDevice()
    shape = PlaneShape(count=4, slots=2, heads=3, head_dim=16, dtype="float16")
    cache = SharedKVCache(DevicePlanes(shape, device, where="cpu"), capacity=2000, slots=2)
    cache.reserve(slice(0, 2), 200)
    cache.advance(slice(0, 2), 200)
    before, device.left = (cache.allocated, cache.generation, cache.planes.bindings(0, 2)), blocks
    with pytest.raises(OVError, match="full"):
        cache.reserve(slice(0, 2), 500)
    assert (cache.allocated, cache.generation, cache.planes.bindings(0, 2)) == before
    cache.rewind(1, 5)  # EagerDevice refuses what is outside of the memory
    cache.copy(0, 1, 200)
    device.left = 100
    cache.reserve(slice(0, 2), 500)
    assert cache.planes.bindings(0, 2)[0][3] == (2, 3, 768, 16)


@pytest.mark.parametrize("seed", range(6))
def test_the_best_token_is_that_of_the_logits(seed: int, build_tiny: Callable[[str], Path]) -> None:
    bundle, rng = open_bundle(build_tiny("fp16")), np.random.default_rng(seed)
    host, device = (
        OnnxRuntimeEngine(bundle, threads=1, decoder="decoder"),
        OnnxRuntimeEngine(bundle, place=place(), threads=1),
    )
    assert (host.best_is_cheap, device.best_is_cheap) == (False, True)
    caches = [engine.new_cache(300) for engine in (host, device)]
    for tokens in (9, 1, 1, 30):
        ids_1S = rng.integers(10, 400, (1, tokens))
        index_1K = rng.integers(0, tokens, (1, int(rng.integers(1, 5))))
        wanted_1K = host.decode(caches[0], ids_1S, logits_index_BK=index_1K).argmax(-1)
        best_BK = device.decode_best(caches[1], ids_1S, logits_index_BK=index_1K)
        assert best_BK == [[(token, True) for token in wanted_1K[0]]], f"{seed=}"
        if seed % 2:  # in turns with logits, over one cache
            logits = device.decode(caches[1], np.array([[7]]), logits_index_BK=np.array([[0]])).copy()
            expected = host.decode(caches[0], np.array([[7]]), logits_index_BK=np.array([[0]]))
            np.testing.assert_array_equal(logits, expected, err_msg=f"{seed=}")


def test_logits_that_are_no_numbers_are_told(build_tiny: Callable[[str], Path]) -> None:
    bundle = open_bundle(build_tiny("fp16"))
    nan_TD = np.full((1, bundle.manifest.model.hidden), np.nan, np.float32)
    zero_11 = np.zeros((1, 1), np.int64)
    for where in (CPU, place()):
        engine = OnnxRuntimeEngine(bundle, place=where, threads=1)
        picture = {"embed_index_BS": zero_11, "image_embeds_TD": nan_TD}
        (((_, finite),),) = engine.decode_best(engine.new_cache(9), zero_11, logits_index_BK=zero_11, **picture)
        assert not finite


def test_bundles_without_best_tokens_are_run_by_their_logits(build_tiny: Callable[[str], Path]) -> None:
    engine = OnnxRuntimeEngine(open_bundle(build_tiny("fp16")), place=place(), threads=1)
    ids_1S, index_1K = np.array([[20, 30, 40]]), np.array([[2]])
    expected = engine.decode_best(engine.new_cache(9), ids_1S, logits_index_BK=index_1K)
    engine._outputs_of_best = ("logits",)
    assert engine.decode_best(engine.new_cache(9), ids_1S, logits_index_BK=index_1K) == expected
