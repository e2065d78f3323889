"""Values that the user gives in place of a recipe's: a TOML file's, or text from the command line.

Every name and type is checked; an unknown name is refused with the field that is most like it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ovengines.errors import ExitCode, OVError
from ovexport.train.recipe.kinds import KINDS, REFUSED
from ovexport.train.recipe.names import did_you_mean
from ovexport.train.recipe.origins import COMMAND_LINE, Row
from ovexport.train.recipe.recipe import FIELDS

NAMED_ELSEWHERE = ("stage", "size")  # arguments, not values of the table
VALUES = tuple(name for name in FIELDS if name not in NAMED_ELSEWHERE)


def from_command_line(texts: Mapping[str, str]) -> Row:
    """Field -> text, as typed values. Raises OVError (USAGE)."""
    row = {}
    for name, text in texts.items():
        _check_name(name, COMMAND_LINE)
        try:
            row[name] = (KINDS[name].accept(KINDS[name].read(text)), COMMAND_LINE)
        except REFUSED as err:
            raise _wrong_kind(name, text, COMMAND_LINE) from err
    return row


def from_file(path: Path, *, stage: str, size: str) -> Row:
    """The values of a TOML file. Raises OVError: BAD_INPUT for a file that can't be read, USAGE for its values.

    A file may say which stage and size it is for; another is refused.
    """
    origin = f"file {path.name}"
    row = {}
    for name, value in _load(path).items():
        if name in NAMED_ELSEWHERE:
            _check_same(name, value, {"stage": stage, "size": size}[name], path)
            continue
        _check_name(name, origin)
        try:
            row[name] = (KINDS[name].accept(value), origin)
        except REFUSED as err:
            raise _wrong_kind(name, value, origin) from err
    return row


def _check_name(name: str, origin: str) -> None:
    if name not in VALUES:
        raise OVError(ExitCode.USAGE, f"{name} ({origin}) is no value of a recipe", did_you_mean(name, VALUES))


def _check_same(name: str, value: Any, wanted: str, path: Path) -> None:
    if value != wanted:
        raise OVError(
            ExitCode.USAGE,
            f"{path} is for {name} {value}, not {wanted}",
            f"name its own {name}, or take {name} out of it",
        )


def _wrong_kind(name: str, value: Any, origin: str) -> OVError:
    return OVError(ExitCode.USAGE, f"{name} ({origin}) is {value!r}, not {KINDS[name].what}", "see ovexport train show")


def _load(path: Path) -> dict[str, Any]:
    try:
        return _toml().loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise OVError(ExitCode.BAD_INPUT, f"{path} can't be read: {err.strerror}", "check the path") from err
    except (ValueError, RecursionError) as err:  # not UTF-8, not TOML
        raise OVError(
            ExitCode.BAD_INPUT, f"{path} is not TOML: {err}", "write lines such as language_lr = 1e-5"
        ) from err


def _toml() -> ModuleType:
    """In the standard library from Python 3.11 on."""
    for name in ("tomllib", "tomli"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise OVError(
        ExitCode.MISSING_DEPENDENCY, "Python 3.10 has no TOML reader", "pip install tomli, or use Python 3.11"
    )
