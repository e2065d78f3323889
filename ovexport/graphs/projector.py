"""The projector: features of tiles and a token plan -> visual tokens: two linears, the newline row, the pooling.

Axes: N tiles, P patches of a tile, D width, R source rows (all patches, then the newline), T visual tokens.
Mirrors ovexport/model/projector.py and OneVision.pool; the plan carries all of the geometry, the graph none.
"""

from __future__ import annotations

from ovexport.graphs.builder import GraphBuilder
from ovexport.graphs.forms import Forms, Linear
from ovexport.model.config import OneVisionConfig
from ovexport.precision import weights as W


def build_projector(forms: Forms, config: OneVisionConfig, linear_form: str) -> GraphBuilder:
    """`features`, `indices` [T, 4] int32, `weights` [T, 4] float32 -> `image_embeds` [T, D] float32."""
    b, hidden, wide = forms.builder, config.language.hidden, config.vision.hidden
    features = b.input("features", "float32", ["tiles", config.vision.patches_per_side**2, wide])
    indices = b.input("indices", "int32", ["tokens", 4])
    weights = b.input("weights", "float32", ["tokens", 4])
    first = Linear(names=("projector.linear_1",), rows=hidden, columns=wide, bias=True, form=linear_form)
    second = Linear(names=("projector.linear_2",), rows=hidden, columns=hidden, bias=True, form=linear_form)
    x_NPD = forms.linear(forms.gelu_erf(forms.linear(forms.from_float32(features), first)), second)
    patches_RD = b.op("Reshape", [x_NPD, b.const([-1, hidden])])
    newline = b.weight("image_newline", W.array(forms.source, "image_newline", forms.dtype, (1, hidden)))
    rows_RD = b.op("Concat", [patches_RD, newline], axis=0)
    embeds_TD = forms.token_pool(rows_RD, indices, weights)
    b.output(forms.to_float32(embeds_TD), "image_embeds", "float32", ["tokens", hidden])
    return b
