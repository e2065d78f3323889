"""The decoder's contract (cache form "delta") as numbers: what its graph takes and gives for one conversation.

Inputs and outputs are those of docs/bundle-format.md. The past comes in; only the rows of new tokens go out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ovengines.bundle.manifest import GraphSpec, ModelSpec, TensorSpec
from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.backend import Device, Executor
from ovengines.tensorrt.profiles import Bounds

CACHE_FORM = "delta"
HIDDEN = np.float32(-1e9)  # what the mask adds to what is not to be seen; its exponential is 0 in any type
ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4}


@dataclass(frozen=True, kw_only=True)
class DecoderSpec:
    """Sizes of a decoder and the names of its tensors."""

    inputs: tuple[TensorSpec, ...]
    bounds: Bounds
    hidden: int
    vocab_size: int
    row_bytes: int  # of one token in one plane of the cache
    past_names: tuple[str, ...]  # by plane
    new_names: tuple[str, ...]  # by plane

    @property
    def planes(self) -> int:
        return len(self.past_names)


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """Tokens that follow each other in one conversation, and the positions among them whose logits are wanted.

    Axes: S tokens, T visual tokens, D width, K rows of logits. `embed_index_S` is -1 for text.
    """

    ids_S: NDArray[np.int64]
    embed_index_S: NDArray[np.int64]
    image_embeds_TD: NDArray[np.float32]
    logits_index_K: NDArray[np.int64]

    def part(self, start: int, stop: int, wanted: NDArray[np.intp]) -> Chunk:
        """Tokens `start` to `stop`, and of the logits those numbered `wanted`."""
        return Chunk(
            ids_S=self.ids_S[start:stop],
            embed_index_S=self.embed_index_S[start:stop],
            image_embeds_TD=self.image_embeds_TD,
            logits_index_K=self.logits_index_K[wanted] - start,
        )


class Outputs:
    """Where both profiles of a decoder leave what they give."""

    def __init__(self, device: Device, spec: DecoderSpec) -> None:
        self.logits = device.allocate(4 * spec.bounds.logits_rows * spec.vocab_size)
        self.ids = device.allocate(4 * spec.bounds.logits_rows)
        self.sums = device.allocate(4 * spec.bounds.logits_rows)

    def bind(self, executor: Executor) -> None:
        executor.bind("logits", self.logits.address)
        executor.bind("greedy_ids", self.ids.address)
        executor.bind("logits_sum", self.sums.address)


def decoder_spec(graph: GraphSpec, model: ModelSpec, bounds: Bounds) -> DecoderSpec:
    """Raises OVError (BUNDLE_INVALID) for a decoder of another form."""
    missing = {"logits", "greedy_ids", "logits_sum"} - {tensor.name for tensor in graph.outputs}
    if graph.cache_form != CACHE_FORM or missing:
        form = f"keeps its cache in the form {graph.cache_form!r}, not {CACHE_FORM!r}"
        raise OVError(
            ExitCode.BUNDLE_INVALID,
            f"{graph.file} {f'does not give {min(missing)}' if missing else form}",
            "build the bundle again with: ovexport build --target tensorrt",
        )
    planes = [f"{layer}.{kind}" for layer in range(model.num_layers) for kind in ("key", "value")]
    dtypes = {tensor.name: tensor.dtype for tensor in (*graph.inputs, *graph.outputs)}
    return DecoderSpec(
        inputs=graph.inputs,
        bounds=bounds,
        hidden=model.hidden,
        vocab_size=model.vocab_size,
        row_bytes=model.num_kv_heads * model.head_dim * ITEM_BYTES[dtypes["past_key_values.0.key"]],
        past_names=tuple(f"past_key_values.{plane}" for plane in planes),
        new_names=tuple(f"new_key_values.{plane}" for plane in planes),
    )


def set_shapes(executor: Executor, inputs: tuple[TensorSpec, ...], sizes: dict[str, int]) -> None:
    """The shape of every input whose axes vary, from what each axis is now."""
    for tensor in inputs:
        if any(isinstance(size, str) for size in tensor.shape):
            shape = tuple(size if isinstance(size, int) else sizes[size] for size in tensor.shape)
            executor.set_shape(tensor.name, shape)
