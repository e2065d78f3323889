"""Linear warm-up, then a cosine: the learning rate as a share of its peak, a pure function of the step.

As transformers' `get_cosine_schedule_with_warmup`: the first step has rate zero. Every stage starts it anew.
"""

from __future__ import annotations

import math


def learning_rate_factor(step: int, total_steps: int, warmup_ratio: float, final_lr_ratio: float = 0.0) -> float:
    """The factor for `step`, counted from 0, of `total_steps`."""
    warmup_steps = math.ceil(total_steps * warmup_ratio)
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return final_lr_ratio + (1 - final_lr_ratio) * (1 + math.cos(math.pi * progress)) / 2
