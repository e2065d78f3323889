"""Sampling strategies against the released arithmetic done on lists, and mixtures of every form."""

from __future__ import annotations

import math
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from data_oracle import write_records

from ovengines.errors import ExitCode, OVError
from ovexport.train.data.mixture import SHIPPED, Entry, load_mixture, read_entries
from ovexport.train.data.strategy import parse_strategy, select


def records(name: str, count: int) -> list[dict[str, Any]]:
    talk = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]
    return [{"id": f"{name}{number}", "conversations": talk} for number in range(count)]


def write_mixture(path: Path, entries: Any) -> Path:
    path.write_text(yaml.safe_dump({"datasets": entries}))
    return path


def by_lists(strategy: str, items: list[str]) -> list[str]:
    """The released code's arithmetic, on the items themselves."""
    kind, _, amount = strategy.partition(":")
    if kind == "all":
        return items
    count = math.ceil(int(amount[:-1]) * len(items) / 100) if amount.endswith("%") else int(amount)
    return items[:count] if kind == "first" else items[-count:]


@pytest.mark.parametrize("seed", range(200))
def test_first_end_and_all(seed: int) -> None:
    rng = random.Random(seed)
    items = [str(number) for number in range(rng.choice((0, 1, 7, 99, 100, 101, rng.randint(1, 5000))))]
    amount = rng.choice((f"{rng.randint(1, 100)}%", str(rng.randint(1, 200))))
    strategy = rng.choice(("all", f"first:{amount}", f"end:{amount}"))
    taken = [items[index] for index in select(parse_strategy(strategy), len(items), "seed")]
    assert taken == by_lists(strategy, items), f"seed {seed}: {strategy} of {len(items)}"


@pytest.mark.parametrize("seed", range(50))
def test_random(seed: int) -> None:
    rng = random.Random(seed)
    length, percent = rng.randint(1, 500), rng.randint(1, 100)
    strategy = parse_strategy(f"random:{percent}%")
    taken = list(select(strategy, length, str(seed)))
    assert len(taken) == len(set(taken)) == math.ceil(percent * length / 100) and set(taken) <= set(range(length))
    assert taken == list(select(strategy, length, str(seed)))
    if length > 50 and percent > 50:
        assert taken != list(select(strategy, length, f"{seed} other")) and taken != sorted(taken)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "most",
            "first",
            "first:",
            "first:0",
            "end:0",
            "end:0%",
            "first:-3",
            "first:101%",
            "first:12.5%",
            "first:a",
        ),
        *("all:3", "random:%", "first: 3", "FIRST:3", "first:3%%", "first:" + "9" * 400, 3, None),
    ],
)
def test_strategies_that_are_none(text: Any) -> None:
    with pytest.raises(OVError, match="no sampling strategy") as caught:
        parse_strategy(text)
    assert caught.value.code == ExitCode.BAD_INPUT and "first:N" in caught.value.hint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, count in (("a", 10), ("b", 5), ("c", 3)):
        write_records(tmp_path / f"{name}.json", records(name, count))
    write_records(tmp_path / "lines.jsonl", records("l", 4))
    return tmp_path


def ids(path: str | Path, **arguments: Any) -> list[str]:
    mixture = load_mixture(path, **arguments)
    return [mixture[number].id for number in range(len(mixture))]


def test_files_one_after_the_other(folder: Path) -> None:
    path = write_mixture(
        folder / "mix.yaml",
        [
            {"json_path": "a.json", "sampling_strategy": "first:30%"},
            {"json_path": "lines.jsonl"},
            {"json_path": str(folder / "b.json"), "sampling_strategy": "end:2"},
            {"json_path": "a.json", "sampling_strategy": "end:1"},
        ],
    )
    assert ids(path) == ["a0", "a1", "a2", "l0", "l1", "l2", "l3", "b3", "b4", "a9"]
    mixture = pickle.loads(pickle.dumps(load_mixture(path)))
    assert [mixture.locate(number) for number in (0, 6, 7, 9)] == [(0, 0), (1, 3), (2, 3), (3, 9)]
    assert [mixture[number].id for number in (9, 0, 7)] == ["a9", "a0", "b3"]
    for outside in (-1, 10):
        with pytest.raises(IndexError):
            mixture[outside]


def test_single_files_and_braces(folder: Path) -> None:
    assert ids(folder / "lines.jsonl") == ["l0", "l1", "l2", "l3"]
    assert ids(f"{folder}/{{c,b}}.json") == ["c0", "c1", "c2", "b0", "b1", "b2", "b3", "b4"]


def test_random_depends_on_the_seed_alone(folder: Path) -> None:
    path = write_mixture(folder / "mix.yaml", [{"json_path": "a.json", "sampling_strategy": "random:60%"}] * 2)
    random.seed(1)
    first = ids(path)
    random.seed(2)
    assert ids(path) == first and len(set(first[:6])) == 6
    assert first[:6] != first[6:], "two entries of one file should not draw the same"
    assert ids(path, seed=1) != first


def test_root_and_folders(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    entries = [{"json_path": "a.json", "image_folder": "images", "video_folder": "/clips", "count": 10}]
    path = write_mixture(elsewhere / "mix.yaml", entries)
    entry = Entry(
        json_path=folder / "a.json", image_folder=folder / "images", video_folder=Path("/clips"), count=10
    )  # fmt: skip
    assert read_entries(path, root=folder) == (entry,)
    assert load_mixture(path, root=folder).files[0].image_folder == folder / "images"
    with pytest.raises(OVError, match=r"entry 1: .*a\.json can't be read"):
        load_mixture(path)


def test_levels_hold_for_records_that_do_not_name_their_own(folder: Path) -> None:
    talk = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]
    write_records(folder / "own.json", [{"conversations": talk, "response": "free-form"}, {"conversations": talk}])
    levels = {"instruction": "Language", "response": "fixed-form"}
    mixture = load_mixture(write_mixture(folder / "mix.yaml", [{"json_path": "own.json", **levels}]))
    assert [mixture[number].response for number in range(2)] == ["free-form", "fixed-form"]
    assert [mixture[number].instruction for number in range(2)] == ["Language", "Language"]
    assert mixture[0].vision_input is None


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("datasets: [{json_path: a.json, sampling_strategy: most}]", "entry 1: 'most' is no sampling"),
        ("datasets: [{json_path: a.json}, {json_path: b.json, colour: 1}]", "entry 2 has the unknown key 'colour'"),
        ("datasets: [{sampling_strategy: all}]", "entry 1 has no json_path"),
        ("datasets: [a.json]", "entry 1 has no json_path"),
        ("datasets: [{json_path: 3}]", "json_path is 3"),
        ("datasets: [{json_path: a.json, count: many}]", "count is 'many'"),
        ("datasets: [{json_path: nowhere.json}]", r"entry 1: .*nowhere\.json can't be read"),
        ("datasets: {a: b}", "not a mixture"),
        ("sets: []", "not a mixture"),
        ("datasets: []\nname: x", "not a mixture"),
        ("datasets: []", "no records"),
        ("- a", "not a mixture"),
        ("a: [", "not YAML"),
        ("!!python/object/apply:os.system [echo]", "not YAML"),
        ("", "not a mixture"),
    ],
)
def test_mixtures_that_are_none(folder: Path, content: str, finding: str) -> None:
    (folder / "mix.yaml").write_text(content)
    with pytest.raises(OVError, match=finding) as caught:
        load_mixture(folder / "mix.yaml")
    assert caught.value.code == ExitCode.BAD_INPUT and str(folder / "mix.yaml") in caught.value.message


def test_a_name_that_is_no_mixture(folder: Path) -> None:
    with pytest.raises(OVError, match="no mixture nothing"):
        load_mixture("nothing")


def test_shipped_mixtures_are_found_by_name(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    write_mixture(folder / "small.yaml", [{"json_path": "c.json"}])
    monkeypatch.setattr("ovexport.train.data.mixture.SHIPPED", folder)
    assert ids("small") == ["c0", "c1", "c2"]
    assert SHIPPED.name == "mixtures"


def test_word_counts_follow_the_order_of_the_mixture(folder: Path) -> None:
    path = write_mixture(folder / "mix.yaml", [{"json_path": "b.json"}, {"json_path": "a.json"}])
    seen: list[tuple[int, int]] = []
    counts = load_mixture(path).word_counts(lambda done, total: seen.append((done, total)))
    assert counts.tolist() == [-2] * 15 and seen == [(15, 15)]
