"""The shipped mixtures against the published figures (model.md 5.3, 5.4) and against the files' own names."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ovexport.train.data.mixture import SHIPPED, read_entries
from ovexport.train.data.published import published_figure
from ovexport.train.data.taxonomy import VALUES
from ovexport.train.recipe.stages import STAGES

DOCS = Path(__file__).parents[2] / "docs" / "data.md"
NUM_FILES = {"stage1": 1, "stage1.5": 8, "single_image": 90, "onevision": 82}
FIGURES = {
    "single_image": {
        "General": (27, 1_136_626),
        "Doc/Chart/Screen": (22, 647_138),
        "Math/Reasoning": (19, 631_575),
        "Language": (3, 449_995),
        "General OCR": (10, 280_991),
    },
    "onevision": {"single-image": (41, 406_708), "multi-image": (35, 560_430), "video": (6, 337_367)},
}


def raw(name: str) -> list[dict[str, Any]]:
    return yaml.safe_load((SHIPPED / f"{name}.yaml").read_text())["datasets"]


def sampled(entry: dict[str, Any]) -> int:
    """As released: of a percentage the next whole number."""
    kind, _, percent = entry["sampling_strategy"].partition(":")
    return entry["count"] if kind == "all" else math.ceil(int(percent.rstrip("%")) * entry["count"] / 100)


def test_there_are_exactly_these_mixtures() -> None:
    assert {file.stem for file in SHIPPED.glob("*.yaml")} == NUM_FILES.keys()
    assert {file.stem for file in (SHIPPED / "figures").glob("*.yaml")} == FIGURES.keys()


@pytest.mark.parametrize("name", NUM_FILES)
def test_a_mixture_is_found_by_name_and_every_entry_is_valid(name: str) -> None:
    entries = read_entries(name)
    assert len(entries) == NUM_FILES[name] == len({entry.json_path for entry in entries})
    for entry in entries:
        for level, known in VALUES.items():
            assert getattr(entry, level) in (None, *known), entry


@pytest.mark.parametrize("name", NUM_FILES)
def test_paths_are_relative_and_start_at_the_root_that_is_given(name: str, tmp_path: Path) -> None:
    for entry, found in zip(raw(name), read_entries(name, root=tmp_path), strict=True):
        assert not Path(entry["json_path"]).is_absolute()
        assert ".." not in Path(entry["json_path"]).parts
        assert found.json_path == tmp_path / entry["json_path"]


@pytest.mark.parametrize("name", ["single_image", "onevision"])
def test_counts_are_those_of_the_file_names(name: str) -> None:
    numbers = {e["json_path"]: re.findall(r"(?<![A-Za-z\d])\d{3,}(?!\d|[A-Za-z])", e["json_path"]) for e in raw(name)}
    named = {path: int(found[-1]) for path, found in numbers.items() if found and "/0718_" not in path}
    assert len(named) > 60
    for entry in raw(name):
        if entry["json_path"] in named:
            assert entry["count"] == named[entry["json_path"]], entry


def test_the_sums_are_those_known_of_the_released_lists() -> None:
    """4.0M, 3.24M, and over 2.05M with the Cambrian file of at most 83,131, whose size is not published."""
    sums = {name: sum(sampled(entry) for entry in raw(name) if "count" in entry) for name in NUM_FILES}
    assert sums["stage1"] == 558_000
    assert 4_000_000 <= sums["stage1.5"] < 4_100_000
    assert 3_235_000 <= sums["single_image"] < 3_245_000
    assert 2_040_000 <= sums["onevision"] + 83_131 < 2_060_000


def test_the_documentation_has_the_same_sums() -> None:
    rows = [line.split("|") for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    documented = {cells[1].strip(" `"): cells[2:4] for cells in rows}
    for name, num_files in NUM_FILES.items():
        files, records = documented[name]
        assert int(files) == num_files
        assert records.split()[0] == f"{sum(sampled(entry) for entry in raw(name) if 'count' in entry):,}"


def test_only_the_unpublished_counts_are_left_out() -> None:
    without = [Path(e["json_path"]).name for name in NUM_FILES for e in raw(name) if "count" not in e]
    assert without == [
        "cambrian_filtered_gpt4vo_sp_token_fltd_max10k_checked.json",
        "llava_ofa_mantis-instruct_reformatted.json",
        "academic_source_30s_v1_all.json",
        "0718_0_30_s_academic_mc_v0_1_all.json",
    ]


def test_onevision_replays_no_magpie_record_of_the_stage_before() -> None:
    shares = {
        name: {e["json_path"]: e["sampling_strategy"] for e in raw(name) if "magpie" in e["json_path"]}
        for name in ("single_image", "onevision")
    }
    assert len(shares["single_image"]) == 3
    assert set(shares["single_image"].values()) == {"first:50%"}
    assert shares["onevision"] == dict.fromkeys(shares["single_image"], "end:20%")


@pytest.mark.parametrize("name", FIGURES)
def test_the_figures_add_up_to_the_published_numbers(name: str) -> None:
    figure = published_figure(name)
    assert figure is not None
    assert {value: (len(sets), sum(sets.values())) for value, sets in figure.sets.items()} == FIGURES[name]
    assert figure.total == sum(total for _, total in FIGURES[name].values())
    assert set(figure.sets) <= set(VALUES[figure.level])


def test_a_file_of_the_user_has_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert published_figure("stage1") is None
    assert published_figure("../figures/onevision") is None
    Path("onevision").write_text("datasets: []")
    assert published_figure("onevision") is None


@pytest.mark.parametrize("name", NUM_FILES)
def test_every_head_says_what_is_followed_and_how_counts_came_about(name: str) -> None:
    head = (SHIPPED / f"{name}.yaml").read_text().split("datasets:")[0]
    assert "Followed:" in head and "Counts:" in head and "Levels:" in head
    assert ("disagree" in head) == (name != "stage1")


def test_the_released_recipes_name_these_mixtures() -> None:
    text = str(STAGES)
    for name in NUM_FILES:
        assert repr(name) in text
