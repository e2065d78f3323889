"""Which parameters a stage trains, and in which group of the optimizer each is.

The parts are those of the released `mm_tunable_parts`: everything that is neither tower nor projector is the
language model's, the image newline too (LLaVA-NeXT train.py; trap 15 of a reimplementation). Knows names only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import nn

from ovengines.errors import ExitCode, OVError
from ovexport.train.recipe.rules import PARTS

_PREFIXES = {"vision_tower.": "vision", "projector.": "projector"}
# Carried through files, never used: it gets no gradient, and engines for several devices would wait for one.
_UNUSED = "vision_tower.post_layernorm."


def part_of(name: str) -> str:
    """The part that a parameter of this name belongs to."""
    return next((part for prefix, part in _PREFIXES.items() if name.startswith(prefix)), "language")


def set_trainable(model: nn.Module, parts: Collection[str]) -> None:
    """Freeze everything but `parts`. Raises OVError (USAGE) for an unknown part or none."""
    if not parts or (unknown := set(parts) - set(PARTS)):
        shown = ", ".join(sorted(unknown)) if parts else "nothing"
        raise OVError(ExitCode.USAGE, f"{shown} can't be trained", f"name some of {', '.join(PARTS)}")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in parts and not name.startswith(_UNUSED))


def trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
