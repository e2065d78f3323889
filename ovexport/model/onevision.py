"""LLaVA-OneVision: tower, projector, token pooling and language model joined; loss, greedy answers.

Legend: N tiles, P patches of a tile, D width, T visual tokens, R source rows, B batch, S positions, K
positions whose logits are asked for, V vocabulary rows. Takes tiles, token plans and ids that are made
elsewhere (`ovrun.tiling`, `ovrun.prompt`); knows no images and no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from ovexport.model.config import OneVisionConfig
from ovexport.model.projector import Projector
from ovexport.model.qwen2 import KVCache, LanguageModel
from ovexport.model.siglip import VisionTower

if TYPE_CHECKING:
    from ovrun.tiling.plan import TokenPlan

IGNORE_LABEL = -100
_LEAST_WEIGHT = 1e-6  # of a batch without labels


@dataclass
class Output:
    """A float32 scalar loss if there were labels, and logits [B, K, V] if they were wanted."""

    loss: torch.Tensor | None
    logits_BKV: torch.Tensor | None


class OneVision(nn.Module):
    """The model of the paper's figure 1. Fresh weights are random: normal(0, 0.02), zero biases."""

    def __init__(self, config: OneVisionConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.language.hidden
        self.vision_tower = VisionTower(config.vision)
        self.projector = Projector(config.vision.hidden, hidden)
        self.image_newline = nn.Parameter(torch.randn(hidden) * hidden**-0.5)
        self.language_model = LanguageModel(config.language)
        self.apply(_init_leaf)

    def forward(
        self,
        input_ids_BS: torch.Tensor,
        pixels_NCHW: torch.Tensor | None = None,
        plans: Sequence[TokenPlan] = (),
        *,
        labels_BS: torch.Tensor | None = None,
        embed_index_BS: torch.Tensor | None = None,
        logits_index_BK: torch.Tensor | None = None,
        positions_BS: torch.Tensor | None = None,
        visible_B1SS: torch.Tensor | None = None,
        loss_divisor: float | None = None,
        label_weights_BS: torch.Tensor | None = None,
        want_logits: bool = True,
        cache: KVCache | None = None,
    ) -> Output:
        """Logits, and the loss if there are labels.

        Args:
            input_ids_BS: int64; each visual token has a position of its own, holding the image (or video)
                token id or marked in `embed_index_BS`. Batches are padded on the right, with labels of -100
                there.
            pixels_NCHW: tiles of all images of the batch, in the order of `plans`; plan i takes the next
                `plans[i].num_tiles` of them and gives `len(plans[i].indices_T4)` visual tokens.
            labels_BS: ids that position s should have been; -100 is not counted. The shift is done here.
            embed_index_BS: see `merge`.
            positions_BS, visible_B1SS: see `LanguageModel.forward`; for rows that hold more than one sequence.
            loss_divisor: what the summed loss is divided by; None means the number of labels that count.
            label_weights_BS: how much each label counts in sum and number; None means one each.
            logits_index_BK: positions whose logits are returned; None means all. `want_logits=False`: none,
                for training (the loss then costs logits of supervised positions only).
            cache: see `LanguageModel.forward`.
        """
        image_embeds_TD = self.image_embeds(pixels_NCHW, plans) if pixels_NCHW is not None else None
        embeds_BSD = self.merge(input_ids_BS, image_embeds_TD, embed_index_BS)
        hidden_BSD = self.language_model(embeds_BSD, positions_BS, cache, visible_B1SS)
        loss = None if labels_BS is None else self.loss(hidden_BSD, labels_BS, loss_divisor, label_weights_BS)
        if not want_logits:
            return Output(loss, None)
        if logits_index_BK is not None:
            hidden_BSD = torch.take_along_dim(hidden_BSD, logits_index_BK[..., None], dim=1)
        return Output(loss, self.language_model.logits(hidden_BSD))

    def image_embeds(self, pixels_NCHW: torch.Tensor, plans: Sequence[TokenPlan]) -> torch.Tensor:
        """Tiles of several images, a plan for each -> visual tokens of all, [T, D], in the plans' order."""
        features_NPD = self.vision_tower(pixels_NCHW)
        per_image = features_NPD.split([plan.num_tiles for plan in plans])
        return torch.cat([self.pool(part_NPD, plan) for part_NPD, plan in zip(per_image, plans, strict=True)])

    def pool(self, features_NPD: torch.Tensor, plan: TokenPlan) -> torch.Tensor:
        """Features of one image's tiles -> its visual tokens [T, D], each a weighted sum of four rows.

        The rows are the projected patches of all tiles, then the newline. AnyRes stitching, unpadding,
        bilinear reduction and newlines are all in the plan.
        """
        device = features_NPD.device
        embeds_NPD = self.projector(features_NPD)
        newline_1D = self.image_newline[None].to(embeds_NPD.dtype)
        rows_RD = torch.cat([embeds_NPD.flatten(0, 1), newline_1D])
        indices_T4 = torch.as_tensor(plan.indices_T4, device=device).long()
        weights_T4 = torch.as_tensor(plan.weights_T4, device=device).to(rows_RD.dtype)
        if not plan.weights_T4[:, 1:].any():  # nothing is reduced: a gather, at a quarter of the work
            return rows_RD[indices_T4[:, 0]]
        return (rows_RD[indices_T4] * weights_T4[..., None]).sum(dim=1)

    def merge(
        self,
        input_ids_BS: torch.Tensor,
        image_embeds_TD: torch.Tensor | None,
        embed_index_BS: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Embeddings [B, S, D] of the ids, with visual tokens in place of the image (and video) token ids.

        `embed_index_BS` says which row of `image_embeds_TD` a position takes, -1 for text. Without it the
        rows are taken in order. Raises ValueError when positions and rows differ in number.
        """
        if embed_index_BS is None:
            embed_index_BS = self._rows_in_order(input_ids_BS)
            num_rows = 0 if image_embeds_TD is None else len(image_embeds_TD)
            if (num_positions := int((embed_index_BS >= 0).sum())) != num_rows:
                raise ValueError(f"{num_positions} image positions in the ids, but {num_rows} visual tokens")
        # The image token may have no row in the table, so its positions look up the padding token.
        text_ids_BS = input_ids_BS.masked_fill(embed_index_BS >= 0, self.config.pad_token_id)
        embeds_BSD = self.language_model.embed(text_ids_BS)
        if image_embeds_TD is None:
            return embeds_BSD
        if len(image_embeds_TD) == 0:  # the blank tile of a text-only batch: zero gradients instead of none
            return embeds_BSD + image_embeds_TD.sum()
        visual_BSD = image_embeds_TD[embed_index_BS.clamp(min=0)].to(embeds_BSD.dtype)
        return torch.where(embed_index_BS[..., None] >= 0, visual_BSD, embeds_BSD)

    def _rows_in_order(self, input_ids_BS: torch.Tensor) -> torch.Tensor:
        visual_BS = input_ids_BS == self.config.image_token_id
        if self.config.video_token_id is not None:
            visual_BS = visual_BS | (input_ids_BS == self.config.video_token_id)
        count_BS = visual_BS.flatten().cumsum(0).view_as(input_ids_BS)
        return torch.where(visual_BS, count_BS - 1, -1)

    def loss(
        self,
        hidden_BSD: torch.Tensor,
        labels_BS: torch.Tensor,
        divisor: float | None = None,
        weights_BS: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Cross-entropy, in float32, of label s+1 at position s, summed over the labels that are not -100.

        Divided by their number, or by `divisor`; with weights, both sums are weighted. Without such labels it is zero,
        and so are its gradients.
        """
        target_BS = labels_BS[:, 1:]
        supervised_BS = target_BS != IGNORE_LABEL
        logits_MV = self.language_model.logits(hidden_BSD[:, :-1][supervised_BS])
        loss_M = F.cross_entropy(logits_MV.float(), target_BS[supervised_BS], reduction="none")
        weight_M = torch.ones_like(loss_M) if weights_BS is None else weights_BS[:, 1:][supervised_BS]
        return (loss_M * weight_M).sum() / (weight_M.sum().clamp(min=_LEAST_WEIGHT) if divisor is None else divisor)

    @torch.no_grad()
    def generate(
        self,
        input_ids_S: torch.Tensor,
        pixels_NCHW: torch.Tensor | None = None,
        plans: Sequence[TokenPlan] = (),
        *,
        max_new_tokens: int,
        eos_token_ids: Sequence[int] | None = None,
    ) -> list[int]:
        """Greedy answer to one prompt: new ids, with the end-of-sequence id (as transformers' generate)."""
        stop = set(self.config.eos_token_ids if eos_token_ids is None else eos_token_ids)
        image_embeds_TD = self.image_embeds(pixels_NCHW, plans) if pixels_NCHW is not None else None
        embeds_BSD = self.merge(input_ids_S[None], image_embeds_TD)
        cache: KVCache = []
        new_ids: list[int] = []
        while len(new_ids) < max_new_tokens:
            hidden_BSD = self.language_model(embeds_BSD, cache=cache)
            next_id_1 = self.language_model.logits(hidden_BSD[:, -1]).argmax(dim=-1)
            new_ids.append(int(next_id_1))
            if new_ids[-1] in stop:
                break
            embeds_BSD = self.language_model.embed(next_id_1[None])
        return new_ids


def _init_leaf(module: nn.Module) -> None:
    """normal(0, 0.02) weights and zero biases; norms keep their ones."""
    if isinstance(module, (nn.Linear, nn.Conv2d, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
        if getattr(module, "bias", None) is not None:
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
