"""Whole answers of the runtime on ov-tiny against `OneVision.generate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from verify_bundles import RandomCheckpoint

from ovengines import open_bundle
from ovexport.checkpoint import open_checkpoint
from ovexport.embedded import EMBEDDED_MODEL
from ovexport.model import OneVision
from ovexport.verify.full import Sample, drawn_samples, full_check
from ovexport.verify.picture import draw_picture
from ovrun import Session
from ovrun.prompt.compose import encode_conversation
from ovrun.prompt.expand import expand
from ovrun.prompt.messages import conversation
from ovrun.prompt.tokenizer import Tokenizer
from ovrun.tiling.plan import plan_image
from ovrun.tiling.tiles import tile_image

NEW_TOKENS = 12


@pytest.fixture(scope="module")
def model() -> OneVision:
    """ov-tiny in float32, in an ordinary module."""
    with open_checkpoint(EMBEDDED_MODEL) as checkpoint:
        model = OneVision(checkpoint.config).eval()
        model.load_state_dict({name: checkpoint.tensor(name).float() for name in checkpoint.names()})
        return model


@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_answers_of_the_bundle_are_those_of_pytorch(precision: str, build_tiny: Callable[[str], Path]) -> None:
    folder = build_tiny(precision)
    steps: list[tuple[str, int, int]] = []
    with open_checkpoint(EMBEDDED_MODEL) as checkpoint:
        samples = drawn_samples(checkpoint.config.geometry)
        rows = full_check(folder, checkpoint, samples, NEW_TOKENS, threads=1, progress=lambda *s: steps.append(s))
    assert [row.sample for row in rows] == [sample.name for sample in samples]
    assert all(row.passed and row.precision == precision and 0 < row.total <= NEW_TOKENS for row in rows), rows
    assert all(row.equal <= row.same_choice <= row.total for row in rows)
    if precision == "fp32":
        assert all(row.equal == row.total and row.gap == 0 for row in rows), rows
    assert steps[-1][1] == steps[-1][2] == 2 * len(samples)


def test_reading_along_finds_the_ids_of_generate(build_tiny: Callable[[str], Path], model: OneVision) -> None:
    """`equal` counts up to the first id in which the runtime and `OneVision.generate` differ."""
    folder, geometry = build_tiny("int4"), model.config.geometry
    tokenizer, template = Tokenizer(folder / "tokenizer.json"), (folder / "chat_template.jinja").read_text()
    with open_checkpoint(EMBEDDED_MODEL) as checkpoint, Session.open(str(folder), threads=1) as session:
        for seed in range(4):
            image = draw_picture(90 + 40 * seed, 150, seed)
            sample = Sample(name=str(seed), image=image, prompt="How many shapes are there?")
            (row,) = full_check(folder, checkpoint, [sample], NEW_TOKENS, threads=1)
            answer = list(session.generate(prompt=sample.prompt, images=[image], max_new_tokens=NEW_TOKENS).token_ids)
            plan = plan_image(image.height, image.width, geometry)
            marked = encode_conversation(conversation(sample.prompt, 1), template, tokenizer)
            image_id = model.config.image_token_id
            ids_S = torch.from_numpy(expand(marked, image_id, [plan.num_tokens], image_id).ids_S)
            pixels_NCHW = torch.from_numpy(tile_image(image, geometry))
            wanted = model.generate(ids_S, pixels_NCHW, [plan], max_new_tokens=NEW_TOKENS)
            equal = next((i for i, (a, w) in enumerate(zip(answer, wanted, strict=False)) if a != w), len(answer))
            assert (row.equal, row.total) == (equal, len(answer)), f"seed {seed}"


def test_another_checkpoint_is_noticed(tiny_bundle: Path, model: OneVision) -> None:
    """The language model with its last layer off is not what the bundle was made from."""
    checkpoint = RandomCheckpoint(model)
    last = f"language_model.layers.{model.config.language.num_layers - 1}.mlp.down_proj.weight"
    checkpoint.set(last, torch.zeros_like(checkpoint.tensor(last)))
    assert open_bundle(tiny_bundle).manifest.precision == "fp32"
    rows = full_check(tiny_bundle, checkpoint, drawn_samples(model.config.geometry), NEW_TOKENS, threads=1)
    assert any(not row.passed for row in rows), rows
    worst = max(rows, key=lambda row: row.gap)
    assert worst.equal < worst.total and "prefers another token" in worst.finding
    assert dataclasses.replace(worst, gap=0.0).passed
