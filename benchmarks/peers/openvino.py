"""OpenVINO on the ONNX files of optimum-onnx's export, with its latency hint and the thread count.

The decoder is made stateful, as OpenVINO's own tools do, so that keys and values stay inside between steps. The plugin
does not fuse attention in this export (its runtime graph has no ScaledDotProductAttention, nor has it any where the
operator is put into the graph beforehand, which makes a step no faster): keys and values are joined anew each step, and
its property for the precision of the cache, which is of the fused node, says nothing. What else it
chooses itself (inference precision, dynamic quantisation) is left as it is and noted with the versions. The export has
no choice of rows: it gives the logits of every position of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import random_ids, random_tiles
from benchmarks.peers.contestant import Float32, timed_ms

NOTED = ("INFERENCE_PRECISION_HINT", "DYNAMIC_QUANTIZATION_GROUP_SIZE")
OF_FUSED_ATTENTION = "KV_CACHE_PRECISION"
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "f32": "fp32", "bf16": "bf16", "f16": "fp16"}


def import_all() -> None:
    import openvino  # noqa: F401


class OpenVino:
    def __init__(self, folder: str, threads: int, precision: str | None = None) -> None:
        """`precision`: for INFERENCE_PRECISION_HINT, by default the plugin's own choice."""
        import openvino

        self._core, self._folder, self._ov = openvino.Core(), Path(folder), openvino
        self._config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        if precision:
            self._config["INFERENCE_PRECISION_HINT"] = precision
        self._tower: Any = None
        self._held = 0  # tokens in the state
        self._states: dict[int, list[Any]] = {}  # by context, to go back to
        self._compiled = self._core.compile_model(self._stateful(), "CPU", self._config)
        self._request = self._compiled.create_infer_request()

    def versions(self) -> dict[str, str]:
        noted = [*NOTED, *([OF_FUSED_ATTENTION] if is_fused(self._compiled) else [])]
        return {"openvino": self._ov.__version__, **{name.lower(): self._chosen(name) for name in noted}}

    def precision(self) -> str:
        return PRECISIONS[self._chosen("INFERENCE_PRECISION_HINT")]

    def _chosen(self, name: str) -> str:
        value = self._compiled.get_property(name)
        return str(value.get_type_name() if hasattr(value, "get_type_name") else value)

    def features(self, tiles: int) -> Float32:
        """After the tower's last norm, without which it is not exported."""
        return np.asarray(self._open_tower().infer([random_tiles(tiles)])[0])

    def logits(self, ids: Sequence[int], forced: Sequence[int]) -> Float32:
        self._forget()
        chunks = (ids, *([token] for token in forced))
        return np.stack([self._step(list(chunk))[0, -1].copy() for chunk in chunks])  # of memory that is used again

    def encode(self, tiles: int) -> float:
        pixels, request = random_tiles(tiles), self._open_tower()
        return timed_ms(lambda: request.infer([pixels]))

    def prefill(self, tokens: int) -> float:
        self._forget()
        return timed_ms(lambda: self._step(random_ids(tokens)))

    def decode(self, context: int, steps: int) -> float:
        self._go_back(context)
        untimed, *tokens = random_ids(1 + steps, seed=1)
        self._step([untimed])  # the first step on a state that was put there takes longer than those after it
        return timed_ms(lambda: [self._step([token]) for token in tokens]) / steps

    def resumed(self, context: int, forced: Sequence[int]) -> Float32:
        self.decode(context, 2)
        self._go_back(context)
        return np.stack([self._step([token])[0, -1].copy() for token in forced])

    def _stateful(self) -> Any:
        """The decoder with its past inputs and present outputs joined into state, empty at first."""
        from openvino._offline_transformations import apply_make_stateful_transformation

        model = self._core.read_model(self._folder / "language" / "model.onnx")
        pairs = {}
        for port in model.inputs:
            name = port.get_any_name()
            if name.startswith("past_key_values"):
                pairs[name] = name.replace("past_key_values", "present")
                shape = port.get_partial_shape()
                shape[0] = 1
                port.get_node().set_partial_shape(shape)
        model.validate_nodes_and_infer_types()
        apply_make_stateful_transformation(model, pairs)
        return model

    def _go_back(self, context: int) -> None:
        if context not in self._states:
            self._forget()
            self._step(random_ids(context))
            self._states[context] = [np.array(state.state.data) for state in self._request.query_state()]
        self._forget()
        for state, values in zip(self._request.query_state(), self._states[context], strict=True):
            state.state = self._ov.Tensor(values)
        self._held = context

    def _forget(self) -> None:
        self._request.reset_state()
        self._held = 0

    def _step(self, ids: list[int]) -> Any:
        until = self._held + len(ids)
        feeds = {
            "input_ids": np.array([ids]),
            "attention_mask": np.ones((1, until), np.int64),
            "position_ids": np.arange(self._held, until)[None],
        }
        outputs = self._request.infer({name: feeds[name] for name in feeds if self._takes(name)}, share_outputs=True)
        self._held = until
        return outputs["logits"]

    def _takes(self, name: str) -> bool:
        return any(name in port.get_names() for port in self._compiled.inputs)

    def _open_tower(self) -> Any:
        if self._tower is None:
            model = self._core.read_model(self._folder / "tower" / "model.onnx")
            self._tower = self._core.compile_model(model, "CPU", self._config).create_infer_request()
        return self._tower


def is_fused(compiled: Any) -> bool:
    """Whether the plugin has made one node of attention and cache."""
    nodes = compiled.get_runtime_model().get_ops()
    return any(node.get_rt_info()["layerType"].astype(str) == "ScaledDotProductAttention" for node in nodes)


def start(folder: str, threads: int, precision: str | None = None) -> OpenVino:
    return OpenVino(folder, threads, precision)
