"""The sizes of the three networks, and the ids of the tokens with a meaning, as frozen dataclasses.

Knows no file format: `ovexport.checkpoint` makes these from a config.json and writes them back. The geometry
(how pixels become visual tokens) is the manifest's own `Geometry`, so that exporter and runtime cannot
disagree.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovengines.bundle.manifest import Geometry


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The SigLIP tower as used: without its last layer and its pooling head (26 layers of so400m)."""

    hidden: int
    intermediate: int
    num_layers: int
    num_heads: int
    image_size_px: int
    patch_size_px: int
    num_channels: int = 3
    layer_norm_eps: float = 1e-6
    has_post_layernorm: bool = True  # carried through files, never applied to the features

    @property
    def patches_per_side(self) -> int:
        return self.image_size_px // self.patch_size_px


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """Qwen2. `vocab_size` counts the rows stored, padding included."""

    vocab_size: int
    hidden: int
    intermediate: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_positions: int
    tie_word_embeddings: bool
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-6


@dataclass(frozen=True, kw_only=True)
class OneVisionConfig:
    """The whole model. `video_token_id` is None where there is none: LLaVA-NeXT marks videos as images."""

    vision: VisionConfig
    language: LanguageConfig
    geometry: Geometry
    image_token_id: int
    video_token_id: int | None
    pad_token_id: int
    eos_token_ids: tuple[int, ...]
