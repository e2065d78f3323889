"""Every stage of training with every size of model."""

from __future__ import annotations

import itertools

from ovexport.train.recipe.sizes import SIZES
from ovexport.train.recipe.stages import STAGES

STAGE_SIZES = list(itertools.product(STAGES, SIZES))
