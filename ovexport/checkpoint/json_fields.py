"""JSON files of a checkpoint, read with checks: every wrong or missing field is an OVError that names file
and field.

Knows JSON types; what the fields mean is known by the modules that ask for them.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from ovengines.errors import ExitCode, OVError

MAX_JSON_BYTES = 64 << 20  # an index of the largest model has 0.2 MB, a tokenizer 12 MB
MAX_SIZE = 1 << 24  # of one dimension; the largest table of Qwen2 has 152,064 rows
MAX_LAYERS = 1 << 10  # each is built, without storage, to learn its shapes
_MAYBE_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


class Fields:
    """A JSON object and where it came from. `None` values count as absent, as transformers writes them for defaults."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self.values = values
        self.where = where

    @classmethod
    def read(cls, path: Path) -> Fields:
        """A file that must be there. Raises OVError (BAD_INPUT)."""
        values = read_json(path)
        if not isinstance(values, dict):
            raise bad_checkpoint(f"{path.name} is not a JSON object")
        return cls(values, path.name)

    @classmethod
    def read_if_there(cls, path: Path) -> Fields:
        return cls.read(path) if path.is_file() else cls({}, path.name)

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def integer(self, key: str, default: int | None = None) -> int:
        return self._typed(key, int, default)

    def text(self, key: str, default: str | None = None) -> str:
        return self._typed(key, str, default)

    def number(self, key: str, default: float | None = None) -> float:
        value = self._typed(key, (int, float), default)
        if not is_finite(value):
            raise bad_checkpoint(f"{self.where}: {key} is not a finite number")
        return float(value)

    def positive(self, key: str, default: int | None = None, *, at_most: int = MAX_SIZE) -> int:
        value = self.integer(key, default)
        if not 0 < value <= at_most:
            raise bad_checkpoint(f"{self.where}: {key} is {value}, not a positive number of at most {at_most}")
        return value

    def object(self, key: str) -> Fields:
        """A nested object; absent is empty."""
        return Fields(self._typed(key, dict, {}), f"{self.where} {key}")

    def require(self, key: str, default: Any, *, among: tuple[Any, ...], hint: str = "") -> None:
        """Refuse a value (or the default of an absent one) that is not among those this project can compute."""
        value = self.values.get(key)
        value = default if value is None else value
        if value not in among:
            expected = " or ".join(repr(choice) for choice in among)
            raise bad_checkpoint(f"{self.where}: {key} is {value!r}; only {expected} can be computed", hint)

    def _typed(self, key: str, kind: Any, default: Any) -> Any:
        value = self.values.get(key)
        if value is None:
            if default is None:
                raise bad_checkpoint(f"{self.where} has no {key}")
            return default
        if not isinstance(value, kind) or isinstance(value, bool):
            raise bad_checkpoint(f"{self.where}: {key} is {value!r}, a {type(value).__name__}")
        return value


def read_json(path: Path) -> Any:
    """Parsed content. Raises OVError (BAD_INPUT) if the file is missing, huge or not JSON."""
    if not path.is_file():
        raise bad_checkpoint(f"the checkpoint has no {path.name} (looked in {path.parent})")
    if (size_bytes := path.stat().st_size) > MAX_JSON_BYTES:
        raise bad_checkpoint(f"{path.name} has {size_bytes} bytes, more than the {MAX_JSON_BYTES} that are read")
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text)
        if _MAYBE_HALF_A_PAIR.search(text):
            json.dumps(values, ensure_ascii=False).encode()  # half a surrogate pair is no text that can be written
        return values
    except (ValueError, RecursionError) as err:
        raise bad_checkpoint(f"{path.name} is not JSON: {err}", "download it again") from err


def is_finite(value: Any) -> bool:
    """Whether it is a number that a float holds; Python reads NaN, Infinity and integers of any size from JSON."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


def bad_checkpoint(message: str, hint: str = "") -> OVError:
    return OVError(ExitCode.BAD_INPUT, message, hint or "check the checkpoint, or use another one")
