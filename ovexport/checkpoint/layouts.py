"""The names that tensors have in files, as one row per layout, and the way from and to the model's own names.

Knows strings only. A layout is a list of prefixes: own names (`ovexport.model`) on the left, names of the
file on the right. What follows a prefix is the same on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ovengines.errors import ExitCode, OVError

# Buffers that old versions stored; they hold nothing that the configuration does not say.
IGNORED_SUFFIXES = (".rotary_emb.inv_freq", ".position_ids")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where each part of the model lives in one way of naming. `family` decides how config.json is read."""

    name: str
    family: str  # "hf" or "llava"
    vision: str
    projector: tuple[str, str]  # the first and the second linear
    image_newline: str
    language: str
    head: str

    @property
    def prefixes(self) -> tuple[tuple[str, str], ...]:
        """(own, file) pairs; the first that fits a name is the one meant."""
        return (
            ("vision_tower.patch_embedding.", f"{self.vision}embeddings.patch_embedding."),
            ("vision_tower.position_embedding.", f"{self.vision}embeddings.position_embedding."),
            ("vision_tower.layers.", f"{self.vision}encoder.layers."),
            ("vision_tower.post_layernorm.", f"{self.vision}post_layernorm."),
            ("projector.linear_1.", self.projector[0]),
            ("projector.linear_2.", self.projector[1]),
            ("image_newline", self.image_newline),
            ("language_model.lm_head.", self.head),
            ("language_model.embed_tokens.", f"{self.language}embed_tokens."),
            ("language_model.layers.", f"{self.language}layers."),
            ("language_model.norm.", f"{self.language}norm."),
        )

    def own_name(self, file_name: str) -> str | None:
        """The model's name of a tensor in the file, or None if this layout has no place for it."""
        return _replace(file_name, ((theirs, own) for own, theirs in self.prefixes))

    def file_name(self, own_name: str) -> str:
        renamed = _replace(own_name, self.prefixes)
        assert renamed is not None, own_name
        return renamed


def _replace(name: str, pairs: Iterable[tuple[str, str]]) -> str | None:
    for old, new in pairs:
        if name.startswith(old):
            return new + name[len(old) :]
    return None


_HF_PROJECTOR = ("multi_modal_projector.linear_1.", "multi_modal_projector.linear_2.")
_HF_PROJECTOR_IN_MEMORY = ("model.multi_modal_projector.linear_1.", "model.multi_modal_projector.linear_2.")

# What transformers 4.x writes and every published Hugging Face checkpoint has; loads in 4.x and 5.x.
HF_DISK = Layout(
    name="transformers on disk",
    family="hf",
    vision="vision_tower.vision_model.",
    projector=_HF_PROJECTOR,
    image_newline="image_newline",
    language="language_model.model.",
    head="language_model.lm_head.",
)
LAYOUTS = (
    HF_DISK,
    Layout(
        name="transformers 5 on disk",
        family="hf",
        vision="vision_tower.",
        projector=_HF_PROJECTOR,
        image_newline="image_newline",
        language="language_model.model.",
        head="language_model.lm_head.",
    ),
    Layout(
        name="transformers 4.52 in memory",
        family="hf",
        vision="model.vision_tower.vision_model.",
        projector=_HF_PROJECTOR_IN_MEMORY,
        image_newline="model.image_newline",
        language="model.language_model.",
        head="lm_head.",
    ),
    Layout(
        name="transformers 5 in memory",
        family="hf",
        vision="model.vision_tower.",
        projector=_HF_PROJECTOR_IN_MEMORY,
        image_newline="model.image_newline",
        language="model.language_model.",
        head="lm_head.",
    ),
    Layout(
        name="LLaVA-NeXT",
        family="llava",
        vision="model.vision_tower.vision_tower.vision_model.",
        projector=("model.mm_projector.0.", "model.mm_projector.2."),
        image_newline="model.image_newline",
        language="model.",
        head="lm_head.",
    ),
)


def detect_layout(file_names: Iterable[str]) -> Layout:
    """The layout with a place for most of the names. Raises OVError (BAD_INPUT) if none has one for a vision tensor."""
    names = list(file_names)

    def known(layout: Layout) -> int:
        return sum(layout.own_name(name) is not None for name in names)

    best = max(LAYOUTS, key=known)  # the first of equals
    own_names = [best.own_name(name) or "" for name in names]
    if not any(name.startswith(("vision_tower.", "projector.")) for name in own_names):
        example = f"its first is {min(names)!r}" if names else "it has none"
        raise OVError(
            ExitCode.BAD_INPUT,
            f"no tensor of this checkpoint belongs to a vision tower or projector of LLaVA-OneVision; {example}",
            "give a LLaVA-OneVision checkpoint, such as llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
        )
    return best
