"""The projector: features of the tower -> rows as wide as the language model (the MLP of the paper's figure
1).

Legend: N tiles, P patches of a tile, D width of its end. Works on every tile before any stitching or pooling.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Projector(nn.Module):
    """[N, P, Dv] -> [N, P, D]. The GELU is the exact (erf) one; the tower's is the tanh form."""

    def __init__(self, vision_hidden: int, hidden: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(vision_hidden, hidden)
        self.linear_2 = nn.Linear(hidden, hidden)

    def forward(self, features_NPD: torch.Tensor) -> torch.Tensor:
        return self.linear_2(F.gelu(self.linear_1(features_NPD)))
