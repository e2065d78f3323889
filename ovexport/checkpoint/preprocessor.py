"""How pixels are prepared, read from preprocessor_config.json (or processor_config.json of transformers 5).

Knows the fields of the image processor. A file that leaves out the mean does not mean "the defaults of the
transformers class": those are CLIP's, and SigLIP was trained on 0.5 and 0.5, which is what an absent field
means here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovexport.checkpoint.json_fields import Fields, bad_checkpoint, is_finite

BICUBIC = 3  # PIL's number
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class PixelRules:
    """Normalisation of pixels."""

    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    rescale_factor: float


def read_pixel_rules(
    folder: Path, image_size_px: int, grid_pinpoints: tuple[tuple[int, int], ...] | None
) -> PixelRules:
    """Check the image processor against the model (None: no pinpoints to compare); its numbers.

    Raises OVError (BAD_INPUT) where the two disagree, or for a step that the runtime does not have.
    """
    fields = _image_processor(folder)
    for step in ("do_resize", "do_rescale", "do_normalize"):
        fields.require(step, True, among=(True,))
    fields.require("resample", BICUBIC, among=(BICUBIC,))
    _check_size(fields, image_size_px)
    stored = fields.values.get("image_grid_pinpoints")
    if stored is not None and grid_pinpoints is not None and pinpoint_pairs(stored, fields.where) != grid_pinpoints:
        raise bad_checkpoint(
            f"image_grid_pinpoints of {fields.where} and config.json differ",
            "they decide how many tokens an image has and must be equal",
        )
    return PixelRules(
        image_mean=_triple(fields, "image_mean"),
        image_std=_triple(fields, "image_std"),
        rescale_factor=fields.number("rescale_factor", 1 / 255),
    )


def pinpoint_pairs(value: Any, where: str) -> tuple[tuple[int, int], ...]:
    """A JSON list of pairs of positive integers, as it stands. Raises OVError (BAD_INPUT)."""

    def is_pair(item: Any) -> bool:
        return isinstance(item, Sequence) and len(item) == 2 and all(type(n) is int and n > 0 for n in item)

    if not isinstance(value, list) or not value or not all(is_pair(item) for item in value):
        raise bad_checkpoint(f"{where}: image_grid_pinpoints is not a list of pairs of pixels")
    return tuple((first, second) for first, second in value)


def _image_processor(folder: Path) -> Fields:
    own_file = folder / "preprocessor_config.json"
    if own_file.is_file():
        return Fields.read(own_file)
    return Fields.read_if_there(folder / "processor_config.json").object("image_processor")


def _check_size(fields: Fields, image_size_px: int) -> None:
    size: Any = fields.values.get("size")
    if size is None:
        return
    sides = list(size.values()) if isinstance(size, dict) else size if isinstance(size, list) else [size]
    if not sides or any(side != image_size_px for side in sides):
        raise bad_checkpoint(f"{fields.where}: size is {size}, but the vision tower takes {image_size_px} px")


def _triple(fields: Fields, key: str) -> tuple[float, float, float]:
    value = fields.values.get(key)
    if value is None:
        return _HALF
    if not isinstance(value, list) or len(value) != 3 or not all(is_finite(v) for v in value):
        raise bad_checkpoint(f"{fields.where}: {key} is not a list of three numbers")
    if key == "image_std" and not all(value):
        raise bad_checkpoint(f"{fields.where}: {key} has a zero")
    return (float(value[0]), float(value[1]), float(value[2]))
