"""The decoder behind the engine's interface: chunks, growth, rewinding and rows of different length change nothing.

Compared with PyTorch's language model on the same weights, in one pass without a cache.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from ovengines import Engine, open_bundle, open_engine
from ovengines.errors import ExitCode, OVError
from ovengines.onnxruntime.cache import GROW_TOKENS
from ovengines.onnxruntime.engine import best_decoder
from ovengines.onnxruntime.places import CPU
from ovengines.onnxruntime.sessions import open_session
from ovexport.checkpoint import load_language_model, open_checkpoint
from ovexport.embedded import EMBEDDED_MODEL
from ovexport.model import LanguageModel

TOLERANCE = 1e-4  # of the largest logit
FIRST_TEXT_ID, LAST_TEXT_ID = 10, 500


@pytest.fixture(scope="module", params=CPU.decoders)
def engine(tiny_bundle: Path, request: pytest.FixtureRequest) -> Engine:
    return open_engine(open_bundle(tiny_bundle), "cpu", threads=1, decoder=request.param)


@pytest.fixture(scope="module")
def language_model() -> Iterator[LanguageModel]:
    with open_checkpoint(EMBEDDED_MODEL) as checkpoint:
        yield load_language_model(checkpoint, torch.float32)


def random_ids(seed: int, tokens: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(FIRST_TEXT_ID, LAST_TEXT_ID, (1, tokens))


def expected_logits(model: LanguageModel, ids_1S: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return model.logits(model(model.embed(torch.from_numpy(ids_1S))))[0].numpy()


def run_in_chunks(engine: Engine, cache: object, ids_1S: np.ndarray, sizes: list[int], slots: slice) -> np.ndarray:
    parts, start = [], 0
    for size in sizes:
        chunk_1S = ids_1S[:, start : start + size]
        wanted_1K = np.arange(chunk_1S.shape[1])[None]
        logits = engine.decode(cache, chunk_1S, logits_index_BK=wanted_1K, slots=slots)  # type: ignore[arg-type]
        parts.append(logits[0].copy())
        start += size
    assert start >= ids_1S.shape[1]
    return np.concatenate(parts)


def random_sizes(seed: int, tokens: int) -> list[int]:
    generator, sizes = random.Random(seed), []
    while (left := tokens - sum(sizes)) > 0:
        sizes.append(min(left, generator.choice([1, 1, 2, 7, 40, 200])))
    return sizes


def assert_close(actual: np.ndarray, expected: np.ndarray, what: str) -> None:
    assert actual.shape == expected.shape, what
    assert np.abs(actual - expected).max() <= TOLERANCE * np.abs(expected).max(), what


@pytest.mark.parametrize("seed", range(6))
def test_chunks_of_any_size_give_the_logits_of_one_pass(
    engine: Engine, language_model: LanguageModel, seed: int
) -> None:
    tokens = random.Random(seed).randint(1, 400)
    ids_1S = random_ids(seed, tokens)
    cache = engine.new_cache(tokens)
    actual = run_in_chunks(engine, cache, ids_1S, random_sizes(seed, tokens), slice(0, 1))
    assert_close(actual, expected_logits(language_model, ids_1S), f"seed {seed}")
    assert cache.lengths == [tokens]


def test_cache_grows_without_forgetting(engine: Engine, language_model: LanguageModel) -> None:
    tokens = 8 * GROW_TOKENS + 100
    ids_1S = random_ids(1, tokens)
    sizes = [250, *[1] * 20, 200, 41, 1, 1, 1, 600]
    sizes.append(tokens - sum(sizes))
    actual = run_in_chunks(engine, engine.new_cache(tokens), ids_1S, sizes, slice(0, 1))
    assert_close(actual, expected_logits(language_model, ids_1S), "grown")


def test_no_step_moves_or_copies_the_cache(engine: Engine) -> None:
    cache = engine.new_cache(GROW_TOKENS)
    run_in_chunks(engine, cache, random_ids(0, 10), [10], slice(0, 1))
    buffers = cache.planes.buffers_LHCD  # type: ignore[attr-defined]
    addresses = [buffer.ctypes.data for buffer in buffers]
    marks = [buffer.copy() for buffer in buffers]
    run_in_chunks(engine, cache, random_ids(2, 5), [1] * 5, slice(0, 1))
    for buffer, mark, address in zip(cache.planes.buffers_LHCD, marks, addresses, strict=True):  # type: ignore[attr-defined]
        assert buffer.ctypes.data == address
        assert np.array_equal(buffer[:, :, :10], mark[:, :, :10])
        assert not np.array_equal(buffer[:, :, 10:15], mark[:, :, 10:15])
        assert np.array_equal(buffer[:, :, 15:], mark[:, :, 15:])


@pytest.mark.parametrize("seed", range(4))
def test_rewinding_is_as_if_nothing_had_come_after(engine: Engine, language_model: LanguageModel, seed: int) -> None:
    ids_1S = random_ids(seed, 80)
    cache = engine.new_cache(200)
    run_in_chunks(engine, cache, ids_1S, [80], slice(0, 1))
    kept = random.Random(seed).randint(0, 79)
    cache.rewind(0, kept)
    other_1S = np.concatenate([ids_1S[:, :kept], random_ids(seed + 100, 50)], axis=1)
    actual = run_in_chunks(engine, cache, other_1S[:, kept:], random_sizes(seed, 50), slice(0, 1))
    assert_close(actual, expected_logits(language_model, other_1S)[kept:], f"seed {seed}")


def test_what_is_rewound_or_unused_never_comes_back(engine: Engine, language_model: LanguageModel) -> None:
    ids_1S = random_ids(5, 60)
    cache = engine.new_cache(300)
    run_in_chunks(engine, cache, ids_1S[:, :20], [20], slice(0, 1))
    engine.decode(
        cache,
        ids_1S[:, :30],
        embed_index_BS=np.zeros((1, 30), np.int64),
        image_embeds_TD=np.full((1, language_model.config.hidden), np.nan, np.float32),
        logits_index_BK=np.zeros((1, 1), np.int64),
    )
    cache.rewind(0, 20)
    actual = run_in_chunks(engine, cache, ids_1S[:, 20:], [1] * 40, slice(0, 1))
    assert_close(actual, expected_logits(language_model, ids_1S)[20:], "after NaN")


def test_rows_of_different_length_decode_together_as_alone(engine: Engine, language_model: LanguageModel) -> None:
    lengths = [3, 150, 41, 1]
    cache = engine.new_cache(200, slots=len(lengths))
    prompts = [random_ids(seed, n) for seed, n in enumerate(lengths)]
    for slot, ids_1S in enumerate(prompts):
        run_in_chunks(engine, cache, ids_1S, [ids_1S.shape[1]], slice(slot, slot + 1))
    steps_BS = np.concatenate([random_ids(50 + row, 6) for row in range(len(lengths))])
    last_BK = np.zeros((len(lengths), 1), np.int64)
    together = [engine.decode(cache, steps_BS[:, i : i + 1], logits_index_BK=last_BK).copy() for i in range(6)]
    for row, ids_1S in enumerate(prompts):
        whole_1S = np.concatenate([ids_1S, steps_BS[row : row + 1]], axis=1)
        expected = expected_logits(language_model, whole_1S)[-6:]
        assert_close(np.stack([step[row, 0] for step in together]), expected, f"row {row}")
    assert cache.lengths == [n + 6 for n in lengths]


def test_asking_for_no_logits_or_some(engine: Engine, language_model: LanguageModel) -> None:
    ids_1S = random_ids(7, 30)
    expected = expected_logits(language_model, ids_1S)
    cache = engine.new_cache(64)
    none = engine.decode(cache, ids_1S[:, :20], logits_index_BK=np.zeros((1, 0), np.int64))
    assert none.shape == (1, 0, expected.shape[1])
    some = engine.decode(cache, ids_1S[:, 20:], logits_index_BK=np.array([[9, 0, 4]]))
    assert_close(some[0], expected[[29, 20, 24]], "some rows")


def test_visual_tokens_stand_where_the_index_says(engine: Engine, language_model: LanguageModel) -> None:
    ids_1S = random_ids(3, 40)
    embeds_TD = np.random.default_rng(0).standard_normal((9, language_model.config.hidden), np.float32)
    index_1S = np.full((1, 40), -1)
    index_1S[0, [5, 6, 7, 30]] = [8, 0, 0, 3]
    with torch.inference_mode():
        embeds = language_model.embed(torch.from_numpy(ids_1S)).clone()
        embeds[0, [5, 6, 7, 30]] = torch.from_numpy(embeds_TD[[8, 0, 0, 3]])
        expected = language_model.logits(language_model(embeds))[0].numpy()
    actual = engine.decode(
        engine.new_cache(40),
        ids_1S,
        embed_index_BS=index_1S,
        image_embeds_TD=embeds_TD,
        logits_index_BK=np.arange(40)[None],
    )
    assert_close(actual[0], expected, "merged")


def test_more_than_fits_is_refused(engine: Engine) -> None:
    cache = engine.new_cache(16)
    for call in (
        lambda: engine.decode(cache, random_ids(0, 17), logits_index_BK=np.zeros((1, 1), np.int64)),
        lambda: engine.new_cache(10**6),
    ):
        with pytest.raises(OVError) as caught:
            call()
        assert caught.value.code == ExitCode.LIMIT_EXCEEDED
    with pytest.raises(ValueError, match="can't rewind"):
        cache.rewind(0, 1)


def test_older_runtimes_take_the_plain_decoder(tiny_bundle: Path) -> None:
    manifest = open_bundle(tiny_bundle).manifest
    versions = {"1.18.1": "decoder", "1.24.9": "decoder", "1.25.0": "decoder_grouped", "2.0.0+cpu": "decoder_grouped"}
    assert {version: best_decoder(manifest, version) for version in versions} == versions


def test_devices(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    assert open_engine(bundle).name == "onnxruntime-cpu"
    for device, code in (
        ("cuda", ExitCode.MISSING_DEPENDENCY),
        ("tensorrt", ExitCode.MISSING_DEPENDENCY),
        ("abacus", ExitCode.USAGE),
    ):
        with pytest.raises(OVError) as caught:
            open_engine(bundle, device)
        assert caught.value.code == code and caught.value.hint


def test_a_graph_that_is_no_graph_is_a_bundle_error(tiny_bundle: Path) -> None:
    import dataclasses

    bundle = open_bundle(tiny_bundle)
    graphs = tuple(dataclasses.replace(g, file="tokenizer.json", data_files=()) for g in bundle.manifest.graphs)
    broken = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, graphs=graphs))
    with pytest.raises(OVError) as caught:
        open_engine(broken, "cpu").load("decoder")
    assert caught.value.code == ExitCode.BUNDLE_INVALID and "tokenizer.json" in caught.value.message


def test_graphs_are_loaded_side_by_side_and_once(tiny_bundle: Path) -> None:
    engine = open_engine(open_bundle(tiny_bundle), "cpu", 1)
    engine.load("vision", "projector", "decoder", "vision")
    loaded = dict(engine._sessions)  # type: ignore[attr-defined]
    engine.load("decoder", "projector", "vision")
    assert len(loaded) == 3 and engine._sessions == loaded  # type: ignore[attr-defined]


def test_of_graphs_that_are_loaded_side_by_side_the_broken_one_is_named(tiny_bundle: Path) -> None:
    import dataclasses

    bundle = open_bundle(tiny_bundle)
    graphs = tuple(
        dataclasses.replace(g, file="tokenizer.json", data_files=()) if g.role == "projector" else g
        for g in bundle.manifest.graphs
    )
    broken = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, graphs=graphs))
    with pytest.raises(OVError) as caught:
        open_engine(broken, "cpu").load("vision", "projector", "decoder")
    assert caught.value.code == ExitCode.BUNDLE_INVALID and "tokenizer.json" in caught.value.message


def test_a_provider_that_fails_in_a_run_is_not_exchanged(
    build_tiny: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime would say so on stdout and go on with the CPU."""
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    session = open_session(open_bundle(build_tiny("fp16")), "projector", 1)

    class Failing:
        def __getattr__(self, name: str) -> Callable[..., bool]:
            return lambda *_: False

        def run(self, *_: object) -> None:
            raise native.EPFail("the GPU is gone")

    session._sess = Failing()
    capsys.readouterr()
    with pytest.raises(native.EPFail):
        session.run(None, {"features": None, "indices": None, "weights": None})
    assert capsys.readouterr().out == ""
