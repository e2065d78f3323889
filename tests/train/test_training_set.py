"""A training set that never fails for a broken record, is the same in every worker, and knows lengths beforehand."""

from __future__ import annotations

import random
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_oracle import make_spec, random_turns, save_image, write_records
from PIL import Image
from torch.utils.data import DataLoader

from ovengines.errors import ExitCode, OVError
from ovexport.train.data.collate import Skipped
from ovexport.train.data.dataset import TrainingSet
from ovexport.train.data.mixture import load_mixture
from ovexport.train.data.sample import Sample

Item = tuple[Sample, tuple[Skipped, ...]]


def training_set(folder: Path, records: list[Any], **settings: Any) -> TrainingSet:
    return TrainingSet(load_mixture(write_records(folder / "records.jsonl", records)), make_spec(**settings))


def record(number: int, markers: int = 0, **media: Any) -> dict[str, Any]:
    return {"id": f"r{number}", "conversations": random_turns(random.Random(number), markers), **media}


def same(ours: Item, theirs: Item) -> bool:
    arrays = ("ids_S", "labels_S", "visual_S", "exchange_S", "positions_S", "pixels_NCHW")
    return ours[1] == theirs[1] and all(
        np.array_equal(getattr(ours[0], name), getattr(theirs[0], name)) for name in arrays
    )


def test_broken_records_are_replaced_by_the_next_and_named(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", 50, 60, 0)
    records = [
        record(0),
        record(1, 1, image="missing.png"),
        {"id": "r2", "conversations": []},
        record(3, 1, image="a.png"),
        {"conversations": "x"},
    ]
    made = training_set(tmp_path, records)
    file = str(tmp_path / "records.jsonl")
    assert made[0][1] == ()
    sample, skipped = made[1]
    assert same((sample, ()), made[3])
    missing = f"{tmp_path / 'missing.png'} does not exist (check the path)"
    assert skipped == (
        Skipped(record_id="r1", file=file, index=1, reason=missing),
        Skipped(record_id="r2", file=file, index=2, reason="no conversations"),
    )
    sample, skipped = made[4]  # behind the last one comes the first
    assert same((sample, ()), made[0]) and [entry.record_id for entry in skipped] == [""]


@pytest.mark.parametrize("count", [1, 3, 20])
def test_nothing_but_broken_records_is_an_error(tmp_path: Path, count: int) -> None:
    made = training_set(tmp_path, [record(number, 1, image=f"{number}.png") for number in range(count)])
    with pytest.raises(
        OVError, match=rf"{min(8, count)} records in a row .* record 0 of .*0\.png does not exist"
    ) as caught:
        made[0]
    assert caught.value.code == ExitCode.BAD_INPUT


@pytest.fixture
def mixed(tmp_path: Path) -> TrainingSet:
    rng = random.Random(3)
    records = []
    for number in range(12):
        names = [f"{number}_{place}.png" for place in range(rng.choice((0, 1, 2)))]
        for name in names:
            save_image(tmp_path / name, rng.randint(30, 200), rng.randint(30, 200), number)
        records.append(record(number, len(names), **({"image": names} if names else {})))
    records[5] = {"conversations": None}
    return training_set(tmp_path, records, turns="apart")


@pytest.mark.parametrize(("start", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_give_the_same_samples(mixed: TrainingSet, start: str, workers: int) -> None:
    expected = [mixed[number] for number in range(len(mixed))]
    loader = DataLoader(
        mixed, batch_size=1, collate_fn=itemgetter(0), num_workers=workers, multiprocessing_context=start
    )
    for number, item in enumerate(loader):
        assert same(item, expected[number]), f"sample {number}"
    assert [skipped.index for _, skips in expected for skipped in skips] == [5]


@pytest.mark.parametrize("turns", ["chained", "apart"])
def test_token_counts_need_no_pixels(tmp_path: Path, turns: str) -> None:
    image = save_image(tmp_path / "a.jpg", 50, 300, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    image.save(tmp_path / "turned.jpg", exif=exif)
    records = [
        record(0),
        record(1, 1, image="a.jpg"),
        record(2, 1, image="turned.jpg"),
        record(3, 2, image=["a.jpg", "turned.jpg"]),
        {"id": "broken"},
        record(5, 1, image="missing.png"),
    ]
    made = training_set(tmp_path, records, turns=turns)
    seen: list[tuple[int, int]] = []
    counts = made.token_counts(lambda done, total: seen.append((done, total)))
    assert counts.tolist() == [*(made[number][0].num_tokens for number in range(4)), 1, 1]
    plans = [made[number][0].plan for number in (1, 2)]
    assert plans[0] is not None and plans[1] is not None and plans[0].grid == plans[1].grid[::-1] != (1, 1)
    assert seen[-1] == (6, 6)
