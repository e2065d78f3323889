"""`ovexport data stats`: sums against a count by hand over random mixtures; missing, broken and published; plots."""

from __future__ import annotations

import json
import math
import random
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovexport.cli import main
from ovexport.train.data.mixture import load_mixture
from ovexport.train.data.plots import draw_plots
from ovexport.train.data.stats import mixture_stats
from ovexport.train.data.stats_table import stats_text
from ovexport.train.data.tally import NOT_HERE, READ, UNKNOWN
from ovexport.train.drawn.clipfile import write_clip

INSTRUCTIONS = ("General", "General OCR", "Math/Reasoning")
Fields = dict[str, Any]


def record(number: int, num_images: int = 0, words: int = 4, exchanges: int = 1, **fields: Any) -> Fields:
    """`words` in each turn, the markers of the images among those of the first."""
    turns = [{"from": "human" if turn % 2 == 0 else "gpt", "value": "w " * words} for turn in range(2 * exchanges)]
    turns[0]["value"] = "<image> " * num_images + "w " * (words - num_images)
    media = {"image": ["a.png"] * num_images if num_images > 1 else "a.png"} if num_images else {}
    return {"id": f"r{number}", "conversations": turns, **media, **fields}


def write_records(path: Path, records: list[Fields]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(one) + "\n" for one in records))
    else:
        path.write_text(json.dumps(records))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (8, 6), "red").save(tmp_path / "a.png")
    return tmp_path


def take(records: list[Fields], strategy: str) -> list[Fields]:
    kind, _, amount = strategy.partition(":")
    if kind == "all":
        return records
    count = math.ceil(int(amount[:-1]) * len(records) / 100) if amount.endswith("%") else int(amount)
    return records[:count] if kind == "first" else records[max(0, len(records) - count) :]


def value_of(level: str, fields: Fields, entry: Fields) -> str:
    if level in fields or level in entry:
        return fields.get(level) or entry[level]
    media = fields.get("image")
    by_media = "text" if media is None else "multi-image" if isinstance(media, list) else "single-image"
    return by_media if level == "vision_input" else "not stated"


def random_mixture(folder: Path, rng: random.Random) -> tuple[Path, Counter[tuple[str, str, str]]]:
    """A mixture of one to four files, and what is in it by hand: (level, value, what) -> how many."""
    entries, expected = [], Counter[tuple[str, str, str]]()
    for number in range(rng.randint(1, 4)):
        name = f"{number}.{rng.choice(('json', 'jsonl'))}"
        records = []
        for index in range(rng.randint(1, 30)):
            own = {"instruction": rng.choice(INSTRUCTIONS)} if rng.random() < 0.3 else {}
            images, words = rng.randint(0, 3), rng.randint(3, 9)
            records.append(record(index, images, words, rng.randint(1, 3), **own))
        write_records(folder / name, records)
        strategies = [
            "all",
            f"first:{rng.randint(1, 100)}%",
            f"end:{rng.randint(1, 40)}",
            f"first:{rng.randint(1, 40)}",
        ]
        entry = {"json_path": name, "sampling_strategy": rng.choice(strategies)}
        if rng.random() < 0.5:
            entry["instruction"] = rng.choice(INSTRUCTIONS)
        if rng.random() < 0.5:
            entry["response"] = "fixed-form"
        entries.append(entry)
        for fields in take(records, entry["sampling_strategy"]):
            for level in ("vision_input", "instruction", "response"):
                value = value_of(level, fields, entry)
                image = fields.get("image", [])
                expected[level, value, "records"] += 1
                expected[level, value, "exchanges"] += len(fields["conversations"]) // 2
                expected[level, value, "words"] += sum(len(t["value"].split()) for t in fields["conversations"])
                expected[level, value, "images"] += 1 if isinstance(image, str) else len(image)
    (folder / "mix.yaml").write_text(yaml.safe_dump({"datasets": entries}))
    return folder / "mix.yaml", expected


@pytest.mark.parametrize("seed", range(40))
def test_sums_per_level_equal_a_count_by_hand(folder: Path, seed: int) -> None:
    mixture, expected = random_mixture(folder, random.Random(seed))
    stats = mixture_stats(str(mixture))
    found = Counter[tuple[str, str, str]]()
    for level in ("vision_input", "instruction", "response"):
        tallies = stats.level(level)
        for value, tally in tallies.items():
            for what in ("records", "exchanges", "words", "images"):
                found[level, value, what] = getattr(tally, what)
        assert sum(tally.records for tally in tallies.values()) == stats.total.records
    assert found == expected, f"seed {seed}"
    assert stats.total.videos == 0 and not stats.broken
    assert stats.as_json()["total"]["records"] == sum(e["total"]["records"] for e in stats.as_json()["entries"])


@pytest.mark.parametrize("seed", range(5))
def test_a_random_strategy_counts_the_records_that_training_takes(folder: Path, seed: int) -> None:
    rng = random.Random(seed)
    for name in ("0.jsonl", "1.jsonl"):
        write_records(folder / name, [record(i, words=rng.randint(1, 1000)) for i in range(200)])
    entries = [{"json_path": name, "sampling_strategy": "random:7%"} for name in ("0.jsonl", "1.jsonl")]
    (folder / "mix.yaml").write_text(yaml.safe_dump({"datasets": entries}))
    mixture = load_mixture(folder / "mix.yaml")
    words = sum(len(turn.text.split()) for number in range(len(mixture)) for turn in mixture[number].turns)
    assert mixture_stats(str(folder / "mix.yaml")).total.words == words


def test_broken_records_are_counted_listed_and_left_out(folder: Path) -> None:
    records = [record(i, 1) for i in range(30)]
    for index in range(5, 30):
        records[index]["image"] = f"gone/{index}.png"
    records[0]["conversations"] = []
    write_records(folder / "a.json", records)
    stats = mixture_stats(str(folder / "a.json"))
    assert stats.total.records == 4
    assert [(broken.index, broken.id) for broken in stats.broken] == [(i, f"r{i}") for i in (0, *range(5, 30))]
    assert stats.broken[0].reason == "no conversations"
    assert str(folder / "gone/5.png") in stats.broken[1].reason
    text = stats_text(stats)
    assert "26 broken records" in text and "record 23 (r23)" in text and "record 24 (r24)" not in text  # the first 20
    assert len(stats.as_json()["broken"]) == 26


def test_media_that_can_not_be_decoded_are_found_when_they_are_opened(folder: Path) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG nothing")
    (folder / "broken.mp4").write_bytes(b"nothing")
    write_clip(
        folder / "clip.mp4", [Image.fromarray(np.full((32, 32, 3), shade, np.uint8)) for shade in range(0, 250, 50)]
    )
    clip = {"conversations": record(0)["conversations"]}
    clip["conversations"][0]["value"] = "<image>\nw"
    records = [
        record(0, 1),
        record(1, 1, image="broken.png"),
        {**clip, "video": "clip.mp4"},
        {**clip, "video": "broken.mp4"},
    ]
    write_records(folder / "a.json", records)
    unopened, opened = (mixture_stats(str(folder / "a.json"), open_media=opening) for opening in (False, True))
    assert (unopened.total.records, unopened.total.videos, len(unopened.broken)) == (4, 2, 0)
    assert (opened.total.records, opened.total.videos, opened.total.frames) == (2, 1, 5)
    assert [broken.index for broken in opened.broken] == [1, 3]
    assert "frames" in stats_text(opened) and "frames" not in stats_text(unopened)


def test_files_that_are_not_here_are_counted_as_published_or_listed(folder: Path) -> None:
    write_records(folder / "here.json", [record(i, 1) for i in range(10)])
    entries = [
        {"json_path": "here.json", "count": 999},
        {"json_path": "gone.json", "count": 45, "sampling_strategy": "first:10%", "vision_input": "video"},
        {"json_path": "lost.json"},
    ]
    (folder / "mix.yaml").write_text(yaml.safe_dump({"datasets": entries}))
    stats = mixture_stats(str(folder / "mix.yaml"))
    assert [entry.source for entry in stats.entries] == [READ, NOT_HERE, UNKNOWN]
    assert [entry.total.records for entry in stats.entries] == [10, 5, 0]
    assert stats.level("vision_input")["video"].records == 5
    text = stats_text(stats)
    assert "gone.json *" in text and "lost.json ?" in text and "published count, files not here" in text
    assert stats.as_json()["not_here"] == ["gone.json", "lost.json"]
    published = mixture_stats(str(folder / "mix.yaml"), published=True)
    assert [entry.total.records for entry in published.entries] == [999, 5, 0]


def test_nothing_here_and_nothing_published_is_an_error(folder: Path) -> None:
    (folder / "mix.yaml").write_text(yaml.safe_dump({"datasets": [{"json_path": "lost.json"}]}))
    with pytest.raises(OVError) as caught:
        mixture_stats(str(folder / "mix.yaml"))
    assert caught.value.code is ExitCode.BAD_INPUT and "--data-root" in caught.value.hint


def test_data_root_and_folders_say_where_things_are(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("root")
    write_records(root / "a.json", [record(0, 1)])
    (folder / "mix.yaml").write_text(yaml.safe_dump({"datasets": [{"json_path": "a.json"}]}))
    assert len(mixture_stats(str(folder / "mix.yaml"), root=root).broken) == 1  # its image lies elsewhere
    stats = mixture_stats(str(folder / "mix.yaml"), root=root, image_folder=folder)
    assert (stats.total.images, stats.entries[0].name) == (1, "a.json")


def test_published_counts_of_a_shipped_mixture_come_with_the_papers_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "stats", "single_image", "--published", "-q"]) == 0
    text = capsys.readouterr().out
    rows = {line.split("  ")[0]: line for line in text.split("as the paper draws it")[1].splitlines()}
    for value, number, share in (  # the shares that the paper prints
        ("General", "1,136,626", "36.1 %"),
        ("Doc/Chart/Screen", "647,138", "20.6 %"),
        ("Math/Reasoning", "631,575", "20.1 %"),
        ("Language", "449,995", "14.3 %"),
        ("General OCR", "280,991", "8.9 %"),
    ):
        assert number in rows[value] and share in rows[value]
    assert "published counts" in text and "exchanges" not in text


def test_json_and_plots_of_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_records(folder / "a.json", [record(i, 1, instruction="General OCR", strange=1) for i in range(3)])
    assert main(["data", "stats", str(folder / "a.json"), "--json", "-q", "-o", str(folder / "plots")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["levels"]["instruction"]["General OCR"]["records"] == 3
    assert result["entries"][0]["unknown_keys"] == {"strange": 3}
    assert sorted(result["plots"]) == sorted(str(file) for file in (folder / "plots").iterdir())


@pytest.mark.parametrize("name", ["stage1", "onevision"])
def test_plots_show_every_value_with_its_number(tmp_path: Path, name: str) -> None:
    stats = mixture_stats(name)
    paths = draw_plots(stats, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["levels.png", "levels.svg", "files.png", "files.svg"]
    for png in (path for path in paths if path.suffix == ".png"):
        with Image.open(png) as image:
            assert len(image.convert("RGB").getcolors(1 << 24)) > 10
    texts = {path.stem: " ".join(ET.parse(path).getroot().itertext()) for path in paths if path.suffix == ".svg"}
    for level in ("vision_input", "instruction", "response"):
        for value, tally in stats.level(level).items():
            assert f"{value}  {tally.records:,}" in texts["levels"]
    largest = max(stats.entries, key=lambda entry: entry.total.records)
    assert largest.name in texts["files"] and f"{largest.total.records:,}" in texts["files"]
    assert all("file not here" in text for text in texts.values())


def test_plots_of_nothing_but_broken_records_and_of_unknown_values(folder: Path) -> None:
    write_records(folder / "a.json", [record(0, 1, image="gone.png")])
    assert draw_plots(mixture_stats(str(folder / "a.json")), folder / "one") == ()
    write_records(folder / "a.json", [record(i, instruction=f"odd {i}") for i in range(9)])
    stats = mixture_stats(str(folder / "a.json"))
    draw_plots(stats, folder / "two")
    assert "odd 8  1" in " ".join(ET.parse(folder / "two/levels.svg").getroot().itertext())


def test_a_folder_that_can_not_be_written_is_named(folder: Path) -> None:
    with pytest.raises(OVError, match=r"a\.png") as caught:
        draw_plots(mixture_stats("stage1"), folder / "a.png")
    assert caught.value.code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["stats", "no_such_mixture"], ExitCode.BAD_INPUT, "no_such_mixture"),
        (["stats", "stage1", "--jsn"], ExitCode.USAGE, "did you mean --json?"),
        (["stats"], ExitCode.USAGE, "MIX"),
        ([], ExitCode.USAGE, "ACTION"),
        (["draw", "out", "--kinds", "shapes,nothing"], ExitCode.USAGE, "nothing"),
        (["draw", "out", "--count", "5"], ExitCode.USAGE, "--kinds"),
        (["draw", "out", "--scale", "0"], ExitCode.USAGE, "--scale"),
        (["recaption", ".", "-o", "a.jsonl", "--limit", "0"], ExitCode.USAGE, "--limit"),
    ],
)
def test_wrong_use_is_explained(
    words: list[str], code: ExitCode, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["data", *words]) == code
    captured = capsys.readouterr()
    assert said in captured.err and not captured.out and not list(tmp_path.iterdir())


def test_draw_writes_records_that_stats_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "draw", str(tmp_path), "--kinds", "shapes,words", "--count", "4", "-q"]) == 0
    files = capsys.readouterr().out.split()
    assert files == [str(tmp_path / "shapes.jsonl"), str(tmp_path / "words.jsonl")]
    for file, value in zip(files, ("single-image", "text"), strict=True):
        stats = mixture_stats(file, open_media=True)
        assert (stats.total.records, list(stats.level("vision_input")), stats.broken) == (4, [value], ())
