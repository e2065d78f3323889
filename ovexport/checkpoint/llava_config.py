"""config.json of LLaVA-NeXT (LlavaQwenForCausalLM) -> OneVisionConfig.

Knows the mm_* fields. The vision tower is only named there, so its sizes come from the shapes of its tensors,
its image size from its name, and its heads from the SigLIP family. Pinpoints are (width, height) there and
get swapped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ovengines.bundle.manifest import Geometry
from ovexport.checkpoint.hf_config import check_pinpoints, parse_aspect_ratio
from ovexport.checkpoint.json_fields import Fields, bad_checkpoint
from ovexport.checkpoint.language_config import read_language_config
from ovexport.checkpoint.preprocessor import pinpoint_pairs, read_pixel_rules
from ovexport.checkpoint.tokenizer import SpecialIds
from ovexport.model.config import OneVisionConfig, VisionConfig

Shapes = Mapping[str, tuple[int, ...]]  # of tensors, by the model's own names

SIGLIP_HEADS = {768: 12, 1024: 16, 1152: 16}  # width -> heads: base, large, so400m
_IMAGE_SIZE_OF = {(27, 14): 384}  # (patches per side, patch) where the name of the tower does not say


def read_llava_config(folder: Path, top: Fields, special: SpecialIds, shapes: Shapes, *, tied: bool) -> OneVisionConfig:
    """Raises OVError (BAD_INPUT) for everything unsupported or inconsistent."""
    top.require("mm_projector_type", "linear", among=("mlp2x_gelu",))
    top.require(
        "mm_patch_merge_type",
        "flat",
        among=("spatial_unpad",),
        hint="checkpoints of stage 1 have no newline; export one that was trained with AnyRes",
    )
    top.require("mm_newline_position", "one_token", among=("one_token",))
    top.require("mm_vision_select_feature", "patch", among=("patch",))
    top.require("mm_spatial_pool_mode", "bilinear", among=("bilinear",))
    if top.values.get("mm_resampler_type"):
        raise bad_checkpoint(f"{top.where}: mm_resampler_type is set; resamplers are not supported")
    vision = _vision_config(top, shapes)
    pixels = read_pixel_rules(folder, vision.image_size_px, None)
    pinpoints = _pinpoints(top, vision.image_size_px)
    check_pinpoints(pinpoints, vision.image_size_px)
    return OneVisionConfig(
        vision=vision,
        language=read_language_config(top, tied=tied, rope_scaling_ignored=True),
        geometry=Geometry(
            image_size_px=vision.image_size_px,
            patch_size_px=vision.patch_size_px,
            grid_pinpoints=pinpoints,
            max_tiles=parse_aspect_ratio(top, "image_aspect_ratio"),
            unpad_rounding="llava",
            image_mean=pixels.image_mean,
            image_std=pixels.image_std,
            rescale_factor=pixels.rescale_factor,
        ),
        image_token_id=special.image,
        video_token_id=None,
        pad_token_id=special.pad,
        eos_token_ids=special.eos,
    )


def _pinpoints(top: Fields, tile_px: int) -> tuple[tuple[int, int], ...]:
    """As (height, width). The string form "(1x1),...,(6x6)" means every grid between its first and its last."""
    value = top.values.get("image_grid_pinpoints")
    if not isinstance(value, str):
        return tuple((height, width) for width, height in pinpoint_pairs(value, top.where))
    grids = [(int(first), int(second)) for first, second in re.findall(r"\((\d+)x(\d+)\)", value)]
    if not grids:
        return tuple((height, width) for width, height in _literal_pairs(value, top.where))
    (first_w, first_h), (last_w, last_h) = grids[0], grids[-1]
    if not (0 < first_w <= last_w <= 64 and 0 < first_h <= last_h <= 64):
        raise bad_checkpoint(f"{top.where}: image_grid_pinpoints is {value!r}")
    return tuple(
        (tile_px * rows, tile_px * columns)
        for columns in range(first_w, last_w + 1)
        for rows in range(first_h, last_h + 1)
    )


def _literal_pairs(value: str, where: str) -> tuple[tuple[int, int], ...]:
    """The other string form, "[(384, 768), (768, 384)]"."""
    pairs = re.findall(r"[(\[]\s*(\d+)\s*,\s*(\d+)\s*[)\]]", value)
    return pinpoint_pairs([[int(first), int(second)] for first, second in pairs], where)


def _vision_config(top: Fields, shapes: Shapes) -> VisionConfig:
    try:
        hidden, channels, patch_px, _ = shapes["vision_tower.patch_embedding.weight"]
        num_patches, _ = shapes["vision_tower.position_embedding.weight"]
        intermediate, _ = shapes["vision_tower.layers.0.mlp.fc1.weight"]
    except (KeyError, ValueError) as err:
        raise bad_checkpoint(
            f"the vision tower is not in this checkpoint, or not a SigLIP tower ({err})",
            "export a checkpoint whose vision tower was tuned and saved",
        ) from err
    side = round(num_patches**0.5)
    if side * side != num_patches or hidden not in SIGLIP_HEADS:
        raise bad_checkpoint(f"a vision tower of width {hidden} with {num_patches} patches is not a known SigLIP")
    layers = {name.split(".")[2] for name in shapes if name.startswith("vision_tower.layers.")}
    return VisionConfig(
        hidden=hidden,
        intermediate=intermediate,
        num_layers=len(layers),
        num_heads=SIGLIP_HEADS[hidden],
        image_size_px=_image_size_px(top.text("mm_vision_tower", "unknown"), side, patch_px),
        patch_size_px=patch_px,
        num_channels=channels,
        has_post_layernorm="vision_tower.post_layernorm.weight" in shapes,
    )


def _image_size_px(tower: str, side: int, patch_px: int) -> int:
    """From a name such as google/siglip-so400m-patch14-384; must fit the patches that are stored."""
    match = re.search(r"patch(\d+)-(\d+)", tower)
    size_px = int(match[2]) if match else _IMAGE_SIZE_OF.get((side, patch_px), 0)
    if size_px // patch_px != side:
        raise bad_checkpoint(
            f"the vision tower {tower!r} has {side}x{side} patches of {patch_px} px, which its name does not fit",
            "set mm_vision_tower in config.json to the tower's name, like google/siglip-so400m-patch14-384",
        )
    return size_px
