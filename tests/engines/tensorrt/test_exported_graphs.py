"""The exporter's own graph files for TensorRT under the engine's own code: past the gate, and answering a picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from host_device import OrtBackend
from PIL import Image
from tiny_engine import write_recipe

from ovengines import Bundle, open_bundle
from ovengines.engine import Engine
from ovengines.tensorrt.engine import TensorRTEngine
from ovexport.verify.trt_files import open_on_cpu
from ovrun import Session
from ovrun.prompt.tokenizer import Tokenizer

QUESTION = "How many shapes are there?"
PICTURE = Path(__file__).parents[3] / "examples" / "shapes.png"


@pytest.fixture(scope="module")
def build_both(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """A function from a precision to a bundle of ov-tiny for both targets."""
    from ovexport.cli import main

    folder = tmp_path_factory.mktemp("both")

    def build(precision: str) -> Bundle:
        target = folder / precision
        if not target.exists():
            options = ["--precision", precision, "--target", "all", "--verify", "quick", "-q"]
            assert main(["build", "-o", str(target), *options]) == 0
        return open_bundle(target)

    return build


def open_engine(bundle: Bundle, folder: Path, **changes: str) -> TensorRTEngine:
    backend = OrtBackend(open_graph=partial(open_on_cpu, threads=1))
    return TensorRTEngine(bundle, backend, recipe=write_recipe(folder, context_tokens="1500", **changes))


def answer(bundle: Bundle, engine: Engine) -> list[int]:
    session = Session(bundle, engine, Tokenizer(bundle.file("tokenizer.json")), template(bundle), 0.0, None)
    with Image.open(PICTURE) as picture:
        result = session.generate(prompt=QUESTION, images=[picture], max_new_tokens=24, prefill_chunk_tokens=200)
    return list(result.token_ids)


def template(bundle: Bundle) -> str:
    return bundle.file("chat_template.jinja").read_text()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_picture_is_answered_as_on_the_cpu(
    build_both: Callable[[str], Bundle], tmp_path: Path, precision: str
) -> None:
    bundle = build_both(precision)
    engine = open_engine(bundle, tmp_path, chunk_tokens="128")
    engine.load("vision", "projector", "decoder")  # past the gate
    from ovengines import open_engine as open_on

    assert answer(bundle, engine) == answer(bundle, open_on(bundle, "cpu", threads=1))


def test_texts_of_any_length_together(build_both: Callable[[str], Bundle], tmp_path: Path) -> None:
    """Rows of different lengths, tokens read and stepped: the logits of each as alone."""
    bundle = build_both("fp32")
    engine, lengths = open_engine(bundle, tmp_path), [3, 150, 260]
    cache, random = engine.new_cache(600, slots=len(lengths)), np.random.default_rng(0)
    prompts = [random.integers(10, 500, (1, length)) for length in lengths]
    for slot, ids_1S in enumerate(prompts):
        none_BK = np.zeros((1, 0), np.int64)
        engine.decode(cache, ids_1S, logits_index_BK=none_BK, slots=slice(slot, slot + 1))
    steps_BS, one_BK = random.integers(10, 500, (len(lengths), 4)), np.zeros((len(lengths), 1), np.int64)
    together = [engine.decode(cache, steps_BS[:, i : i + 1], logits_index_BK=one_BK).copy() for i in range(4)]
    for slot, ids_1S in enumerate(prompts):
        whole_1S = np.concatenate([ids_1S, steps_BS[slot : slot + 1]], axis=1)
        rows_1K = np.arange(lengths[slot], lengths[slot] + 4)[None]
        alone = engine.decode(engine.new_cache(600), whole_1S, logits_index_BK=rows_1K)[0]
        actual = np.stack([step[slot, 0] for step in together])
        assert np.abs(actual - alone).max() <= 1e-4 * np.abs(alone).max(), slot
