"""OpenVINO on the ONNX files of optimum-onnx's export, with its latency hint and the thread count.

The decoder is made stateful, as OpenVINO's own tools do, so that keys and values stay inside between steps; what the
plugin chooses itself (inference precision, precision of the cache, dynamic quantisation) is left as it is and noted
with the versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import random_ids, random_tiles
from benchmarks.peers.contestant import Float32, timed_ms

NOTED = ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION", "DYNAMIC_QUANTIZATION_GROUP_SIZE")


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
        chosen = {name.lower(): str(self._compiled.get_property(name)) for name in NOTED}
        return {"openvino": self._ov.__version__, **chosen}

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
        if context not in self._states:
            self._forget()
            self._step(random_ids(context))
            self._states[context] = [np.array(state.state.data) for state in self._request.query_state()]
        self._forget()
        for state, values in zip(self._request.query_state(), self._states[context], strict=True):
            state.state = self._ov.Tensor(values)
        self._held = context
        tokens = random_ids(steps, seed=1)
        return timed_ms(lambda: [self._step([token]) for token in tokens]) / steps

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


def start(folder: str, threads: int, precision: str | None = None) -> OpenVino:
    return OpenVino(folder, threads, precision)
