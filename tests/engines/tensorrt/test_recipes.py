"""Recipes: the one that fits a device, one that is named, and what is told of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_engine import RECIPE, write_recipe

from ovengines.cuda.info import DeviceInfo
from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.recipe import RECIPES, VARIABLE, choose_recipe, recipe_names

ROOT = Path(__file__).parents[3]


def info(capability: tuple[int, int], gib: float) -> DeviceInfo:
    return DeviceInfo(name="any", compute_capability=capability, memory_bytes=int(gib * 2**30), driver="1")


@pytest.mark.parametrize(
    ("capability", "gib", "name"),
    [
        ((8, 7), 7.4, "orin-nano"),
        ((8, 7), 15.2, "agx-orin"),
        ((8, 7), 61.3, "agx-orin"),
        ((11, 0), 122.0, "thor"),
        ((10, 1), 122.0, "thor"),
        ((7, 5), 14.6, "t4"),
        ((7, 5), 5.8, "any"),  # an RTX 2060
        ((7, 5), 10.7, "any"),
        ((8, 0), 39.4, "a100"),
        ((9, 0), 79.1, "h100-h200"),
        ((9, 0), 139.8, "h100-h200"),
        ((8, 9), 23.6, "any"),
        ((12, 0), 31.0, "any"),
    ],
)
def test_the_recipe_of_a_device(capability: tuple[int, int], gib: float, name: str) -> None:
    assert choose_recipe(info(capability, gib)).name == name


def test_every_value_has_its_reason() -> None:
    for name in recipe_names():
        text = (RECIPES / f"{name}.ini").read_text()
        assert text.splitlines()[0].endswith("Not yet run on a device.")
        values = text.partition("[build]")[2].strip().splitlines()
        assert len(values) == len(RECIPE) and all(" # " in line for line in values), name


def test_the_folder_of_the_area_is_the_one_that_is_installed() -> None:
    assert RECIPES.resolve() == ROOT / "engines" / "recipes"


def test_a_recipe_by_name_and_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = info((8, 9), 24)
    assert choose_recipe(device, "t4").name == "t4"
    monkeypatch.setenv(VARIABLE, write_recipe(tmp_path, chunk_tokens="77"))
    assert choose_recipe(device).chunk_tokens == 77
    assert choose_recipe(device, "a100").name == "a100", "what is asked for stands above the environment"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"chunk_tokens": "0"}, "chunk_tokens is 0, not a number above zero"),
        ({"chunk_tokens": "-3"}, "chunk_tokens is '-3', not a whole number"),
        ({"chunk_tokens": "many"}, "chunk_tokens is 'many', not a whole number"),
        ({"cuda_graphs": "true"}, "cuda_graphs is 'true', not yes or no"),
        ({"optimization_level": "6"}, "optimization_level is 6, not one of 0 to 5"),
        ({"resident_weights_percent": "101"}, "resident_weights_percent is 101"),
        ({"hardware_compatibility": "all"}, "hardware_compatibility is 'all', not one of none, "),
        ({"speed": "high"}, "it has the unknown speed"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, changes: dict[str, str], told: str) -> None:
    assert told in refusal(write_recipe(tmp_path, **changes))


def test_what_is_no_recipe_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.ini"
    for text, told in (
        ("[build]\n", "it lacks "),
        ("[device]\n", "'build'"),
        ("nonsense", "no section headers"),
        ("[device]\ncolour = red\n[build]\n" + "\n".join(f"{k} = {v}" for k, v in RECIPE.items()), "unknown colour"),
    ):
        file.write_text(text)
        assert told in refusal(str(file))
    assert "can't be read: No such file" in refusal("of-my-own")
    assert "agx-orin, any, h100-h200" in refusal_hint("of-my-own")


def refusal(named: str) -> str:
    with pytest.raises(OVError) as caught:
        choose_recipe(info((8, 9), 24), named)
    assert caught.value.code == ExitCode.USAGE
    return caught.value.message


def refusal_hint(named: str) -> str:
    with pytest.raises(OVError) as caught:
        choose_recipe(info((8, 9), 24), named)
    return caught.value.hint
