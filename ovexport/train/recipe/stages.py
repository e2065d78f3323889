"""The four stages for the 7B model: every value of a recipe with its origin.

Sizes change little of it; what they change is in sizes.py. The scripts are written for 7B.
"""

from __future__ import annotations

from typing import Any

from ovexport.train.recipe.origins import CONFIG, MID, OURS, OV, PAPER, SCRIPTS, SI, STAGE1, STAGE2, TRAINER, Row

EVERYTHING = ("vision", "projector", "language")
# LLaVA-NeXT reads pinpoints as (width, height), so [(384,768), ...] begins with two rows of one column. The first grid
# wins ties: any image that fits one tile would take the other grid if the pairs were read the other way round.
FIVE_GRIDS = ((2, 1), (1, 2), (2, 2), (1, 3), (3, 1))
ALL_GRIDS = tuple((rows, columns) for rows in range(1, 7) for columns in range(1, 7))


def _from(origin: str, **values: Any) -> Row:
    return {name: (value, origin) for name, value in values.items()}


_ALL_STAGES: Row = {
    **_from(f"{PAPER}; {SCRIPTS}", epochs=1.0),
    **_from("whole epochs, as released", max_steps=None),
    **_from(f"{TRAINER} (adamw_torch)", optimizer="adamw", betas=(0.9, 0.999), eps=1e-8),
    **_from(SCRIPTS, weight_decay=0.0, warmup_ratio=0.03),
    **_from(f"{TRAINER}; DeepSpeed clips at its `auto`", max_grad_norm=1.0),
    **_from(f"{SCRIPTS}: cosine to 0, anew in each stage", final_lr_ratio=0.0),
    **_from("released trainer (transformers 4.40); newer: mean of the whole step", loss_mean="micro-batch"),
    **_from("released code: headers, <|im_end|> and lone newlines are learned, too", labels="released"),
    **_from("released code: a conversation is one sequence", turns="chained"),
    **_from("paper: 1 frame per second; default of the scripts", video_fps=1.0),
    **_from(f"{SCRIPTS} (bf16); model cards", precision="bf16"),
    **_from(f"{SCRIPTS} (gradient_checkpointing)", recompute=True),
    **_from(TRAINER, seed=42),
    **_from(f"{OURS}: nothing is rounded, as released", rounded_share=0.0),
}

_STAGE1: Row = {
    **_ALL_STAGES,
    **_from(f"{STAGE1}: Qwen2-Instruct, SigLIP and a new projector", start_from="parts"),
    **_from(f"{PAPER}: LCS 558K; {STAGE1}", data="stage1"),
    **_from(STAGE1, template="plain", device_batch=16, workers=16),
    **_from(f"{PAPER}; {STAGE1}", trainable=("projector",), projector_lr=1e-3),
    **_from(f"frozen: {PAPER} prints 1e-3, but trains the projector only", language_lr=0.0, vision_lr=0.0),
    **_from(f"{PAPER}; the script's 16 x 32 devices (inferred)", global_batch=512),
    **_from("pretrain_siglip.sh leaves it unset: shuffled, not grouped", grouping="none"),
    **_from("pretrain_siglip.sh leaves it unset", aspect_ratio="square", drop_last=False),
    **_from("pretrain_siglip.sh leaves it unset: flat, so image_newline is born in stage 1.5", merge="flat"),
    **_from("square views have no grid", grid_pinpoints=()),
    **_from(PAPER, max_visual_tokens=729),
    **_from(f"{STAGE1} (model_max_length; 32768 from stage 1.5 on)", max_length=8192),
    **_from(f"no video at this stage; {OV}", max_frames=32),
    **_from(f"{OURS}: pretrain_siglip.sh saves at the end only", save_every=500),
}

_LATER_STAGES: Row = {
    **_ALL_STAGES,
    **_from(f"{PAPER}; scripts of all later stages", trainable=EVERYTHING, language_lr=1e-5, projector_lr=1e-5),
    **_from(f"{PAPER} and text (1:5); {CONFIG}", vision_lr=2e-6),
    **_from(f"{PAPER}: 256 for 7B and 72B, 512 for 0.5B", global_batch=256),
}

_STAGE1_5: Row = {
    **_LATER_STAGES,
    **_from(f"paper; {MID} (of stage 1.5 itself none is released)", start_from="stage1"),
    **_from(
        f"{PAPER} (4M); scripts mid_stage.yaml; the paper's text sums to 4.8M, model cards say 4.7M", data="stage1.5"
    ),
    **_from(MID, template="qwen_1_5", device_batch=4, grouping="modality-length", drop_last=True),
    **_from(f"{MID}: no cap, which 5 views never reach", aspect_ratio="anyres"),
    **_from(MID, merge="spatial_unpad", max_length=32768, workers=16, save_every=3000),
    **_from(f"{PAPER}; nearest script, as (width, height); checkpoints are named a4", grid_pinpoints=FIVE_GRIDS),
    **_from(PAPER, max_visual_tokens=729 * 5),
    **_from(f"no video at this stage; {OV}", max_frames=32),
}

_STAGE2: Row = {
    **_LATER_STAGES,
    **_from(STAGE2, template="qwen_1_5", grouping="modality-length", drop_last=True, workers=4, save_every=1000),
    **_from(f"{STAGE2} (7B: x 2 accumulated on 128 devices)", device_batch=1),
    **_from(f"{STAGE2}; {CONFIG}", aspect_ratio="anyres_max_9", max_length=32768),
    **_from(f"{PAPER}; {STAGE2}", grid_pinpoints=ALL_GRIDS),
    **_from(f"{PAPER}; the code's newlines and slack come on top, see tokens per image", max_visual_tokens=729 * 10),
}

_STAGE2_SI: Row = {
    **_STAGE2,
    **_from(f"paper; {SI}", start_from="stage1.5"),
    **_from("scripts single_image.yaml (3.24M); paper's figure lists 3.15M, model cards say 3.6M", data="single_image"),
    **_from(f"{SI}; {CONFIG}", merge="spatial_unpad"),
    **_from(f"{SI} (frames_upbound), though its data has no video", max_frames=32),
}

_STAGE2_OV: Row = {
    **_STAGE2,
    **_from(f"paper; {OV}", start_from="stage2-si"),
    **_from("scripts onevision.yaml (over 2M); paper says 1.6M, its figure 1.3M: not known", data="onevision"),
    **_from(f"{OV}; a video has one newline as in the {CONFIG}, not one per row", merge="spatial_unpad"),
    **_from(f"{OV} (frames_upbound), the last frame too: transformers never takes it", max_frames=32),
}

STAGES: dict[str, Row] = {
    "stage1": _STAGE1,
    "stage1.5": _STAGE1_5,
    "stage2-si": _STAGE2_SI,
    "stage2-ov": _STAGE2_OV,
}
