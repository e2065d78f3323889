"""What turns records into samples: the settings of a recipe that concern data, and the tokenizer.

Knows the names of the choices, not what they do (`conversation`, `labels`, `media`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tokenizers import Tokenizer

from ovengines.bundle.manifest import Geometry
from ovengines.errors import ExitCode, OVError
from ovexport.train.data.conversation import TEMPLATES, TURNS, Chat
from ovexport.train.data.labels import LABELS

MERGES = ("flat", "spatial_unpad")
_ASPECT_RATIO = re.compile(r"square|anyres(?:_max_([1-9][0-9]{0,3}))?")


@dataclass(frozen=True, kw_only=True)
class SampleSpec:
    """Settings as in `Recipe`; geometry is the model's with the recipe's pinpoints (`training_geometry`).

    A model without a video token gets videos under its image token. Raises OVError (USAGE) for unknown values.
    """

    tokenizer: Tokenizer
    image_token_id: int
    video_token_id: int | None
    geometry: Geometry
    template: str = "qwen_1_5"
    labels: str = "released"
    turns: str = "chained"
    merge: str = "spatial_unpad"
    aspect_ratio: str = "anyres_max_9"
    max_length: int = 32768
    max_frames: int = 32
    video_fps: float = 1.0

    def __post_init__(self) -> None:
        for name, known in (("template", TEMPLATES), ("turns", TURNS), ("labels", tuple(LABELS)), ("merge", MERGES)):
            if getattr(self, name) not in known:
                raise OVError(ExitCode.USAGE, f"{name} is {getattr(self, name)!r}", f"use one of {', '.join(known)}")
        if not _ASPECT_RATIO.fullmatch(self.aspect_ratio):
            raise _unknown_aspect_ratio(self.aspect_ratio)
        if self.any_resolution and self.merge == "flat":
            raise OVError(
                ExitCode.USAGE, f"aspect_ratio {self.aspect_ratio} does not go with merge flat", "use spatial_unpad"
            )

    @property
    def any_resolution(self) -> bool:
        return self.aspect_ratio != "square"

    @cached_property
    def chat(self) -> Chat:
        return Chat(self.tokenizer)


def training_geometry(geometry: Geometry, aspect_ratio: str, grid_pinpoints: Sequence[tuple[int, int]]) -> Geometry:
    """The model's geometry with a recipe's pinpoints, (rows, columns) of tiles, and the cap of `anyres_max_N`.

    Raises OVError (USAGE) for an unknown aspect ratio, or any resolution without pinpoints.
    """
    found = _ASPECT_RATIO.fullmatch(aspect_ratio)
    if found is None:
        raise _unknown_aspect_ratio(aspect_ratio)
    if aspect_ratio == "square":
        return geometry
    if not grid_pinpoints:
        raise OVError(ExitCode.USAGE, f"aspect_ratio {aspect_ratio} without grid_pinpoints", "give at least one")
    side_px = geometry.image_size_px
    pinpoints_px = tuple((rows * side_px, columns * side_px) for rows, columns in grid_pinpoints)
    return replace(geometry, grid_pinpoints=pinpoints_px, max_tiles=int(found[1]) if found[1] else None)


def _unknown_aspect_ratio(value: str) -> OVError:
    return OVError(ExitCode.USAGE, f"aspect_ratio is {value!r}", "use square, anyres or anyres_max_N")
