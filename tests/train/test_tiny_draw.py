"""What ov-tiny's stages are trained on, at a small scale: mixtures that load, every family, and nothing held out."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from ovexport.train.data.mixture import Mixture, load_mixture
from ovexport.train.data.records import Record
from ovexport.train.drawn.kinds import KINDS, MULTI_IMAGE, SINGLE_IMAGE, VIDEO
from ovexport.train.tiny.draw import MIXTURES, SETS, DrawnSet, draw_stage_data

Load = Callable[[str], Mixture]  # by the name of the stage
SCALE = 0.005
CODE = re.compile(r"\b(?:[BCDFGHJKLMNPRSTVZ][AEIOU][BCDFGHJKLMNPRSTVZ]|[1-9]\d\d?)\b")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("stage-data")
    draw_stage_data(place, scale=SCALE)
    return place


@pytest.fixture(scope="module")
def mixture(folder: Path) -> Load:
    return cache(lambda stage: load_mixture(folder / f"{stage}.yaml"))


def records(mixture: Mixture) -> list[Record]:
    return [mixture[number] for number in range(len(mixture))]


def families(*kinds: str) -> set[str]:
    return {family.name for kind in kinds for family in KINDS[kind].families}


def is_held_out(meaning: str) -> bool:
    return int(hashlib.sha256(meaning.encode()).hexdigest()[:16], 16) % 10 == 0


@pytest.mark.parametrize("stage", MIXTURES)
def test_every_record_can_be_read_and_its_media_are_there(mixture: Load, stage: str) -> None:
    found = records(mixture(stage))
    assert len(found) > 20
    for record in found:
        assert all(path.is_file() for path in (*record.images, *filter(None, [record.video])))
        assert record.vision_input and record.instruction and record.response
        assert [turn.role for turn in record.turns[-2:]] == ["user", "assistant"]


def test_each_stage_sees_what_its_name_says(mixture: Load) -> None:
    inputs = {stage: Counter(record.vision_input for record in records(mixture(stage))) for stage in MIXTURES}
    assert set(inputs["language"]) == {"text"}
    assert set(inputs["stage1"]) == {"single-image"}
    assert set(inputs["stage1.5"]) == set(inputs["stage2-si"]) == {"single-image", "text"}
    assert set(inputs["stage2-ov"]) == {"single-image", "multi-image", "video", "text"}
    asked = {stage: {name for r in records(mixture(stage)) for name in r.families} for stage in MIXTURES}
    assert asked["stage1"] == set()
    pictured = [r for r in records(mixture("stage1.5")) if r.vision_input != "text"]
    assert {name for r in pictured for name in r.families} == families("shapes", "bars", "table", "small-text")
    assert asked["stage1.5"] <= families("words", *SINGLE_IMAGE)
    assert asked["stage2-si"] == families("words", *SINGLE_IMAGE)
    assert asked["stage2-ov"] == families("words", *SINGLE_IMAGE, *MULTI_IMAGE, *VIDEO) == families(*KINDS)


def test_captions_are_of_a_single_exchange(mixture: Load) -> None:
    for record in records(mixture("stage1")):
        user, assistant = record.turns
        assert user.text == "<image>\nPlease generate detailed descriptions of the given image."
        assert assistant.text.endswith(".") and record.response == "free-form"


def test_strategies_take_what_the_table_says(mixture: Load) -> None:
    for stage in MIXTURES:
        used = [(drawn, strategy) for drawn in SETS for name, strategy in drawn.used if name == stage]
        assert [entry.json_path.stem for entry in mixture(stage).entries] == [drawn.name for drawn, _ in used]
        for (drawn, strategy), selected in zip(used, mixture(stage).selected, strict=True):
            _, _, amount = strategy.partition(":")
            share = int(amount[:-1]) / 100 if amount.endswith("%") else int(amount) / drawn.count if amount else 1
            assert 0 < share <= 1 and abs(len(selected) - share * drawn.count * SCALE) <= 1.5, (stage, drawn.name)


def meanings(record: Record, drawn: DrawnSet) -> list[str]:
    """What was held out or not, put together again from what the record says; and every code in it."""
    text = "\n".join(turn.text for turn in record.turns if turn.role != "system" or drawn.form == "told")
    caption = next((turn.text for turn in record.turns if turn.role != "user"), "") if drawn.form != "exchanges" else ""
    found = []
    if drawn.kind in ("sign", "small-text"):
        found += [f"code {code}" for code in CODE.findall(text)]
    if drawn.kind in ("bars", "table") and caption:
        rows = re.findall(r"([a-z]+|\b[A-Z]) (\d+)", caption)
        found.append(f"{drawn.kind} " + "; ".join(map(" ".join, rows)))
    if drawn.kind == "words":
        pairs = zip(record.families, record.turns[::2], record.turns[1::2], strict=True)
        for family, user, assistant in pairs:
            found.append(f"code {assistant.text}" if family == "repeat" else user.text.split("\n")[0])
    return found


def test_nothing_held_out_is_trained_on(mixture: Load) -> None:
    by_name = {drawn.name: drawn for drawn in SETS}
    checked: Counter[str] = Counter()
    for stage in MIXTURES:
        for record in records(mixture(stage)):
            drawn = by_name[Path(record.source).stem]
            for meaning in meanings(record, drawn):
                assert not is_held_out(meaning), (record.id, meaning)
                checked[drawn.kind] += 1
    assert min(checked[kind] for kind in ("sign", "small-text", "bars", "table", "words")) > 10, checked


def test_the_same_again_changes_no_file(folder: Path) -> None:
    def stamps() -> dict[Path, tuple[int, bytes]]:
        files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".yaml")
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = stamps()
    draw_stage_data(folder, scale=SCALE)
    assert stamps() == before and len(before) > 300
