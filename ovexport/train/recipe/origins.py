"""Where the values of the recipes come from, and the shape of the tables that say so.

Sources: the paper (arXiv 2408.03326), the scripts of LLaVA-VL/LLaVA-NeXT (scripts/train), the configurations of the
released checkpoints, and the defaults of the Trainer that the scripts run on. Where they disagree, the origin of a
value names the one followed and says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, tuple[Any, str]]  # field -> (value, origin)

PAPER = "paper table 1"
STAGE1 = "scripts pretrain_siglip.sh"
MID = "nearest script, direct_finetune_siglip_a4.sh"  # stage 1.5 has no released one
SI = "scripts finetune_si.sh"
OV = "scripts finetune_ov.sh"
STAGE2 = "scripts finetune_si.sh and finetune_ov.sh"
SCRIPTS = "scripts, all stages"
CONFIG = "released config of 7b-ov"
TRAINER = "Hugging Face default"
OURS = "ours"
TINY = "ours: ov-tiny"
ASKED = "asked for"
COMMAND_LINE = "command line"
FOLLOWS = "follows from aspect_ratio and grid_pinpoints"
