"""What the sizes change of the stages' tables, and the sizes' own facts: parameters, tokens per view.

Counts of parameters are those of the architecture; the paper's table 1 rounds, and its projectors of 7B and 72B
(20.0M, 72.0M) do not fit an MLP of two layers.
"""

from __future__ import annotations

from ovexport.train.recipe.origins import PAPER, SI, TINY, Row

_SMALL_BATCH: Row = {"global_batch": (512, f"{PAPER}: 512 for 0.5B; the scripts are written for 7B and 72B")}
_ON_256: Row = {"device_batch": (1, f"{SI}: 1 on 256 devices for 72B")}


def _tiny(**values: object) -> Row:
    return {name: (value, TINY) for name, value in values.items()}


_ONE_FIFTH = f"{TINY}; one fifth of language_lr, as in the paper"
_TINY_ALWAYS = _tiny(
    projector_lr=4e-3,
    global_batch=16,
    device_batch=4,
    grouping="like-length",
    optimizer="muon",
    betas=(0.9, 0.98),
    weight_decay=0.05,
    warmup_ratio=0.02,
    final_lr_ratio=0.01,
    labels="assistant-only",
    loss_mean="exchanges",
    turns="apart",
    max_length=4096,
    precision="fp32",
    recompute=False,
    workers=1,
    save_every=100,
    drop_last=True,
)
_TINY_LATER: Row = {
    **_TINY_ALWAYS,
    # Higher rates undo what tower and language model know by then (docs/log.md).
    **_tiny(language_lr=1.5e-3, projector_lr=1.5e-3),
    "vision_lr": (3e-4, _ONE_FIFTH),
}
_TINY_QUESTIONS: Row = {
    **_TINY_LATER,
    # A record has up to ten questions. What looks things up needs steps more than records (docs/log.md).
    **_tiny(global_batch=4, device_batch=2, save_every=400, language_lr=1e-3, projector_lr=1e-3),
    "vision_lr": (2e-4, _ONE_FIFTH),
}
_TINY_VIEWS = f"{TINY}: views of 49 tokens, as many as in {PAPER}"

# Size -> stage -> what differs from the stage's table.
SIZES: dict[str, dict[str, Row]] = {
    "0.5b": dict.fromkeys(("stage1.5", "stage2-si", "stage2-ov"), _SMALL_BATCH),
    "7b": {},
    "72b": dict.fromkeys(("stage1.5", "stage2-si", "stage2-ov"), _ON_256),
    "tiny": {
        "stage1": {**_TINY_ALWAYS, **_tiny(data="drawn/stage1.yaml"), "max_visual_tokens": (49, _TINY_VIEWS)},
        "stage1.5": {**_TINY_LATER, **_tiny(data="drawn/stage1.5.yaml"), "max_visual_tokens": (49 * 5, _TINY_VIEWS)},
        "stage2-si": {
            **_TINY_QUESTIONS,
            **_tiny(data="drawn/stage2-si.yaml"),
            "max_visual_tokens": (49 * 10, _TINY_VIEWS),
        },
        "stage2-ov": {
            **_TINY_QUESTIONS,
            **_tiny(data="drawn/stage2-ov.yaml", rounded_share=0.1),
            "max_visual_tokens": (49 * 10, _TINY_VIEWS),
        },
    },
}
DEFAULT_SIZE = "7b"

PATCH_PX = 14
TILE_PX = {"0.5b": 384, "7b": 384, "72b": 384, "tiny": 104}

# Part -> parameters, with the tower's post_layernorm (never used) and image_newline; ov-tiny's are its own affair.
PARAMETERS: dict[str, dict[str, int]] = {
    "0.5b": {"vision": 397_747_744, "projector": 1_836_800, "language": 494_032_768 + 896},
    "7b": {"vision": 397_747_744, "projector": 16_980_992, "language": 7_615_616_512 + 3_584},
    "72b": {"vision": 397_747_744, "projector": 76_562_432, "language": 72_706_203_648 + 8_192},
}
# Size -> trainable parameters as printed: of stage 1, of all later stages.
PAPER_PARAMETERS = {"0.5b": ("1.8M", "0.8B"), "7b": ("20.0M", "8.0B"), "72b": ("72.0M", "73.2B")}


def patches_per_view(size: str) -> int:
    """Tokens of one view: 27 x 27 = 729, 7 x 7 = 49 for ov-tiny."""
    return (TILE_PX[size] // PATCH_PX) ** 2
