"""Which values a recipe may have: each alone, and together.

Checked on the whole recipe, whoever gave a value; an error names the value, its origin and what would do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ovengines.errors import ExitCode, OVError
from ovexport.train.recipe.names import did_you_mean
from ovexport.train.recipe.recipe import Recipe
from ovexport.train.recipe.sizes import SIZES, patches_per_view
from ovexport.train.recipe.stages import STAGES

PARTS = ("vision", "projector", "language")
MAX_TILES = {"anyres": None, "anyres_max_9": 9}
CHOICES: dict[str, tuple[str, ...]] = {
    "stage": tuple(STAGES),
    "size": tuple(SIZES),
    "template": ("plain", "qwen_1_5"),
    "trainable": PARTS,
    "optimizer": ("adamw", "muon"),
    "loss_mean": ("micro-batch", "tokens", "exchanges"),
    "labels": ("released", "assistant-only"),
    "turns": ("chained", "apart"),
    "grouping": ("modality-length", "like-length", "packed", "none"),
    "aspect_ratio": ("square", *MAX_TILES),
    "merge": ("flat", "spatial_unpad"),
    "precision": ("bf16", "fp32"),
}
_BELOW_1 = 1 - 1e-9
# Least and most, both allowed.
RANGES: dict[str, tuple[float, float]] = {
    "language_lr": (0, 1),
    "projector_lr": (0, 1),
    "vision_lr": (0, 1),
    "global_batch": (1, 1_000_000),
    "device_batch": (1, 1_000_000),
    "epochs": (1e-6, 1000),
    "max_steps": (1, 1_000_000_000),
    "betas": (0, _BELOW_1),
    "eps": (1e-30, 1),
    "weight_decay": (0, 1),
    "max_grad_norm": (1e-9, 1e9),
    "warmup_ratio": (0, 1),
    "final_lr_ratio": (0, 1),
    "grid_pinpoints": (1, 12),
    "max_visual_tokens": (1, 1_000_000),
    "max_length": (2, 1_000_000),
    "max_frames": (1, 10_000),
    "video_fps": (1e-3, 1000),
    "workers": (0, 1024),
    "seed": (0, 2**32 - 1),
    "save_every": (1, 1_000_000_000),
    "rounded_share": (0, 1),
}


def view_tokens(size: str, aspect_ratio: str, grids: tuple[tuple[int, int], ...]) -> int:
    """Tokens of the views of one image at most, as the paper counts them: no newlines, no slack of the cap."""
    tiles = max((rows * columns for rows, columns in grids), default=0)
    return patches_per_view(size) * (1 + min(tiles, MAX_TILES.get(aspect_ratio) or tiles))


def check(recipe: Recipe, origins: Mapping[str, str]) -> None:
    """Raises OVError (USAGE) for the first rule that is broken."""

    def refuse(name: str, must: str, hint: str) -> OVError:
        return OVError(ExitCode.USAGE, f"{name} is {getattr(recipe, name)!r} ({origins[name]}): it {must}", hint)

    for name, choices in CHOICES.items():
        for word in _members(getattr(recipe, name)):
            if word not in choices:
                raise refuse(name, "is not known", did_you_mean(str(word), choices))
    for name, (least, most) in RANGES.items():
        for number in _members(getattr(recipe, name)):
            if not least <= number <= most:
                raise refuse(name, "is out of range", f"give {least:g} to {most:g}")
    for name, rule, must, hint in _TOGETHER:
        if not rule(recipe):
            raise refuse(name, must, hint)


def _members(value: object) -> list:
    """The single values in a field: of pairs and lists each, of None nothing."""
    if isinstance(value, tuple):
        return [member for part in value for member in _members(part)]
    return [] if value is None else [value]


def _trained_rates_are_positive(part: str) -> Callable[[Recipe], bool]:
    return lambda recipe: part not in recipe.trainable or getattr(recipe, f"{part}_lr") > 0


# (the field to blame, rule, what it must do, hint)
_TOGETHER: tuple[tuple[str, Callable[[Recipe], bool], str, str], ...] = (
    ("trainable", lambda r: bool(r.trainable), "must name a part", f"name some of {', '.join(PARTS)}"),
    ("trainable", lambda r: len({*r.trainable}) == len(r.trainable), "names a part twice", "name each part once"),
    *(
        (f"{part}_lr", _trained_rates_are_positive(part), f"must be positive: the {part} is trained",
         f"give a rate, or leave {part} out of trainable")
        for part in PARTS
    ),
    ("start_from", lambda r: r.start_from != r.stage, "can't be the stage itself",
     "name the stage before it, or a checkpoint"),
    ("global_batch", lambda r: r.global_batch % r.device_batch == 0, "must be a multiple of device_batch",
     "change global_batch or device_batch"),
    ("aspect_ratio", lambda r: (r.aspect_ratio == "square") == (r.merge == "flat"),
     "does not go with merge", "square goes with flat, anyres and anyres_max_9 with spatial_unpad"),
    ("grid_pinpoints", lambda r: (r.aspect_ratio == "square") == (not r.grid_pinpoints),
     "does not go with aspect_ratio", "square has none, anyres and anyres_max_9 need some"),
    ("grid_pinpoints", lambda r: len({*r.grid_pinpoints}) == len(r.grid_pinpoints), "has a grid twice",
     "name each grid once"),
    ("template", lambda r: r.template != "plain" or r.aspect_ratio == "square", "needs square views",
     "plain goes with aspect_ratio square, merge flat, no grid_pinpoints"),
    ("max_visual_tokens", lambda r: r.max_visual_tokens == view_tokens(r.size, r.aspect_ratio, r.grid_pinpoints),
     "is not what the views have", "leave it out: it follows from aspect_ratio and grid_pinpoints"),
)  # fmt: skip
