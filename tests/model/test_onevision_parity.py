"""Logits, loss and greedy answers of whole prompts against transformers."""

from __future__ import annotations

import random

import pytest
import torch
from tiny_oracle import EOS_ID, IMAGE_ID, PAD_ID, pair, relative_error

from ovexport.model import OneVision
from ovrun.tiling.plan import TokenPlan, plan_image

TOLERANCE = 1e-4
Sample = tuple[torch.Tensor, torch.Tensor, TokenPlan, tuple[int, int]]


def random_sample(model: OneVision, rng: random.Random) -> Sample:
    """Ids with one image somewhere in the text, its tiles, plan and size (height, width)."""
    geometry = model.config.geometry
    size = (rng.randint(1, 3 * geometry.image_size_px), rng.randint(1, 3 * geometry.image_size_px))
    plan = plan_image(*size, geometry)
    before, after = ([rng.randint(2, 89) for _ in range(rng.randint(1, 9))] for _ in range(2))
    ids_S = torch.tensor([*before, *[IMAGE_ID] * plan.num_tokens, *after])
    generator = torch.Generator().manual_seed(rng.randint(0, 1 << 30))
    shape = (plan.num_tiles, 3, geometry.image_size_px, geometry.image_size_px)
    return ids_S, torch.randn(shape, generator=generator), plan, size


@pytest.mark.parametrize("seed", range(12))
def test_logits_and_loss(seed: int) -> None:
    model, oracle = pair(seed, sides=3)
    ids_S, pixels_NCHW, plan, size = random_sample(model, random.Random(seed))
    labels_S = torch.where((ids_S == IMAGE_ID) | (torch.rand(ids_S.shape) < 0.3), -100, ids_S)
    labels_S[-1] = ids_S[-1]
    with torch.no_grad():
        got = model(ids_S[None], pixels_NCHW, [plan], labels_BS=labels_S[None])
        expected = oracle(
            input_ids=ids_S[None],
            pixel_values=pixels_NCHW[None],
            image_sizes=torch.tensor([size]),
            labels=labels_S[None],
        )
    assert relative_error(got.logits_BKV, expected.logits) < TOLERANCE, f"seed {seed}"
    assert relative_error(got.loss, expected.loss) < TOLERANCE, f"seed {seed}"


@pytest.mark.parametrize("seed", range(6))
def test_right_padded_batch(seed: int) -> None:
    model, oracle = pair(seed, sides=3)
    samples = [random_sample(model, random.Random(f"{seed} {row}")) for row in range(3)]
    longest = max(len(ids_S) for ids_S, *_ in samples)
    ids_BS = torch.full((len(samples), longest), PAD_ID)
    views = max(plan.num_tiles for _, _, plan, _ in samples)
    pixels_BVCHW = torch.zeros(len(samples), views, *samples[0][1].shape[1:])
    for row, (ids_S, pixels_NCHW, plan, _) in enumerate(samples):
        ids_BS[row, : len(ids_S)] = ids_S
        pixels_BVCHW[row, : plan.num_tiles] = pixels_NCHW
    mask_BS = ids_BS != PAD_ID
    labels_BS = torch.where(mask_BS & (ids_BS != IMAGE_ID), ids_BS, -100)
    with torch.no_grad():
        got = model(ids_BS, torch.cat([s[1] for s in samples]), [s[2] for s in samples], labels_BS=labels_BS)
        expected = oracle(
            input_ids=ids_BS,
            attention_mask=mask_BS.long(),
            pixel_values=pixels_BVCHW,
            image_sizes=torch.tensor([s[3] for s in samples]),
            labels=labels_BS,
        )
    assert relative_error(got.logits_BKV[mask_BS], expected.logits[mask_BS]) < TOLERANCE, f"seed {seed}"
    assert relative_error(got.loss, expected.loss) < TOLERANCE, f"seed {seed}"


@pytest.mark.parametrize("seed", range(10))
def test_greedy_tokens(seed: int) -> None:
    model, oracle = pair(seed, sides=2)
    ids_S, pixels_NCHW, plan, size = random_sample(model, random.Random(seed))
    got = model.generate(ids_S, pixels_NCHW, [plan], max_new_tokens=12)
    expected = oracle.generate(
        input_ids=ids_S[None],
        attention_mask=torch.ones_like(ids_S[None]),
        pixel_values=pixels_NCHW[None],
        image_sizes=torch.tensor([size]),
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )
    assert got == expected[0, len(ids_S) :].tolist(), f"seed {seed}"


def test_answers_are_not_all_one_token() -> None:
    """Guards the comparison above: answers of these random models have to vary."""
    answers = set()
    for seed in range(10):
        model, _ = pair(seed, sides=2)
        ids_S, pixels_NCHW, plan, _ = random_sample(model, random.Random(seed))
        answers.update(model.generate(ids_S, pixels_NCHW, [plan], max_new_tokens=12))
    assert len(answers) > 10


def test_generation_stops_after_the_end_token() -> None:
    model, _ = pair(3)
    ids_S = torch.tensor([5, 6, 7])
    answer = model.generate(ids_S, max_new_tokens=8, eos_token_ids=())
    stop = answer[3]
    assert model.generate(ids_S, max_new_tokens=8, eos_token_ids=(stop,)) == answer[: answer.index(stop) + 1]


@pytest.mark.parametrize("seed", range(8))
def test_gradients_of_every_parameter(seed: int) -> None:
    model, oracle = pair(seed, sides=2)
    ids_S, pixels_NCHW, plan, size = random_sample(model, random.Random(seed))
    labels_S = torch.where(ids_S == IMAGE_ID, -100, ids_S)
    model(ids_S[None], pixels_NCHW, [plan], labels_BS=labels_S[None], want_logits=False).loss.backward()
    oracle(
        input_ids=ids_S[None],
        pixel_values=pixels_NCHW[None],
        image_sizes=torch.tensor([size]),
        labels=labels_S[None],
    ).loss.backward()
    from ovexport.checkpoint.layouts import detect_layout

    theirs = dict(oracle.named_parameters())
    layout = detect_layout(oracle.state_dict())
    for name, parameter in model.named_parameters():
        expected = theirs[layout.file_name(name)].grad
        if "post_layernorm" in name:
            assert parameter.grad is None
        elif not name.endswith("k_proj.bias"):  # softmax ignores it, so only rounding is left in its gradient
            assert relative_error(parameter.grad, expected) < 1e-3, f"seed {seed}, {name}"


@pytest.mark.parametrize("seed", range(6))
def test_pieces_over_a_cache_equal_the_whole(seed: int) -> None:
    model, _ = pair(seed)
    rng = random.Random(seed)
    ids_BS = torch.tensor([[rng.randint(2, 89) for _ in range(20)] for _ in range(2)])
    cache: list = []
    with torch.no_grad():
        whole_BSV = model(ids_BS).logits_BKV
        cuts = sorted(rng.sample(range(1, 20), 4))
        pieces = [model(ids_BS[:, a:b], cache=cache).logits_BKV for a, b in zip([0, *cuts], [*cuts, 20], strict=True)]
    assert relative_error(torch.cat(pieces, dim=1), whole_BSV) < TOLERANCE, f"seed {seed}, cuts {cuts}"


@pytest.mark.parametrize("seed", range(4))
def test_logits_of_some_positions_and_given_embed_indices(seed: int) -> None:
    model, _ = pair(seed, sides=2)
    rng = random.Random(seed)
    ids_S, pixels_NCHW, plan, _ = random_sample(model, rng)
    visual_S = ids_S == IMAGE_ID
    index_S = torch.where(visual_S, visual_S.cumsum(0) - 1, -1)
    asked_K = torch.tensor([rng.randrange(len(ids_S)) for _ in range(3)])
    padded_S = ids_S.masked_fill(visual_S, PAD_ID)  # as the exported decoder gets them
    with torch.no_grad():
        every = model(ids_S[None], pixels_NCHW, [plan]).logits_BKV
        some = model(
            padded_S[None],
            pixels_NCHW,
            [plan],
            embed_index_BS=index_S[None],
            logits_index_BK=asked_K[None],
        ).logits_BKV
    assert relative_error(some, every[:, asked_K]) < 1e-5, f"seed {seed}"


def test_a_wrong_number_of_image_tokens_is_refused() -> None:
    model, _ = pair(0, sides=2)
    ids_S, pixels_NCHW, plan, _ = random_sample(model, random.Random(0))
    with pytest.raises(ValueError, match=rf"{plan.num_tokens + 1} image positions .* {plan.num_tokens} visual"):
        model(torch.cat([ids_S, torch.tensor([IMAGE_ID])])[None], pixels_NCHW, [plan])
    with pytest.raises(ValueError, match="0 visual"):
        model(ids_S[None])
