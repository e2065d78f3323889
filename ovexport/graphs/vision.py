"""The tower: SigLIP, pixels of tiles -> features of patches. The tile count is free.

Axes: N tiles, C channels, H W pixels, P patches of a tile, D width of the tower. Mirrors ovexport/model/siglip.py.
"""

from __future__ import annotations

from ovexport.graphs.builder import GraphBuilder
from ovexport.graphs.forms import Forms, Linear, Norm
from ovexport.model.config import VisionConfig
from ovexport.precision import weights as W

TOWER = "vision_tower"


def build_vision(forms: Forms, config: VisionConfig, linear_form: str) -> GraphBuilder:
    """`pixel_values` [tiles, 3, H, W] float32 -> `features` [tiles, P, D] float32."""
    b = forms.builder
    size, patches = config.image_size_px, config.patches_per_side**2
    pixels = b.input("pixel_values", "float32", ["tiles", config.num_channels, size, size])
    x = _embed_patches(forms, pixels, config)
    normed = forms.layer_norm(x, _norm(config, 0, "layer_norm1"))
    for layer in range(config.num_layers):
        with b.scope(f"{TOWER}.{layer}"):
            attended = _attention(forms, normed, config, layer, linear_form)
            x, normed = forms.add_layer_norm(x, attended, _norm(config, layer, "layer_norm2"))
            mlp = _mlp(forms, normed, config, layer, linear_form)
            if layer + 1 < config.num_layers:
                x, normed = forms.add_layer_norm(x, mlp, _norm(config, layer + 1, "layer_norm1"))
            else:
                x = forms.add(x, mlp)  # the residual stream itself: post_layernorm is not applied
    b.output(forms.stream_to_float32(x), "features", "float32", ["tiles", patches, config.hidden])
    return b


def _embed_patches(forms: Forms, pixels: str, config: VisionConfig) -> str:
    b, name, patch = forms.builder, f"{TOWER}.patch_embedding", config.patch_size_px
    shape = (config.hidden, config.num_channels, patch, patch)
    kernel = b.weight(f"{name}.weight", W.array(forms.source, f"{name}.weight", forms.patches, shape))
    bias = b.weight(f"{name}.bias", W.vector(forms.source, [f"{name}.bias"], forms.patches, config.hidden))
    inputs = [forms.to_patches(pixels), kernel, bias]
    grid_NDHW = b.op("Conv", inputs, strides=[patch, patch], kernel_shape=[patch, patch])
    flat_NDP = b.op("Reshape", [grid_NDHW, b.const([0, 0, -1])])
    x_NPD = forms.to_stream(b.op("Transpose", [flat_NDP], perm=[0, 2, 1]), forms.patches)
    positions = f"{TOWER}.position_embedding.weight"
    shape_PD = (config.patches_per_side**2, config.hidden)
    return str(b.op("Add", [x_NPD, b.weight(positions, W.array(forms.source, positions, forms.stream, shape_PD))]))


def _attention(forms: Forms, x: str, config: VisionConfig, layer: int, linear_form: str) -> str:
    path, hidden = f"{TOWER}.layers.{layer}.self_attn", config.hidden
    names = tuple(f"{path}.{kind}_proj" for kind in "qkv")
    qkv = forms.linear(x, Linear(names=names, rows=3 * hidden, columns=hidden, bias=True, form=linear_form))
    q, k, v = forms.builder.op("Split", [qkv, forms.builder.const([hidden] * 3)], outputs=3, axis=-1)
    attended = forms.attention(q, k, v, config.num_heads, hidden // config.num_heads)
    out = Linear(names=(f"{path}.out_proj",), rows=hidden, columns=hidden, bias=True, form=linear_form)
    return forms.linear(attended, out)


def _mlp(forms: Forms, x: str, config: VisionConfig, layer: int, linear_form: str) -> str:
    path, wide, hidden = f"{TOWER}.layers.{layer}.mlp", config.intermediate, config.hidden
    up = Linear(names=(f"{path}.fc1",), rows=wide, columns=hidden, bias=True, form=linear_form)
    down = Linear(names=(f"{path}.fc2",), rows=hidden, columns=wide, bias=True, form=linear_form)
    return forms.linear(forms.gelu_tanh(forms.linear(x, up)), down)


def _norm(config: VisionConfig, layer: int, kind: str) -> Norm:
    return Norm(name=f"{TOWER}.layers.{layer}.{kind}", size=config.hidden, eps=config.layer_norm_eps)
