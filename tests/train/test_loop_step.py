"""One step of training: accumulation, recomputation, precision and means of the loss against plain PyTorch."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from loop_fixture import config, fresh_model, tokenizer, write_records

from ovexport.model import OneVision
from ovexport.train.data.collate import Batch, collate
from ovexport.train.data.dataset import TrainingSet
from ovexport.train.data.mixture import load_mixture
from ovexport.train.data.sample import Sample
from ovexport.train.data.spec import SampleSpec, training_geometry
from ovexport.train.loop.loader import idle_batch
from ovexport.train.loop.optimizer import make_optimizers
from ovexport.train.loop.parallel import join_processes
from ovexport.train.loop.parameters import set_trainable
from ovexport.train.loop.step import batch_loss, train_step
from ovexport.train.recipe.recipe import Recipe
from ovexport.train.recipe.resolve import resolve

GRIDS = ((1, 2), (2, 1), (2, 2))
PAD_ID = config().pad_token_id


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Pictures, text, several pictures, in turn; the answers are of different lengths."""
    path = write_records(tmp_path_factory.mktemp("step"), 12, seed=5)
    plain = config()
    spec = SampleSpec(
        tokenizer=tokenizer(), image_token_id=plain.image_token_id, video_token_id=plain.video_token_id,
        geometry=training_geometry(plain.geometry, "anyres_max_9", GRIDS), labels="assistant-only",
    )  # fmt: skip
    made = TrainingSet(load_mixture(path), spec)
    return [made[number][0] for number in range(len(made))]


def recipe(**changes: Any) -> Recipe:
    return dataclasses.replace(resolve("stage2-si", "7b").recipe, precision="fp32", recompute=False, **changes)


def stepped(
    batches: list[Batch], made: Recipe, **options: Any
) -> tuple[float, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The loss, gradients (clipped), and the weights after it."""
    model = fresh_model(3)
    set_trainable(model, made.trainable)
    model.vision_tower.recompute = model.language_model.recompute = made.recompute
    result = train_step(model.train(), make_optimizers(model, made), batches, made, step=5, total_steps=10, **options)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return result.loss, gradients, dict(model.named_parameters())


def same(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert got.keys() == expected.keys()
    largest = max(float(tensor.detach().abs().max()) for tensor in expected.values())
    for name, tensor in got.items():
        torch.testing.assert_close(tensor, expected[name], rtol=tolerance, atol=tolerance * largest, msg=name)


def ones(samples: list[Sample], numbers: list[int]) -> list[Batch]:
    return [collate([samples[number]], PAD_ID) for number in numbers]


@pytest.mark.parametrize("numbers", [[0, 1, 2, 3], [1, 4, 7, 10], [2, 5, 8, 0]])
def test_four_micro_batches_of_one_are_one_of_four(samples: list[Sample], numbers: list[int]) -> None:
    made = recipe(loss_mean="tokens", max_grad_norm=1e9)
    together = collate([samples[number] for number in numbers], PAD_ID)
    loss, gradients, _ = stepped(ones(samples, numbers), made)
    expected_loss, expected, _ = stepped([together], made)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    same(gradients, expected, 1e-5)


def test_means_of_the_loss(samples: list[Sample]) -> None:
    """By cross-entropy over all logits, micro-batch by micro-batch; the two means differ on this data."""
    numbers = [0, 1, 2, 3]
    sums, counts = [], []
    model = fresh_model(3).eval()
    for batch in ones(samples, numbers):
        with torch.no_grad():
            plans = [batch.plan] if batch.plan is not None else []
            logits = model(batch.ids_BS, batch.pixels_NCHW, plans, embed_index_BS=batch.embed_index_BS).logits_BKV
        assert logits is not None
        sums.append(float(F.cross_entropy(logits[0, :-1], batch.labels_BS[0, 1:], ignore_index=-100, reduction="sum")))
        counts.append(int((batch.labels_BS[0, 1:] != -100).sum()))
    of_tokens = sum(sums) / sum(counts)
    of_micro_batches = sum(part / count for part, count in zip(sums, counts, strict=True)) / len(sums)
    assert abs(of_tokens / of_micro_batches - 1) > 1e-4
    for mean, expected in (("tokens", of_tokens), ("micro-batch", of_micro_batches)):
        assert stepped(ones(samples, numbers), recipe(loss_mean=mean))[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("trainable", [("projector",), ("vision", "projector", "language")])
def test_recomputed_activations_give_the_same_gradients(samples: list[Sample], trainable: tuple[str, ...]) -> None:
    batches = ones(samples, [0, 1, 2, 3])
    loss, gradients, after = stepped(batches, recipe(trainable=trainable, projector_lr=1e-3))
    again = dataclasses.replace(recipe(trainable=trainable, projector_lr=1e-3), recompute=True)
    loss_again, gradients_again, after_again = stepped(batches, again)
    assert loss == loss_again
    assert all(torch.equal(gradients[name], gradients_again[name]) for name in gradients | gradients_again)
    assert all(torch.equal(after[name], after_again[name]) for name in after)


@pytest.mark.parametrize("mean", ["micro-batch", "tokens"])
def test_idle_micro_batches_change_nothing(samples: list[Sample], mean: str) -> None:
    batches = ones(samples, [0, 1, 2])
    expected = stepped(batches, recipe(loss_mean=mean))
    got = stepped([*batches, idle_batch(PAD_ID)], recipe(loss_mean=mean), num_micro_batches=3)
    assert got[0] == pytest.approx(expected[0], rel=1e-6)
    same(got[1], expected[1], 1e-6)


def test_bf16_computes_in_it_and_keeps_float32(samples: list[Sample]) -> None:
    numbers = [0, 1, 2, 3]
    loss, gradients, _ = stepped(ones(samples, numbers), recipe(max_grad_norm=1e9))
    rough = dataclasses.replace(recipe(max_grad_norm=1e9), precision="bf16")
    rough_loss, rough_gradients, rough_after = stepped(ones(samples, numbers), rough)
    assert rough_loss == pytest.approx(loss, rel=1e-2) and rough_loss != loss
    assert all(tensor.dtype == torch.float32 for tensor in (*rough_gradients.values(), *rough_after.values()))
    joined, rough_joined = (torch.cat([g[name].flatten() for name in gradients]) for g in (gradients, rough_gradients))
    assert float(F.cosine_similarity(joined, rough_joined, dim=0)) > 0.999


def test_the_last_steps_are_rounded(samples: list[Sample]) -> None:
    """Step 5 of 10 is the first of the last half. (What rounding does: test_rounding.py.)"""
    batches = ones(samples, [0, 1])
    exact = stepped(batches, recipe())[0]
    assert stepped(batches, recipe(rounded_share=0.5))[0] != exact
    assert stepped(batches, recipe(rounded_share=0.4))[0] == exact


def test_gradients_of_a_blank_tile_are_zero(samples: list[Sample]) -> None:
    """A micro-batch of text moves no projector in stage 1, yet gives every engine its gradients."""
    rng = random.Random(1)
    model: OneVision = fresh_model(rng.randrange(100))
    set_trainable(model, ("projector",))
    batch_loss(model, collate([samples[1]], PAD_ID)).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert found.keys() == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not any(gradient.any() for gradient in found.values())


def test_fsdp_computes_in_bf16_by_its_own_policy(samples: list[Sample]) -> None:
    """Autocast on top would have CUDA's norms give float32 again."""
    seen: list[tuple[torch.dtype, bool]] = []

    def look(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        seen.append((output.dtype, torch.is_autocast_enabled("cpu")))

    processes = join_processes("fsdp", "cpu", 0)
    try:
        source = fresh_model(3)
        with torch.device("meta"):
            empty = OneVision(config())
        model = processes.wrap(empty, "bf16", lambda made: fill_from(source, made))
        processes.unwrapped(model).vision_tower.layers[0].layer_norm1.register_forward_hook(look)
        batch = collate([samples[0]], PAD_ID)
        loss, by_autocast = (float(batch_loss(either, batch, "bf16").detach()) for either in (model, source))
        assert loss == pytest.approx(by_autocast, rel=1e-2)
    finally:
        processes.close()
    assert seen == [(torch.bfloat16, False)]


def fill_from(source: OneVision, model: torch.nn.Module) -> None:
    state = source.state_dict()
    model.to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.to_local().copy_(state[name])  # the only process: its shard is the whole
