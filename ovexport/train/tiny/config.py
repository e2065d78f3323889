"""The sizes of ov-tiny: the architecture of LLaVA-OneVision with two million parameters, and its first, random weights.

Tiles of 104 px with patches of 14 px leave 6 px unseen, in the proportion of the real 384. Knows no data.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ovengines.bundle.manifest import Geometry
from ovexport.model import LanguageConfig, OneVision, OneVisionConfig, VisionConfig
from ovexport.train.tiny.tokenizer import END_OF_TEXT, IMAGE, PADDED_VOCABULARY, TURN_END, VIDEO

TILE_PX, PATCH_PX = 104, 14
_INIT_GAIN = 0.7
_TABLE_STD = 0.1


def tiny_geometry() -> Geometry:
    pinpoints = tuple((TILE_PX * rows, TILE_PX * columns) for rows in range(1, 7) for columns in range(1, 7))
    return Geometry(
        image_size_px=TILE_PX, patch_size_px=PATCH_PX, grid_pinpoints=pinpoints, max_tiles=9, unpad_rounding="hf"
    )


def tiny_config(tokenizer_ids: Mapping[str, int]) -> OneVisionConfig:
    """Every K but the patch convolution's is a multiple of 32, so that every matrix can be quantised in blocks."""
    return OneVisionConfig(
        vision=VisionConfig(
            hidden=128, intermediate=384, num_layers=4, num_heads=4, image_size_px=TILE_PX, patch_size_px=PATCH_PX
        ),
        language=LanguageConfig(
            vocab_size=PADDED_VOCABULARY,
            hidden=128,
            intermediate=384,
            num_layers=6,
            num_heads=4,
            num_kv_heads=2,
            head_dim=32,
            max_positions=4096,
            tie_word_embeddings=True,
            rope_theta=1e4,
        ),
        geometry=tiny_geometry(),
        image_token_id=tokenizer_ids[IMAGE],
        video_token_id=tokenizer_ids[VIDEO],
        pad_token_id=tokenizer_ids[END_OF_TEXT],
        eos_token_ids=(tokenizer_ids[TURN_END],),
    )


def fresh_model(config: OneVisionConfig, seed: int) -> OneVision:
    """Random weights for training from nothing: normal(0, 0.02) suits widths of a thousand and published weights.

    Matrices get 0.7/sqrt(K); what writes into the residual stream less of it, by the depth, and the table more: or the
    first layer drowns which token it is, and looking things up takes several times the steps (docs/log.md).
    """
    torch.manual_seed(seed)
    model = OneVision(config)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=_INIT_GAIN * module.in_features**-0.5)
    nn.init.normal_(model.language_model.embed_tokens.weight, std=_TABLE_STD)
    with torch.no_grad():
        for name, parameter in model.language_model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.mul_((2 * config.language.num_layers) ** -0.5)
    return model
