"""How engines are built for a device: the recipes of engines/recipes, one file each, and how one is chosen.

A recipe is an INI file, which every Python reads; `OV_TENSORRT_RECIPE` names another one, by name or by path.
"""

from __future__ import annotations

import configparser
import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovengines.cuda.info import DeviceInfo
from ovengines.errors import ExitCode, OVError

RECIPES = Path(__file__).parents[1] / "recipes"
VARIABLE = "OV_TENSORRT_RECIPE"
FALLBACK = "any"
HARDWARE_LEVELS = ("none", "same_compute_capability", "ampere_plus")
_GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is built, and how it is run; why each value is what it is, say the files."""

    name: str
    context_tokens: int  # of a conversation: prompt, pictures and answers
    chunk_tokens: int  # of a prompt, read in one run
    logits_rows: int  # given by one run
    tower_tiles: int  # encoded in one run
    pooled_tiles: int  # projected and pooled in one run
    workspace_mib: int  # that one layer may use while it runs
    optimization_level: int  # 0 to 5: how long the builder searches
    hardware_compatibility: str  # one of HARDWARE_LEVELS: which other GPUs may load the engine
    resident_weights_percent: int  # below 100 the rest is streamed from host memory in every run
    cuda_graphs: bool

    def __post_init__(self) -> None:
        fields = ("context_tokens", "chunk_tokens", "logits_rows", "tower_tiles", "pooled_tiles", "workspace_mib")
        if low := [name for name in fields if getattr(self, name) < 1]:
            raise ValueError(f"{low[0]} is {getattr(self, low[0])}, not a number above zero")
        if not 0 <= self.optimization_level <= 5:
            raise ValueError(f"optimization_level is {self.optimization_level}, not one of 0 to 5")
        if not 0 <= self.resident_weights_percent <= 100:
            raise ValueError(f"resident_weights_percent is {self.resident_weights_percent}, not one of 0 to 100")
        if self.hardware_compatibility not in HARDWARE_LEVELS:
            level, levels = self.hardware_compatibility, ", ".join(HARDWARE_LEVELS)
            raise ValueError(f"hardware_compatibility is {level!r}, not one of {levels}")

    @property
    def streams_weights(self) -> bool:
        return self.resident_weights_percent < 100


def recipe_names() -> list[str]:
    return sorted(file.stem for file in RECIPES.glob("*.ini"))


def choose_recipe(info: DeviceInfo, named: str | None = None) -> Recipe:
    """The recipe `named` (a name or a path), else that of $OV_TENSORRT_RECIPE, else the one that fits the device.

    Raises OVError (USAGE) for one that is not there or is wrong, naming the field.
    """
    if named := named or os.environ.get(VARIABLE):
        file = Path(named) if Path(named).suffix == ".ini" else RECIPES / f"{named}.ini"
        return _read(file)[0]
    for name in recipe_names():
        recipe, fits = _read(RECIPES / f"{name}.ini")
        if fits(info):
            return recipe
    return _read(RECIPES / f"{FALLBACK}.ini")[0]


def _read(file: Path) -> tuple[Recipe, Callable[[DeviceInfo], bool]]:
    parser = configparser.ConfigParser(inline_comment_prefixes=("#",), interpolation=None)
    try:
        with open(file) as stream:
            parser.read_file(stream)
        return _recipe(file.stem, dict(parser["build"])), _fit(dict(parser["device"]))
    except OSError as err:
        known = ", ".join(recipe_names())
        raise OVError(ExitCode.USAGE, f"the recipe {file} can't be read: {err.strerror}", f"one of: {known}") from err
    except (configparser.Error, KeyError, ValueError) as err:
        message = " ".join(str(err).split())
        raise OVError(ExitCode.USAGE, f"the recipe {file} is wrong: {message}", "compare it with any.ini") from err


def _recipe(name: str, values: dict[str, str]) -> Recipe:
    fields = {field.name: field.type for field in dataclasses.fields(Recipe) if field.name != "name"}
    if missing := sorted(fields.keys() - values.keys()):
        raise ValueError(f"it lacks {', '.join(missing)}")
    if unknown := sorted(values.keys() - fields.keys()):
        raise ValueError(f"it has the unknown {', '.join(unknown)}")
    return Recipe(name=name, **{key: _value(key, str(fields[key]), values[key]) for key in fields})


def _value(name: str, kind: str, text: str) -> Any:
    if kind == "bool":
        if text not in ("yes", "no"):
            raise ValueError(f"{name} is {text!r}, not yes or no")
        return text == "yes"
    if kind == "int" and not text.isdecimal():
        raise ValueError(f"{name} is {text!r}, not a whole number")
    return int(text) if kind == "int" else text


def _fit(device: dict[str, str]) -> Callable[[DeviceInfo], bool]:
    """Whether a device is the one that the section describes; an empty section describes none."""
    if unknown := sorted(device.keys() - {"compute_capability", "least_gib", "most_gib"}):
        raise ValueError(f"[device] has the unknown {', '.join(unknown)}")
    capabilities = [text.strip() for text in device.get("compute_capability", "").split(",")]
    least, most = float(device.get("least_gib", 0)), float(device.get("most_gib", "inf"))

    def fits(info: DeviceInfo) -> bool:
        capability = ".".join(map(str, info.compute_capability))
        return capability in capabilities and least <= info.memory_bytes / _GIB <= most

    return fits
