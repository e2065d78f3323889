"""The language model in PyTorch with its weights rounded as a quantised bundle has them.

Against this a quantised decoder has to be close: what remains is the rounding of activations, not that of weights, so
a wrong position or a wrong scale shows that would drown in the rounding of 4-bit weights. Each weight is rounded when
it is used, some rows at a time; no second copy of the model is made.

Axes: B batch, S positions, K kept positions, D width, V vocabulary, O rows and I columns of a matrix.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ovexport.model import OneVision, weights_upcast
from ovexport.model.upcast import linear_by_rows
from ovexport.precision.blocks import BlockForm, dequantize_blocks
from ovexport.precision.policy import BLOCK_FORMS, Policy

CHUNK_ELEMENTS = 1 << 22  # rounding holds about eight times that in float32 for a moment


def has_rounded_decoder(policy: Policy) -> bool:
    return policy.decoder in BLOCK_FORMS


def rounded_logits(
    model: OneVision,
    policy: Policy,
    ids_1S: torch.Tensor,
    image_embeds_TD: torch.Tensor,
    embed_index_1S: torch.Tensor,
    positions_K: torch.Tensor,
) -> torch.Tensor:
    """logits_KV in float32 of one pass over the prompt; the language model's own tensors are left as they are."""
    language_model = model.language_model
    table, form = BLOCK_FORMS.get(policy.table), BLOCK_FORMS.get(policy.decoder)
    with weights_upcast(language_model):
        for leaf in language_model.modules():
            if isinstance(leaf, nn.Embedding):
                leaf.forward = _rounded_embedding(leaf, table)  # type: ignore[assignment, method-assign]
            elif isinstance(leaf, nn.Linear):
                leaf.forward = _rounded_linear(leaf, form)  # type: ignore[assignment, method-assign]
        embeds_1SD = model.merge(ids_1S, image_embeds_TD, embed_index_1S)
        hidden_KD = language_model(embeds_1SD)[0, positions_K]
        return linear(hidden_KD, language_model.head_weight_VD, table)


def linear(x: torch.Tensor, weight_OI: torch.Tensor, form: BlockForm | None) -> torch.Tensor:
    """x @ rounded(weight)'."""
    return linear_by_rows(x, weight_OI, lambda chunk_OI: rounded(chunk_OI, form), CHUNK_ELEMENTS)


def rounded(weight_OI: torch.Tensor, form: BlockForm | None) -> torch.Tensor:
    """The matrix that the blocks stand for, float32; None leaves its values as they are."""
    if form is None or form.block_for(weight_OI.shape[1]) is None:
        return weight_OI.float()
    return dequantize_blocks(form.quantize(weight_OI), weight_OI.shape[1])


def _rounded_linear(leaf: nn.Linear, form: BlockForm | None) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(x_BSD: torch.Tensor) -> torch.Tensor:
        y_BSD = linear(x_BSD, leaf.weight, form)
        return y_BSD if leaf.bias is None else y_BSD + leaf.bias.float()

    return forward


def _rounded_embedding(leaf: nn.Embedding, form: BlockForm | None) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda ids_BS: rounded(leaf.weight[ids_BS.flatten()], form).unflatten(0, ids_BS.shape)
