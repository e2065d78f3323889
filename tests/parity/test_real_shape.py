"""Once at the real 0.5B shape with random weights: the exported fp32 bundle against transformers; and what builds cost.

Needs some 6 GB of memory, and of disk under OV_GATES_FOLDER (kept there) or a temporary folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from ovengines import Engine
from ovexport.build import build_bundle
from ovexport.checkpoint import open_checkpoint
from ovexport.plan import plan_build
from ovexport.progress import Bars
from ovexport.verify.picture import draw_picture
from ovrun import Session
from ovrun.media.image import load_image
from ovrun.prompt.compose import encode_conversation
from ovrun.prompt.expand import PromptIds, expand
from ovrun.prompt.messages import conversation
from ovrun.vision.encode import encode_tiles, project_views
from ovrun.vision.views import View, make_view

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
MARGIN_OVER_ERROR = 4
NEW_TOKENS, KEPT, CHUNK_TOKENS = 8, 4, 512
PICTURE_SIZE = (480, 640)
# Of a build's peak to the bytes of its source, measured: 1.37 to 1.45, 1.79, 1.21. The source itself is mapped: 1.
MEMORY_RATIOS = [("0.5b", "int4", 1.7), ("0.5b", "fp32", 2.2), ("7b-2-layers", "int4", 1.5)]
TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent


@pytest.fixture(scope="module")
def gates_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if named := os.environ.get("OV_GATES_FOLDER"):
        yield Path(named)
        return
    folder = tmp_path_factory.mktemp("gates")
    yield folder
    shutil.rmtree(folder)


def make_checkpoint(shape: str, folder: Path) -> Path:
    sys.path.append(str(ROOT))
    from benchmarks.shapes import random_checkpoint

    return random_checkpoint(shape, folder)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("picture") / "picture.png"
    load_image(draw_picture(*PICTURE_SIZE, 0)).save(file)
    return file


@pytest.fixture(scope="module")
def expected(gates_folder: Path, picture: Path) -> dict[str, np.ndarray]:
    """Transformers' side, computed and gone before the bundle is opened."""
    checkpoint, out = make_checkpoint("0.5b", gates_folder), picture.with_suffix(".npz")
    words = [checkpoint, picture, out, NEW_TOKENS, KEPT]
    paths = [str(TESTS / area) for area in ("parity", "model", "checkpoint")]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, str(TESTS / "parity" / "real_shape_oracle.py"), *map(str, words)],
        env={**environment, "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with np.load(out) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def session(gates_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("real")
    with open_checkpoint(make_checkpoint("0.5b", gates_folder)) as checkpoint:
        plan = plan_build(checkpoint, "fp32", "ort")
        build_bundle(checkpoint, plan, folder / "b", verify="off", force=False, bars=Bars(quiet=True))
    with Session.open(folder / "b") as session:
        yield session
    shutil.rmtree(folder)


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    assert got.shape == expected.shape, (got.shape, expected.shape)
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def read_prompt(session: Session, view: View) -> PromptIds:
    turns = conversation("How many shapes are there?", 1)
    marked = encode_conversation(turns, session.template, session.tokenizer)
    model = session.model
    return expand(marked, model.image_token_id, [view.plan.num_tokens], model.pad_token_id)


def decode(engine: Engine, prompt: PromptIds, image_embeds_VD: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Logits of the last KEPT positions of the prompt and of every step, and the greedy answer."""
    cache = engine.new_cache(prompt.num_tokens + NEW_TOKENS)
    bounds = [*range(0, prompt.num_tokens - KEPT, CHUNK_TOKENS), prompt.num_tokens - KEPT, prompt.num_tokens]
    for start, stop in pairwise(bounds):
        logits_1KN = engine.decode(
            cache,
            prompt.ids_S[None, start:stop],
            embed_index_BS=prompt.embed_index_S[None, start:stop],
            image_embeds_TD=image_embeds_VD,
            logits_index_BK=np.arange(KEPT)[None] if stop == prompt.num_tokens else np.zeros((1, 0), np.int64),
        )
    logits_KN = logits_1KN[0].copy()
    steps = [logits_KN[-1]]
    answer = [int(steps[-1].argmax())]
    while len(answer) < NEW_TOKENS:
        logits_11N = engine.decode(cache, np.array([answer[-1:]]), logits_index_BK=np.zeros((1, 1), np.int64))
        steps.append(logits_11N[0, 0].copy())
        answer.append(int(steps[-1].argmax()))
    return logits_KN, np.stack(steps), answer


def test_bundle_of_the_real_shape(expected: dict[str, np.ndarray], session: Session, picture: Path) -> None:
    engine, model = session.engine, session.model
    view = make_view(load_image(picture), model.geometry, alone=True)
    assert np.array_equal(view.pixels_TCHW, expected["pixels_TCHW"])
    errors = {"features": relative_error(engine.encode(view.pixels_TCHW[:1]), expected["features_1PD"])}
    image_embeds_VD = project_views(engine, [view], encode_tiles(engine, [view], model))
    errors["image embeds"] = relative_error(image_embeds_VD, expected["image_embeds_VD"])
    prompt = read_prompt(session, view)
    ids_S = np.where(prompt.embed_index_S >= 0, model.image_token_id, prompt.ids_S)
    assert ids_S.tolist() == expected["ids_S"].tolist() and (prompt.embed_index_S >= 0).sum() == 2929
    logits_KN, steps_GN, answer = decode(engine, prompt, image_embeds_VD)
    errors["logits"] = relative_error(logits_KN, expected["logits_KN"])
    second_G, first_G = np.sort(expected["step_logits_GN"], axis=-1)[:, -2:].T
    margin = float(((first_G - second_G) / np.abs(expected["step_logits_GN"]).max(axis=-1)).min())
    note = f"errors {errors}, margin {margin:.1e}, answer {answer}"
    print(note)
    assert max(errors.values()) < TOLERANCE, note
    assert margin > MARGIN_OVER_ERROR * errors["logits"], note
    assert answer == expected["answer_G"].tolist(), note
    assert relative_error(steps_GN, expected["step_logits_GN"]) < TOLERANCE, note


@pytest.mark.parametrize(("shape", "precision", "most"), MEMORY_RATIOS)
def test_peak_memory_of_a_build(shape: str, precision: str, most: float, gates_folder: Path, tmp_path: Path) -> None:
    checkpoint = make_checkpoint(shape, gates_folder)
    from benchmarks.build_memory import build_peak_ratio

    ratio, figures = build_peak_ratio(checkpoint, tmp_path, precision)
    print(f"{shape} {precision}: {ratio:.2f}, {figures}")
    shutil.rmtree(tmp_path)
    assert ratio <= most, figures


def test_the_real_shape_is_the_published_one(gates_folder: Path) -> None:
    """893,618,208 parameters in all are in the released 0.5B with 151,936 rows; ours has 152,000 of 896."""
    with open_checkpoint(make_checkpoint("0.5b", gates_folder)) as checkpoint:
        assert checkpoint.dtype("image_newline") == torch.bfloat16
        assert checkpoint.tensor_bytes == 2 * (893_618_208 + 64 * 896)
