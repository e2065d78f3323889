"""What a stage of training is made of, as one frozen dataclass, and what each of its values means.

Knows no values: those are tables (stages.py, sizes.py) that resolve.py joins with a file and the command line. The
loop reads nothing else, so two runs with equal recipes and data learn the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Recipe:
    stage: str
    size: str
    start_from: str
    data: str
    template: str
    trainable: tuple[str, ...]
    language_lr: float
    projector_lr: float
    vision_lr: float
    global_batch: int
    device_batch: int
    epochs: float
    max_steps: int | None
    optimizer: str
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    max_grad_norm: float
    warmup_ratio: float
    final_lr_ratio: float
    loss_mean: str
    labels: str
    turns: str
    grouping: str
    aspect_ratio: str
    merge: str
    grid_pinpoints: tuple[tuple[int, int], ...]
    max_visual_tokens: int
    max_length: int
    max_frames: int
    video_fps: float
    precision: str
    recompute: bool
    workers: int
    seed: int
    save_every: int
    drop_last: bool
    rounded_share: float


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A recipe, and where each of its values comes from."""

    recipe: Recipe
    origins: Mapping[str, str]


# One line per field, in the order of Recipe, as --help and docs/training.md have it.
MEANINGS: dict[str, str] = {
    "stage": "the stage of training",
    "size": "the size of the language model",
    "start_from": "what it starts from: a stage by name, `parts` (SigLIP and Qwen2), a checkpoint folder or a Hub id",
    "data": "mixture: a YAML, JSON or JSONL file, or the name of a shipped mixture",
    "template": "conversation template",
    "trainable": "parts that are trained; tables and image_newline are the language model's",
    "language_lr": "peak learning rate of the language model",
    "projector_lr": "peak learning rate of the projector",
    "vision_lr": "peak learning rate of the vision tower",
    "global_batch": "samples per step, over all devices and micro-batches",
    "device_batch": "samples per micro-batch, on one device",
    "epochs": "times that the data is gone through",
    "max_steps": "steps after which the stage ends, whatever the epochs",
    "optimizer": "optimizer",
    "betas": "decay of the optimizer's first and second moments",
    "eps": "the optimizer's epsilon",
    "weight_decay": "weight decay of matrices",
    "max_grad_norm": "norm that gradients are clipped to",
    "warmup_ratio": "share of the steps in which the rates rise",
    "final_lr_ratio": "share of the peak that the cosine ends at",
    "loss_mean": "what the loss is a mean over: tokens of a micro-batch or of the step, or exchanges of a micro-batch",
    "labels": "which tokens are learned",
    "turns": "what an exchange sees: the whole conversation before it, or only the media and the system turn",
    "grouping": "which samples share a micro-batch",
    "aspect_ratio": "how one image becomes views",
    "merge": "how views become a sequence",
    "grid_pinpoints": "grids of tiles, rows x columns, that an image may be laid on",
    "max_visual_tokens": "tokens of the views of one image; follows from aspect_ratio and grid_pinpoints",
    "max_length": "tokens that a sample is cut to, after images are expanded",
    "max_frames": "frames that a video is thinned to",
    "video_fps": "frames taken per second of video",
    "precision": "precision of the forward pass",
    "recompute": "compute activations again in the backward pass, to save memory",
    "workers": "processes that load data, per device",
    "seed": "seed of everything random",
    "save_every": "steps between saved states",
    "drop_last": "leave out the samples that do not fill a step",
    "rounded_share": "last share of the steps in which language weights are as int4 rounds them",
}
FIELDS: tuple[str, ...] = tuple(field.name for field in fields(Recipe))
