"""What was published of a mixture: the lists of data sets that the paper's figures draw, with their counts.

Read from the package's own files beside the mixtures; knows no records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from ovexport.train.data.mixture import SHIPPED

_FIGURES = SHIPPED / "figures"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """`sets` has, per value of one level of the taxonomy, the data sets and how many records each has."""

    level: str
    total: int
    sets: Mapping[str, Mapping[str, int]]


def published_figure(mixture: str) -> Figure | None:
    """The figure of a shipped mixture; None where the paper has none, and for mixtures of one's own."""
    file = _FIGURES / f"{mixture}.yaml"
    if not is_shipped(mixture) or not file.is_file():
        return None
    return Figure(**yaml.safe_load(file.read_text(encoding="utf-8")))


def is_shipped(mixture: str) -> bool:
    """True where the name of a shipped mixture means it, and not a file that is here."""
    return not Path(mixture).is_file() and (SHIPPED / f"{mixture}.yaml").is_file()
