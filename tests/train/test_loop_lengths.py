"""Lengths are counted once, shared between processes, and again when anything that they depend on has changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from loop_fixture import config, tokenizer, write_records
from numpy.typing import NDArray

from ovexport.progress import Bars
from ovexport.train.data.dataset import TrainingSet
from ovexport.train.data.mixture import Mixture, load_mixture
from ovexport.train.data.spec import SampleSpec, training_geometry
from ovexport.train.loop import lengths as lengths_module
from ovexport.train.loop.lengths import sample_lengths
from ovexport.train.loop.parallel import ONE_PROCESS, Processes

BARS = Bars(quiet=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OneOfMany(Processes):
    """Adds what the others are made to have; nobody is there."""

    others: Sequence[NDArray[np.int64]] = ()

    def total(self, numbers_N: NDArray) -> NDArray:
        return sum((numbers for numbers in self.others if numbers.shape == numbers_N.shape), numbers_N)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of records, each sampled in its own way."""
    folder = tmp_path_factory.mktemp("lengths")
    for number, name in enumerate(("a", "b")):
        write_records(folder / name, 11 + number, seed=number)
    (folder / "mix.yaml").write_text(
        "datasets:\n- json_path: a/records.jsonl\n  sampling_strategy: random:60%\n- json_path: b/records.jsonl\n"
    )
    return folder / "mix.yaml"


def training_set(data: Path, **changes: object) -> TrainingSet:
    plain = config()
    spec = SampleSpec(
        tokenizer=tokenizer(), image_token_id=plain.image_token_id, video_token_id=plain.video_token_id,
        geometry=training_geometry(plain.geometry, "anyres_max_9", ((1, 2), (2, 1))),
    )  # fmt: skip
    return TrainingSet(load_mixture(data), dataclasses.replace(spec, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("grouping", ["modality-length", "like-length", "packed"])
def test_lengths_are_the_data_s_own(data: Path, tmp_path: Path, grouping: str) -> None:
    samples = training_set(data)
    expected = samples.mixture.word_counts() if grouping == "modality-length" else samples.token_counts()
    assert np.array_equal(sample_lengths(grouping, samples, tmp_path, ONE_PROCESS, BARS), expected)
    assert len(np.unique(expected)) > 4


def test_nothing_is_read_for_a_shuffle(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Mixture, "__getitem__")
    assert len(sample_lengths("none", training_set(data), tmp_path / "out", ONE_PROCESS, BARS)) > 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [2, 3, 40])
def test_shares_add_up(data: Path, tmp_path: Path, size: int) -> None:
    samples = training_set(data)
    cpu = torch.device("cpu")
    shares = [OneOfMany(rank=rank, size=size, device=cpu, mode="x") for rank in range(size)]
    own = [sample_lengths("packed", samples, tmp_path / str(share.rank), share, BARS) for share in shares]
    assert np.array_equal(sum(own), samples.token_counts())
    assert all((lengths > 0).sum() <= len(samples) // size + 2 for lengths in own)
    assert len(list(tmp_path.glob("*/*"))) == 1  # the first one writes


def test_counted_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = training_set(data)
    first = sample_lengths("packed", samples, tmp_path, ONE_PROCESS, BARS)
    (kept,) = tmp_path.iterdir()
    with monkeypatch.context() as blind:
        blind.setattr(lengths_module, "_counted", None)
        assert np.array_equal(sample_lengths("packed", training_set(data), tmp_path, ONE_PROCESS, BARS), first)
    # Another process that has no such file makes all count again, or they would wait for each other.
    alone = OneOfMany(rank=0, size=1, device=torch.device("cpu"), mode="x", others=(np.array([True]),))
    kept.write_bytes(kept.read_bytes().replace(first.tobytes(), bytes(first.nbytes)))
    assert np.array_equal(sample_lengths("packed", samples, tmp_path, alone, BARS), first)
    kept.write_bytes(kept.read_bytes()[:-8])  # damaged
    assert np.array_equal(sample_lengths("packed", samples, tmp_path, ONE_PROCESS, BARS), first)


def test_counted_again_when_anything_changed(data: Path, tmp_path: Path) -> None:
    seen = set()

    def count(samples: TrainingSet, grouping: str = "packed") -> None:
        sample_lengths(grouping, samples, tmp_path, ONE_PROCESS, BARS)
        (kept,) = tmp_path.iterdir()  # the older one is gone
        seen.add(kept.name)

    count(training_set(data))
    count(training_set(data), "like-length")  # the same lengths
    assert len(seen) == 1
    other = tokenizer()
    other.add_special_tokens(["<|more|>"])
    for samples in (
        training_set(data, max_length=60),
        training_set(data, turns="apart"),
        training_set(data, tokenizer=other),
        training_set(data, geometry=training_geometry(config().geometry, "anyres_max_9", ((3, 3),))),
        TrainingSet(load_mixture(data, seed=1), training_set(data).spec),
    ):
        count(samples)
    count(training_set(data), "modality-length")
    assert len(seen) == 7
    records = data.parent / "b" / "records.jsonl"
    records.write_text(records.read_text().replace("What?", "What is it?"))
    count(training_set(data))
    assert len(seen) == 8
