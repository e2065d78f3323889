"""Exchanges that count alike: weights against a loop over positions, and the loss against exchanges alone."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ovexport.model import LanguageConfig, OneVision, OneVisionConfig, VisionConfig
from ovexport.train.data.collate import collate
from ovexport.train.data.sample import Sample
from ovexport.train.loop.step import batch_loss, exchange_weights
from ovexport.train.tiny.config import tiny_geometry

VOCABULARY = 50


def text_sample(rng: random.Random) -> Sample:
    """What all exchanges share, then some exchanges of a few labels each; no media."""
    exchange = [0] * rng.randint(2, 5)
    labels = [-100] * len(exchange)
    positions = list(range(len(exchange)))
    for number in range(1, rng.randint(2, 5)):
        length = rng.randint(2, 7)
        exchange += [number] * length
        positions += range(exchange.count(0), exchange.count(0) + length)
        labels += [-100, *(rng.choice((-100, rng.randrange(48))) for _ in range(length - 1))]
    labels[-1] = 3  # one at least
    ids = [rng.randrange(48) for _ in exchange]  # 48 and 49 are the visual ones
    return Sample(
        ids_S=np.array(ids), labels_S=np.array(labels), visual_S=np.zeros(len(ids), bool),
        exchange_S=np.array(exchange, np.int32), positions_S=np.array(positions),
        pixels_NCHW=np.empty((0, 3, 104, 104), np.float32), plan=None, modality="text",
    )  # fmt: skip


def tiny_model(seed: int) -> OneVision:
    torch.manual_seed(seed)
    vision = VisionConfig(hidden=16, intermediate=16, num_layers=1, num_heads=2, image_size_px=104, patch_size_px=14)
    language = LanguageConfig(
        vocab_size=VOCABULARY, hidden=16, intermediate=16, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=8,
        max_positions=256, tie_word_embeddings=True,
    )  # fmt: skip
    return OneVision(
        OneVisionConfig(
            vision=vision,
            language=language,
            geometry=tiny_geometry(),
            image_token_id=48,
            video_token_id=49,
            pad_token_id=0,
            eos_token_ids=(1,),
        )
    )


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_every_exchange_with_labels_counts_one(seed: int, packed: bool) -> None:
    rng = random.Random(seed)
    batch = collate([text_sample(rng) for _ in range(rng.randint(1, 5))], pad_id=0, packed=packed)
    weights_BS = exchange_weights(batch)
    owners = [
        (row, int(batch.sample_BS[row, s]), int(batch.exchange_BS[row, s]))
        for row, s in zip(*torch.nonzero(batch.labels_BS != -100, as_tuple=True), strict=True)
    ]
    owners = [(int(row), sample, exchange) for row, sample, exchange in owners]
    number = Counter(owners)
    assert float(weights_BS.sum()) == pytest.approx(len(number), rel=1e-6), seed
    got = weights_BS[batch.labels_BS != -100].tolist()
    assert got == pytest.approx([1 / number[owner] for owner in owners], rel=1e-6), seed


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_the_mean_over_exchanges_of_their_means(seed: int) -> None:
    rng = random.Random(seed)
    samples = [text_sample(rng) for _ in range(3)]
    model = tiny_model(seed)
    means = []
    for sample in samples:
        for number in set(sample.exchange_S.tolist()) - {0}:  # each as if it were alone
            kept = (sample.exchange_S == 0) | (sample.exchange_S == number)
            ids, labels = torch.from_numpy(sample.ids_S[kept]), torch.from_numpy(sample.labels_S[kept])
            if not (labels[1:] != -100).any():
                continue
            with torch.no_grad():
                logits_SV = model(ids[None]).logits_BKV[0]
            means.append(float(F.cross_entropy(logits_SV[:-1], labels[1:], ignore_index=-100)))
    with torch.no_grad():
        loss = batch_loss(model, collate(samples, pad_id=0), by_exchange=True)
    assert float(loss) == pytest.approx(sum(means) / len(means), rel=1e-5), seed
