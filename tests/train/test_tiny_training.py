"""The training loop: it learns, it goes on where it stopped, and it trains what it says it trains."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from ovexport.model import OneVisionConfig
from ovexport.model.onevision import IGNORE_LABEL
from ovexport.train import bpe
from ovexport.train.fakequant import BLOCK, int4_weights, round_int4, rounded
from ovexport.train.patches import patch_labels
from ovexport.train.samples import Chat, make_batch
from ovexport.train.scenes import COLOURS, PLACES, SHAPES, draw, scenes
from ovexport.train.tiny import (
    Recipe,
    Run,
    answer_loss,
    learning_rate,
    load_run,
    look_step,
    new_run,
    save_run,
    share_spent,
    talk_step,
    tiny_config,
    train,
)
from ovrun.tiling.tiles import squeeze_image


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return bpe.train_tokenizer()


@pytest.fixture(scope="module")
def config(tokenizer: Tokenizer) -> OneVisionConfig:
    """The shipped shape with one layer of each kind."""
    whole = tiny_config(tokenizer.get_vocab())
    return dataclasses.replace(
        whole,
        vision=dataclasses.replace(whole.vision, num_layers=1),
        language=dataclasses.replace(whole.language, num_layers=1),
    )


def _trained(run: Run, tokenizer: Tokenizer, recipe: Recipe, path: Path) -> dict[str, torch.Tensor]:
    train(run, Chat(tokenizer), recipe, path)
    return {name: parameter.detach().clone() for name, parameter in run.model.named_parameters()}


def test_both_phases_learn(config: OneVisionConfig, tokenizer: Tokenizer) -> None:
    recipe = Recipe(steps=24)
    run, chat = new_run(config, recipe), Chat(tokenizer)
    for phase in (lambda: look_step(run, recipe), lambda: talk_step(run, chat, recipe, 0.0)):
        run.step = 0  # the same batch again and again
        losses = []
        for _ in range(12):
            for optimizer in run.optimizers:
                optimizer.zero_grad(set_to_none=True)
            losses.append(float(phase().detach()))
            for optimizer in run.optimizers:
                optimizer.step()
        assert losses[-1] < 0.9 * losses[0], losses


def test_a_stopped_run_goes_on_to_the_same_weights(
    config: OneVisionConfig, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    recipe = Recipe(steps=6, look_share=0.5, rounded_share=0.2, turns=2)
    whole = _trained(new_run(config, recipe), tokenizer, recipe, tmp_path / "whole.pt")

    stopped = new_run(config, recipe)
    stopping = dataclasses.replace(recipe, save_every_s=0.0)
    with pytest.raises(KeyboardInterrupt):
        _interrupt_after(stopped, 4, tokenizer, stopping, tmp_path / "run.pt")
    resumed = new_run(config, dataclasses.replace(recipe, seed=99))  # other weights, all to be replaced
    load_run(resumed, tmp_path / "run.pt")
    assert resumed.step == 3
    finished = _trained(resumed, tokenizer, recipe, tmp_path / "run.pt")
    for name, value in whole.items():
        assert torch.equal(value, finished[name]), name


def _interrupt_after(run: Run, steps: int, tokenizer: Tokenizer, recipe: Recipe, path: Path) -> None:
    """Train, and stop as Ctrl-C would in the middle of step number `steps`."""
    first, *_ = run.optimizers
    plain_step = first.step

    def step() -> None:
        if run.step == steps - 1:
            raise KeyboardInterrupt
        plain_step()

    first.step = step  # type: ignore[method-assign, assignment]
    train(run, Chat(tokenizer), recipe, path)


def test_a_budget_of_minutes_counts_training_time_alone(config: OneVisionConfig) -> None:
    run = new_run(config, Recipe(minutes=2.0))
    run.step, run.spent_s = 10**6, 30.0
    assert share_spent(Recipe(minutes=2.0), run) == pytest.approx(0.25)
    assert share_spent(Recipe(steps=4 * 10**6), run) == pytest.approx(0.25)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1349, 0.1351, 0.5, 0.8, 1.0])
def test_rates_rise_and_fall_within_each_phase(share: float) -> None:
    recipe = Recipe(look_share=0.135)
    outside, tower = (learning_rate(recipe, share, in_tower=in_tower) for in_tower in (False, True))
    assert 0 < outside <= (recipe.look_lr if share < 0.135 else recipe.talk_lr)
    assert tower == pytest.approx(outside * (1 if share < 0.135 else recipe.tower_factor))
    at_ends = share in (0.0, 0.1349, 0.1351, 1.0)
    assert (outside < 0.06 * recipe.talk_lr) == at_ends


def test_no_state_is_left_half_written(
    config: OneVisionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(config, Recipe(steps=1))
    save_run(run, tmp_path / "run.pt")
    before = (tmp_path / "run.pt").read_bytes()

    def torn(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="disk full"):
        save_run(run, tmp_path / "run.pt")
    assert (tmp_path / "run.pt").read_bytes() == before


def test_every_matrix_of_the_language_model_divides_into_int4_blocks(tokenizer: Tokenizer) -> None:
    model = new_run(tiny_config(tokenizer.get_vocab()), Recipe(steps=1)).model
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            assert parameter.shape[1] % BLOCK == 0, name


@pytest.mark.parametrize("seed", range(10))
def test_rounded_weights_have_sixteen_levels_and_come_back_exact(seed: int) -> None:
    torch.manual_seed(seed)
    layer = torch.nn.Linear(96, 40)
    before = layer.weight.detach().clone()
    with rounded(int4_weights(layer)):
        inside = layer.weight.detach().clone()
    assert torch.equal(layer.weight, before)
    blocks, exact = inside.unflatten(1, (-1, BLOCK)), before.unflatten(1, (-1, BLOCK))
    scale = exact.abs().amax(dim=-1, keepdim=True) / 7
    assert torch.allclose(blocks / scale, (blocks / scale).round(), atol=1e-4), f"seed {seed}"
    assert ((blocks - exact).abs() <= scale / 2 + 1e-6).all(), f"seed {seed}"
    assert torch.allclose(round_int4(inside), inside, atol=1e-6), f"seed {seed}"


def test_batches_repeat_and_learn_only_answers(tokenizer: Tokenizer, config: OneVisionConfig) -> None:
    chat, forms = Chat(tokenizer), set()
    for seed in range(30):
        first, second = (
            make_batch(chat, config.geometry, f"{seed}", count=2, size="1x1", max_things=5, turns=4) for _ in range(2)
        )
        assert torch.equal(first.prompts_BS, second.prompts_BS) and torch.equal(first.pixels_NCHW, second.pixels_NCHW)
        assert int((first.prompts_BS == chat.image_id).sum()) == first.plan.num_tokens
        forms.add(len(first.asked))
        for asked, again in zip(first.asked, second.asked, strict=True):
            assert torch.equal(asked.ids_QS, again.ids_QS)
            learned = asked.labels_QS != IGNORE_LABEL
            assert torch.equal(asked.labels_QS[learned], asked.ids_QS[learned])
            ends = (asked.labels_QS == tokenizer.token_to_id(bpe.TURN_END)).sum(dim=1)
            assert ends.tolist() == [1] * len(ends) or len(first.asked) == 1
    assert forms == {1, 2}  # whole conversations, and questions alone with descriptions apart


def test_shared_openings_give_the_loss_of_whole_conversations(tokenizer: Tokenizer, config: OneVisionConfig) -> None:
    chat, model = Chat(tokenizer), new_run(config, Recipe(steps=1)).model
    for seed in range(4):
        batch = make_batch(chat, config.geometry, f"{seed}", count=2, size="1x2", max_things=3, turns=3)
        losses = []
        for asked in batch.asked:
            total, count = 0.0, 0
            for row, prompt in enumerate(asked.prompt_Q.tolist()):
                opening = batch.prompts_BS[prompt]
                ids = torch.cat([opening, asked.ids_QS[row]])[None]
                labels = torch.cat([torch.full_like(opening, IGNORE_LABEL), asked.labels_QS[row]])[None]
                embeds = model.image_embeds(batch.pixels_NCHW, [batch.plan]).chunk(2)[prompt]
                hidden = model.language_model(model.merge(ids, embeds))
                here = int((labels != IGNORE_LABEL).sum())
                total, count = total + float(model.loss(hidden, labels).detach()) * here, count + here
            losses.append(total / count)
        assert float(answer_loss(model, batch).detach()) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_patch_labels_are_the_colours_in_the_base_view(seed: int, config: OneVisionConfig) -> None:
    """A patch that is largely painted in a colour is labelled so, and all things are found under their names."""
    geometry = config.geometry
    scene = next(s for _, s in scenes(f"labels {seed}", held_out=False, size="1x1"))
    view_CHW = squeeze_image(draw(scene), geometry)[0]
    labels_YX3 = patch_labels(scene, geometry).reshape(7, 7, 3)
    palette = np.array([scene.background, *COLOURS.values()]) / 127.5 - 1
    for y, x in np.ndindex(7, 7):
        patch = view_CHW[:, 14 * y : 14 * y + 14, 14 * x : 14 * x + 14].reshape(3, -1).T
        nearest = np.abs(palette[None] - patch[:, None]).sum(axis=2).argmin(axis=1)
        painted = np.bincount(nearest, minlength=9)
        if painted[1:].max() > 70:
            assert labels_YX3[y, x, 0] == 1 + painted[1:].argmax(), f"seed {seed}, patch {y}, {x}"
    kinds = {(_COLOUR_NAMES[c - 1], SHAPES[s - 1], PLACES[p - 1]) for c, s, p in labels_YX3.reshape(-1, 3) if c}
    assert kinds == {(t.colour, t.shape, t.place) for t in scene.things}, f"seed {seed}"


_COLOUR_NAMES = list(COLOURS)
