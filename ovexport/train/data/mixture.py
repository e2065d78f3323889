"""A mixture: record files one after the other, of each the records that its sampling strategy takes.

Reads the released YAML form, a single file of records, and `base{a,b}.json`. Knows no media and no tokens.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ovengines.errors import ExitCode, OVError
from ovexport.train.data.records import LEVELS, Record, RecordFile
from ovexport.train.data.strategy import parse_strategy, select

SHIPPED = Path(__file__).parents[1] / "mixtures"
_BRACES = re.compile(r"(.*)\{(.*)\}\.json")
_YAML = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a mixture. The levels of the taxonomy hold for records that do not name their own.

    `count` is the number of records that the publisher names; it informs, and nothing depends on it.
    """

    json_path: Path
    sampling_strategy: str = "all"
    image_folder: Path | None = None
    video_folder: Path | None = None
    vision_input: str | None = None
    instruction: str | None = None
    response: str | None = None
    count: int | None = None


class Mixture:
    """The records of all entries in order. Picklable; holds offsets of records, no records."""

    def __init__(
        self, entries: Sequence[Entry], files: Sequence[RecordFile], selected: Sequence[Sequence[int]]
    ) -> None:
        self.entries = tuple(entries)
        self.files = tuple(files)
        self.selected = tuple(selected)  # per entry, the indices of the records that take part
        self._starts = [0, *accumulate(len(indices) for indices in selected)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> Record:
        """Raises BadRecord for a record that is broken."""
        place, index = self.locate(number)
        entry, record = self.entries[place], self.files[place][index]
        missing = {level: getattr(entry, level) for level in LEVELS if getattr(record, level) is None}
        return replace(record, **missing) if any(missing.values()) else record

    def locate(self, number: int) -> tuple[int, int]:
        """Which entry a record belongs to, and its index in that entry's file."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        place = bisect_right(self._starts, number) - 1
        return place, self.selected[place][number - self._starts[place]]

    def word_counts(self, progress: Callable[[int, int], None] | None = None) -> NDArray[np.int64]:
        """`RecordFile.word_count` of every record: one pass over all files. `progress` takes those done and all."""
        counts = np.empty(len(self), dtype=np.int64)
        for number in range(len(self)):
            place, index = self.locate(number)
            counts[number] = self.files[place].word_count(index)
            if progress is not None and (number % 1000 == 999 or number == len(self) - 1):
                progress(number + 1, len(self))
        return counts


def load_mixture(path: str | Path, *, root: Path | None = None, seed: int = 0) -> Mixture:
    """The mixture of a YAML file, of a file of records, of `base{a,b}.json`, or a shipped one by its name.

    `root` and errors: see `read_entries`; OVError (BAD_INPUT) too for a file of records that can't be read.
    """
    entries = read_entries(path, root=root)
    files, selected = [], []
    for number, entry in enumerate(entries):
        try:
            file = RecordFile(entry.json_path, entry.image_folder, entry.video_folder)
        except OVError as err:
            raise OVError(err.code, f"{path}, entry {number + 1}: {err.message}", err.hint) from err
        files.append(file)
        selected.append(select(parse_strategy(entry.sampling_strategy), len(file), f"{seed} {number}"))
    mixture = Mixture(entries, files, selected)
    if len(mixture) == 0:
        raise OVError(ExitCode.BAD_INPUT, f"{path} has no records", "give data to train on")
    return mixture


def read_entries(path: str | Path, *, root: Path | None = None) -> tuple[Entry, ...]:
    """The entries without opening their files; relative paths start at `root`, by default where the mixture is.

    Raises OVError (BAD_INPUT) with the file and the entry: unknown keys, unknown strategies, values of another type.
    """
    braces = _BRACES.fullmatch(str(path))
    if braces:
        return tuple(Entry(json_path=Path(f"{braces[1]}{name}.json")) for name in braces[2].split(","))
    found = _existing(path)
    if found.suffix not in _YAML:
        return (Entry(json_path=found),)
    return tuple(
        _entry(fields_, f"{path}, entry {number + 1}", root or found.parent)
        for number, fields_ in enumerate(_yaml_list(found))
    )


def _existing(path: str | Path) -> Path:
    shipped = SHIPPED / f"{path}.yaml"
    for candidate in (Path(path), shipped):
        if candidate.is_file():
            return candidate
    names = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.yaml")))
    raise OVError(ExitCode.BAD_INPUT, f"there is no mixture {path}", f"give a file, or one of the shipped: {names}")


def _yaml_list(path: Path) -> list[Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as err:
        raise OVError(ExitCode.BAD_INPUT, f"{path} is not YAML: {err}", "correct the file") from err
    except OSError as err:
        raise OVError(ExitCode.BAD_INPUT, f"{path} can't be read: {err.strerror}", "check the path") from err
    if not isinstance(document, dict) or document.keys() != {"datasets"} or not isinstance(document["datasets"], list):
        raise OVError(
            ExitCode.BAD_INPUT, f"{path} is not a mixture", "it has one key, datasets, with a list of entries"
        )
    return document["datasets"]


def _entry(given: Any, where: str, root: Path) -> Entry:
    if not isinstance(given, dict) or "json_path" not in given:
        raise OVError(ExitCode.BAD_INPUT, f"{where} has no json_path", "name the file of records")
    known = {field.name: str(field.type) for field in fields(Entry)}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            raise OVError(ExitCode.BAD_INPUT, f"{where} has the unknown key {key!r}", f"use {', '.join(known)}")
        if not isinstance(value, int if key == "count" else str):
            raise OVError(ExitCode.BAD_INPUT, f"{where}: {key} is {value!r}", "correct the value")
        values[key] = root / Path(str(value)).expanduser() if "Path" in known[key] else value
    try:
        parse_strategy(values.get("sampling_strategy", "all"))
    except OVError as err:
        raise OVError(err.code, f"{where}: {err.message}", err.hint) from err
    return Entry(**values)
