"""What rounding to 8 bits costs the tower where activations have outlier channels. `python -m benchmarks.outliers`

The layers of SigLIP so400m at their real shape with random weights, in which a few channels of what every matrix reads
are made a factor larger than the others, as in trained towers: by the norms' weights and biases before queries, keys,
values and fc1, by the rows of the matrix before the output of attention and fc2. The columns that read them are made
smaller, so that they carry half of each product and nothing saturates. Each layer is given what the layers before it
make in float32 (its error relative to what it adds to the residual stream), and what they make in the same form (errors
add up).

All forms have the same 8-bit weights, but for smoothed ones. Ours are the very products of the bundle, run by ONNX
Runtime; the others are calculated in PyTorch with rounded activations.

Axes: P patches, N rows (outputs), K columns (inputs).
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import onnxruntime as ort
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import nn

from benchmarks.shapes import SO400M
from ovexport.graphs.builder import GraphBuilder, Weight
from ovexport.graphs.forms import Linear
from ovexport.graphs.ort import OrtForms
from ovexport.model import VisionConfig
from ovexport.model.siglip import VisionLayer
from ovexport.precision.blocks import dequantize_blocks
from ovexport.precision.policy import BLOCK_FORMS, policy_for

FACTORS = (1, 30, 100)
PATCHES = 243  # a third of a tile, in a third of the time
CHANNELS = 8  # with outliers, the same ones in every layer
OURS = policy_for("int8", "ort").vision
QUERY_GAIN = 1.5  # of queries and keys, so that attention looks at some patches and not at all alike
NOT_SMOOTHED = "mlp.fc2"  # GELU stands between it and the rows that would have to be made smaller

Round = Callable[[torch.Tensor], torch.Tensor]
Products = dict[str, nn.Module]  # by the name of the linear layer


def round_rows(x_PK: torch.Tensor) -> torch.Tensor:
    """To 8 bits with a scale and a zero point for each patch, as DynamicQuantizeLinear has them for a tensor."""
    return _round_between(x_PK, x_PK.amin(-1, keepdim=True), x_PK.amax(-1, keepdim=True))


def round_tensor(x_PK: torch.Tensor) -> torch.Tensor:
    return _round_between(x_PK, x_PK.min(), x_PK.max())


def round_blocks(x_PK: torch.Tensor, size: int = 32) -> torch.Tensor:
    """Symmetric, by blocks of each patch: what MatMulNBits does at accuracy level 4."""
    columns = x_PK.shape[-1]
    x_PGE = F.pad(x_PK, (0, -columns % size)).unflatten(-1, (-1, size))
    scale_PG1 = (x_PGE.abs().amax(-1, keepdim=True) / 127).clamp_min(1e-20)
    return ((x_PGE / scale_PG1).round() * scale_PG1).flatten(-2)[..., :columns]


def _round_between(x_PK: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    low, high = low.clamp_max(0), high.clamp_min(0)
    scale = ((high - low) / 255).clamp_min(1e-20)
    zero = (-low / scale).round()
    return ((x_PK / scale + zero).round().clamp(0, 255) - zero) * scale


@dataclass(frozen=True, kw_only=True)
class Form:
    """How activations are rounded (None: by ONNX Runtime in the product). `smooths`: what is large in activations goes
    half-way into the weights first (SmoothQuant with 0.5), wherever a norm or a matrix before can take that up."""

    name: str
    rounding: Round | None
    smooths: bool = False


FORMS = (
    Form(name="weights only", rounding=lambda x_PK: x_PK),
    Form(name="ours: by blocks of 32", rounding=None),
    Form(name="ours, smoothed", rounding=None, smooths=True),
    Form(name="by row", rounding=round_rows),
    Form(name="by row, smoothed", rounding=round_rows, smooths=True),
    Form(name="by tensor", rounding=round_tensor),
)


class RoundedProduct(nn.Module):
    """With weights that are rounded already."""

    def __init__(self, rounded_NK: torch.Tensor, bias_N: torch.Tensor, rounding: Round) -> None:
        super().__init__()
        self.rounded_NK, self.bias_N, self.rounding = rounded_NK, bias_N, rounding

    def forward(self, x_PK: torch.Tensor) -> torch.Tensor:
        return F.linear(self.rounding(x_PK), self.rounded_NK, self.bias_N)


class OurProduct(nn.Module):
    """The nodes that a bundle has for this matrix, in ONNX Runtime."""

    def __init__(self, weight_NK: torch.Tensor, bias_N: torch.Tensor) -> None:
        super().__init__()
        tensors = {"product.weight": weight_NK, "product.bias": bias_N}
        builder = GraphBuilder("product", opset=21)
        forms = OrtForms(builder=builder, source=tensors.__getitem__, dtype="float32", attention_form="group_query")
        rows, columns = weight_NK.shape
        spec = Linear(names=("product",), rows=rows, columns=columns, bias=True, form=OURS)
        y = forms.linear(builder.input("x", "float32", ["tiles", "patches", columns]), spec)
        builder.output(y, "y", "float32", ["tiles", "patches", rows])
        model = builder.model()
        model.graph.initializer.extend(
            numpy_helper.from_array(_values(weight), name) for name, weight in builder.weights.items()
        )
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def forward(self, x_PK: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._session.run(None, {"x": x_PK.numpy()})[0])


def _values(weight: Weight) -> np.ndarray:
    return np.concatenate([piece.reshape(-1) for piece in weight.pieces()]).reshape(weight.shape)


class Smoothed(nn.Module):
    """Divides what a product takes, as a norm or a matrix before it would."""

    def __init__(self, product: nn.Module, scale_K: torch.Tensor) -> None:
        super().__init__()
        self.product, self.scale_K = product, scale_K

    def forward(self, x_PK: torch.Tensor) -> torch.Tensor:
        return self.product(x_PK / self.scale_K)


def random_layer(config: VisionConfig, factor: float, generator: torch.Generator) -> VisionLayer:
    """Products of the size of what they take, norms about 1, and `factor` times as much in CHANNELS channels."""
    layer = VisionLayer(config).requires_grad_(False)
    for name, module in layer.named_modules():
        if isinstance(module, nn.Linear):
            gain = QUERY_GAIN if name.endswith(("q_proj", "k_proj")) else 1.0
            module.weight.normal_(0, gain * module.in_features**-0.5, generator=generator)
            module.bias.normal_(0, 0.1, generator=generator)
        elif isinstance(module, nn.LayerNorm):
            module.weight.copy_(module.weight.normal_(0, 0.3, generator=generator).exp())
            module.bias.normal_(0, 0.1, generator=generator)
    if factor > 1:
        _plant(layer, factor)
    return layer


def _plant(layer: VisionLayer, factor: float) -> None:
    attention, mlp = layer.self_attn, layer.mlp
    for before, readers in (
        (layer.layer_norm1, (attention.q_proj, attention.k_proj, attention.v_proj)),
        (layer.layer_norm2, (mlp.fc1,)),
        (attention.v_proj, (attention.out_proj,)),
        (mlp.fc1, (mlp.fc2,)),
    ):
        width = before.bias.shape[0]
        chosen = torch.randperm(width, generator=torch.Generator().manual_seed(0))[:CHANNELS]
        before.weight[chosen] *= factor
        before.bias[chosen] *= factor
        for reader in readers:  # half of a product from the outliers, half from all others, as large as before
            reader.weight[:, chosen] *= ((width - CHANNELS) / CHANNELS) ** 0.5 / factor
            reader.weight /= 2**0.5


@dataclass(frozen=True, kw_only=True)
class Error:
    """`rms`: of the difference, relative; `cosine`: of the worst patch."""

    rms: float
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Of one form: the error of what each layer adds, given float32's input, and of the features after all layers."""

    layers: list[Error] = field(default_factory=list)
    features: list[Error] = field(default_factory=list)  # after each layer, all before it in this form


def error(found_PD: torch.Tensor, expected_PD: torch.Tensor) -> Error:
    rms = float((found_PD - expected_PD).norm() / expected_PD.norm())
    return Error(rms=rms, cosine=float(F.cosine_similarity(found_PD, expected_PD, dim=-1).min()))


@torch.inference_mode()
def measure(config: VisionConfig, factor: float, *, patches: int, seed: int = 0) -> dict[str, Measured]:
    """By form. One layer's weights are in memory at a time."""
    generator = torch.Generator().manual_seed(seed)
    x_PD = torch.randn(1, patches, config.hidden, generator=generator)
    found = {form.name: Measured() for form in FORMS}
    streams = {form.name: x_PD for form in FORMS}
    for _ in range(config.num_layers):
        layer = random_layer(config, factor, generator)
        y_PD, peaks = _with_peaks(layer, x_PD)
        for form, rounded in _rounded_layers(layer, peaks):
            streams[form.name] = rounded(streams[form.name])
            found[form.name].layers.append(error(rounded(x_PD) - x_PD, y_PD - x_PD))
            found[form.name].features.append(error(streams[form.name], y_PD))
        x_PD = y_PD
    return found


def _with_peaks(layer: VisionLayer, x_PD: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What the layer gives, and the largest that each channel of each linear layer's input is."""
    peaks: dict[str, torch.Tensor] = {}

    def note(name: str, _: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        peaks[name] = inputs[0].abs().flatten(0, -2).amax(0)

    hooks = [module.register_forward_pre_hook(partial(note, name)) for name, module in _linears(layer)]
    y_PD = layer(x_PD)
    for hook in hooks:
        hook.remove()
    return y_PD, peaks


def _linears(layer: VisionLayer) -> Iterator[tuple[str, nn.Linear]]:
    return ((name, module) for name, module in layer.named_modules() if isinstance(module, nn.Linear))


def _rounded_layers(layer: VisionLayer, peaks: dict[str, torch.Tensor]) -> Iterator[tuple[Form, VisionLayer]]:
    for smooths in (False, True):
        weights = {name: _weights(linear, peaks[name], smooths, name) for name, linear in _linears(layer)}
        for form in FORMS:
            if form.smooths == smooths:
                yield form, _with_products(layer, {name: weights[name].product(form) for name in weights})


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """Of one linear layer, for all forms that smooth it alike."""

    weight_NK: torch.Tensor
    rounded_NK: torch.Tensor
    bias_N: torch.Tensor
    scale_K: torch.Tensor

    def product(self, form: Form) -> nn.Module:
        if form.rounding is None:
            return Smoothed(OurProduct(self.weight_NK, self.bias_N), self.scale_K)
        return Smoothed(RoundedProduct(self.rounded_NK, self.bias_N, form.rounding), self.scale_K)


def _weights(linear: nn.Linear, peak_K: torch.Tensor, smooths: bool, name: str) -> _Weights:
    scale_K = torch.ones_like(peak_K)
    if smooths and name != NOT_SMOOTHED:
        scale_K = (peak_K / linear.weight.abs().amax(0)).clamp_min(1e-5) ** 0.5
    weight_NK = linear.weight * scale_K
    rounded_NK = dequantize_blocks(BLOCK_FORMS[OURS].quantize(weight_NK), weight_NK.shape[1])
    return _Weights(weight_NK=weight_NK, rounded_NK=rounded_NK, bias_N=linear.bias, scale_K=scale_K)


def _with_products(layer: VisionLayer, products: Products) -> VisionLayer:
    changed = copy.deepcopy(layer)
    for name, product in products.items():
        parent, _, child = name.rpartition(".")
        setattr(changed.get_submodule(parent), child, product)
    return changed


def table(found: dict[float, dict[str, Measured]]) -> str:
    """Markdown. Percent and the cosine of the worst patch."""
    layers = len(next(iter(next(iter(found.values())).values())).layers)
    thirds = [range(layers * i // 3, max(layers * (i + 1) // 3, layers * i // 3 + 1)) for i in range(3)]
    names = [f"layers {third.start + 1} to {third.stop}" for third in thirds]
    head = ["outliers", "activations", *names, "worst layer", "features after all layers"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for factor, forms in found.items():
        for name, one in forms.items():
            worst = Error(rms=max(e.rms for e in one.layers), cosine=min(e.cosine for e in one.layers))
            groups = [_mean([one.layers[i] for i in third]) for third in thirds]
            cells = [_cell(each) for each in (*groups, worst, one.features[-1])]
            lines.append(f"| {'none' if factor == 1 else f'x {factor:g}'} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(errors: Sequence[Error]) -> Error:
    """Of a group of layers: their mean, and their worst patch."""
    return Error(rms=statistics.fmean(e.rms for e in errors), cosine=min(e.cosine for e in errors))


def _cell(one: Error) -> str:
    return f"{one.rms:.2%} ({one.cosine:.4f})"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outliers", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--factors", type=float, nargs="+", default=FACTORS, help="how much larger outliers are; 1: there are none")
    add("--patches", type=int, default=PATCHES, help="a tile has 729")
    add("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    found = {}
    for factor in args.factors:
        started = time.perf_counter()
        found[factor] = measure(SO400M, factor, patches=args.patches)
        print(f"... x {factor:g}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
