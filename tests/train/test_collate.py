"""Batches against their samples: every position keeps its id, label, visual token and what it may see."""

from __future__ import annotations

import pickle
import random
from operator import itemgetter

import numpy as np
import pytest
import torch
from data_oracle import IGNORED, make_spec, random_turns, save_image, write_records
from torch.utils.data import DataLoader

from ovexport.train.data.collate import Batch, Skipped, collate
from ovexport.train.data.records import RecordFile
from ovexport.train.data.sample import Sample, make_sample
from ovkernels import bilinear_token_pool

PAD_ID = 3


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Sample]]:
    """Samples of all modalities, chained and apart."""
    folder = tmp_path_factory.mktemp("pool")
    rng = random.Random(0)
    records = []
    for number in range(24):
        count = rng.choice((0, 1, 1, 2))
        names = [f"{number}_{place}.png" for place in range(count)]
        for name in names:
            save_image(folder / name, rng.randint(60, 250), rng.randint(60, 250), rng.randrange(1 << 30))
        records.append({"conversations": random_turns(rng, count), **({"image": names} if names else {})})
    file = RecordFile(write_records(folder / "records.json", records))
    return {
        turns: [make_sample(file[index], make_spec(turns=turns)) for index in range(len(file))]
        for turns in ("chained", "apart")
    }


def visual_tokens(sample: Sample, features_NPD: np.ndarray, newline_D: np.ndarray) -> np.ndarray:
    rows_RD = np.concatenate([features_NPD.reshape(-1, features_NPD.shape[-1]), newline_D[None]])
    assert sample.plan is not None
    return bilinear_token_pool(rows_RD, sample.plan.indices_T4, sample.plan.weights_T4)


def fake_tower(pixels_NCHW: np.ndarray) -> np.ndarray:
    """Features that tell every tile and every place of it apart."""
    return np.ascontiguousarray(pixels_NCHW[:, :, :7, :7].reshape(len(pixels_NCHW), 3, 49).transpose(0, 2, 1))


def places(batch: Batch, samples: list[Sample], packed: bool) -> list[tuple[int, slice]]:
    """Row and columns of each sample, from lengths alone."""
    if not packed:
        return [(row, slice(0, sample.num_tokens)) for row, sample in enumerate(samples)]
    ends = np.cumsum([sample.num_tokens for sample in samples])
    return [(0, slice(int(end) - sample.num_tokens, int(end))) for end, sample in zip(ends, samples, strict=True)]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("turns", ["chained", "apart"])
@pytest.mark.parametrize("seed", range(12))
def test_every_position_is_its_sample_s(pool: dict[str, list[Sample]], seed: int, turns: str, packed: bool) -> None:
    samples = random.Random(seed).sample(pool[turns], 1 + seed % 5)
    batch = collate(samples, PAD_ID, packed=packed)
    newline_D = np.array([9, 8, 7], dtype=np.float32)
    embeds_TD = np.zeros((0, 3))
    if batch.plan is not None and batch.pixels_NCHW is not None:
        rows_RD = np.concatenate([fake_tower(batch.pixels_NCHW.numpy()).reshape(-1, 3), newline_D[None]])
        embeds_TD = bilinear_token_pool(rows_RD, batch.plan.indices_T4, batch.plan.weights_T4)
    left = torch.ones_like(batch.ids_BS, dtype=torch.bool)
    for number, (sample, (row, columns)) in enumerate(zip(samples, places(batch, samples, packed), strict=True)):
        labels = sample.labels_S.copy()
        if packed and number:
            labels[0] = IGNORED
        assert batch.ids_BS[row, columns].tolist() == sample.ids_S.tolist(), f"seed {seed}"
        assert batch.labels_BS[row, columns].tolist() == labels.tolist(), f"seed {seed}"
        assert batch.positions_BS[row, columns].tolist() == sample.positions_S.tolist(), f"seed {seed}"
        assert batch.exchange_BS[row, columns].tolist() == sample.exchange_S.tolist(), f"seed {seed}"
        assert (batch.sample_BS[row, columns] == (number if packed else 0)).all(), f"seed {seed}"
        index_S = batch.embed_index_BS[row, columns].numpy()
        assert ((index_S >= 0) == sample.visual_S).all(), f"seed {seed}"
        if sample.plan is not None:
            expected = visual_tokens(sample, fake_tower(sample.pixels_NCHW), newline_D)
            assert np.array_equal(embeds_TD[index_S[index_S >= 0]], expected), f"seed {seed}"
        left[row, columns] = False
    assert (batch.ids_BS[left] == PAD_ID).all() and (batch.labels_BS[left] == IGNORED).all()
    assert (batch.sample_BS[left] == -1).all() and (batch.embed_index_BS[left] == -1).all()
    assert batch.num_tokens == int((~left).sum()) == sum(sample.num_tokens for sample in samples)
    assert batch.num_supervised == sum(int((sample.labels_S[1:] != IGNORED).sum()) for sample in samples)
    assert batch.needs_mask == ((packed and len(samples) > 1) or any(s.exchange_S.max() > 1 for s in samples))


def sees(batch: Batch, row: int) -> np.ndarray:
    """The rule, position by position."""
    sample, exchange = batch.sample_BS[row].tolist(), batch.exchange_BS[row].tolist()
    return np.array(
        [
            [k <= q and sample[k] == sample[q] and exchange[k] in (0, exchange[q]) for k in range(len(sample))]
            for q in range(len(sample))
        ]
    )


def test_plain_causal_attention_is_enough_where_no_mask_is_needed(pool: dict[str, list[Sample]]) -> None:
    """A batch says that it needs a mask just when the rule hides something that causal attention shows."""
    for turns in ("chained", "apart"):
        for sample in sorted(pool[turns], key=lambda sample: sample.num_tokens)[:8]:
            batch = collate([sample], PAD_ID)
            causal = np.tril(np.ones((sample.num_tokens, sample.num_tokens), dtype=bool))
            assert batch.needs_mask == (not np.array_equal(sees(batch, 0), causal))


def test_types_and_moves(pool: dict[str, list[Sample]]) -> None:
    skipped = (Skipped(record_id="a", file="f", index=1, reason="r"),)
    batch = collate(pool["chained"][:4], PAD_ID, skipped)
    for name in ("ids_BS", "labels_BS", "embed_index_BS", "positions_BS"):
        assert getattr(batch, name).dtype == torch.int64, name
    assert batch.sample_BS.dtype == batch.exchange_BS.dtype == torch.int32
    moved = batch.to("meta")
    assert all(
        getattr(moved, name).device.type == "meta"
        for name in ("ids_BS", "labels_BS", "embed_index_BS", "positions_BS", "sample_BS", "exchange_BS", "pixels_NCHW")
    )
    assert moved.skipped == skipped and moved.num_tokens == batch.num_tokens
    again = pickle.loads(pickle.dumps(batch))
    assert torch.equal(again.ids_BS, batch.ids_BS) and again.skipped == skipped


def test_text_alone_has_neither_pixels_nor_plan(pool: dict[str, list[Sample]]) -> None:
    text = [sample for sample in pool["chained"] if sample.modality == "text"][:2]
    assert len(text) == 2
    batch = collate(text, PAD_ID)
    assert batch.pixels_NCHW is None and batch.plan is None and (batch.embed_index_BS == -1).all()
    assert batch.to("cpu").pixels_NCHW is None


def test_a_batch_passes_through_the_workers_of_a_loader(pool: dict[str, list[Sample]]) -> None:
    batches = [collate(pool["apart"][start : start + 3], PAD_ID) for start in (0, 3)]
    loader = DataLoader(batches, batch_size=1, collate_fn=itemgetter(0), num_workers=1)  # type: ignore[arg-type]
    for ours, theirs in zip(batches, loader, strict=True):
        assert torch.equal(ours.ids_BS, theirs.ids_BS) and ours.num_supervised == theirs.num_supervised
        assert (ours.plan is None) == (theirs.plan is None)
        assert theirs.needs_mask == ours.needs_mask
