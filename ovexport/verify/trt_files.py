"""Runs the graph files for TensorRT on ONNX Runtime's CPU provider, to compare them with PyTorch where no GPU is.

The very files of the bundle, changed in memory only where this provider can't take them: the plugin's node gets its
function's body, and bfloat16, which it has no matrix product for, becomes float32 (the weights keep their rounding).
This proves graphs, weights and the form of the cache; not what TensorRT makes of them, which is checked on the device.

Axes: as in ovengines/engine.py; C past tokens, G key/value heads, E head width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from ovengines.bundle.reader import Bundle
from ovengines.engine import Float32, Int64
from ovexport.graphs.token_pool import token_pool_function
from ovexport.verify.widened import widen_bfloat16

HIDDEN = -1e9  # added to the score of a token that is not to be seen


class TrtCache:
    """Past keys and values of one conversation, token-major, with one row to begin with that the mask hides."""

    def __init__(self, names: list[str], shape_BGE: tuple[int, int, int], dtype: str) -> None:
        self.length = 0
        self.past = {name: np.zeros((1, *shape_BGE), dtype) for name in names}

    def append(self, new: dict[str, np.ndarray], tokens: int) -> None:
        for name, past_CBGE in self.past.items():
            kept_CBGE = past_CBGE[: 1 + self.length]
            self.past[name] = np.concatenate([kept_CBGE, new[name.replace("past_", "new_")]])
        self.length += tokens

    def rewind(self, slot: int, length: int) -> None:
        self.past = {name: past_CBGE[: 1 + length] for name, past_CBGE in self.past.items()}
        self.length = length


class TrtFiles:
    """The part of `ovengines.Engine` that a comparison needs."""

    name = "onnxruntime-cpu on the TensorRT files"

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        self.bundle, self._threads = bundle, threads or 0
        self._sessions: dict[str, ort.InferenceSession] = {}

    def encode(self, pixels_NCHW: Float32) -> Float32:
        return np.asarray(self._session("vision").run(None, {"pixel_values": pixels_NCHW})[0])

    def project(self, features_NPD: Float32, indices_T4: NDArray[np.int32], weights_T4: Float32) -> Float32:
        feeds = {"features": features_NPD, "indices": indices_T4, "weights": weights_T4}
        return np.asarray(self._session("projector").run(None, feeds)[0])

    def new_cache(self, capacity: int) -> TrtCache:
        model = self.bundle.manifest.model
        inputs = [i for i in self._session("decoder").get_inputs() if i.name.startswith("past_key_values.")]
        dtype = "float16" if inputs[0].type == "tensor(float16)" else "float32"
        return TrtCache([i.name for i in inputs], (1, model.num_kv_heads, model.head_dim), dtype)

    def decode(
        self,
        cache: TrtCache,
        ids_BS: Int64,
        *,
        logits_index_BK: Int64,
        embed_index_BS: Int64 | None = None,
        image_embeds_TD: Float32 | None = None,
    ) -> Float32:
        """As `Engine.decode` for one conversation. Zero sizes get a row that nobody looks at, as on the device."""
        (_, new), asked = ids_BS.shape, logits_index_BK.shape[1]
        no_embeds_TD = np.zeros((1, self.bundle.manifest.model.hidden), np.float32)
        feeds = {
            "input_ids": ids_BS,
            "embed_index": np.full_like(ids_BS, -1) if embed_index_BS is None else embed_index_BS,
            "image_embeds": no_embeds_TD if image_embeds_TD is None or not len(image_embeds_TD) else image_embeds_TD,
            "logits_index": logits_index_BK if asked else np.zeros((1, 1), np.int64),
            "position_ids": np.arange(cache.length, cache.length + new)[None],
            "attention_mask": causal_mask(1 + cache.length, new),
            **cache.past,
        }
        session = self._session("decoder")
        outputs = dict(zip((o.name for o in session.get_outputs()), session.run(None, feeds), strict=True))
        cache.append(outputs, new)
        finite_BK = np.isfinite(outputs["logits"]).all(-1)  # what overflowed is for the report to tell
        assert np.array_equal(outputs["greedy_ids"][finite_BK], outputs["logits"].argmax(-1)[finite_BK])
        assert np.array_equal(np.isfinite(outputs["logits_sum"]), finite_BK)
        return np.asarray(outputs["logits"][:, :asked])

    def _session(self, role: str) -> ort.InferenceSession:
        if role not in self._sessions:
            self._sessions = {
                role: open_on_cpu(self.bundle.graph_file(self.bundle.manifest.graph(role, "trt")), self._threads)
            }
        return self._sessions[role]


def causal_mask(past: int, new: int) -> Float32:
    """[1, 1, 1, S, C + S]: the first row of the past is no token, the others are; of the new ones, those before."""
    mask_SC = np.where(np.tri(new, past + new, past, dtype=bool), 0, HIDDEN)
    mask_SC[:, 0] = HIDDEN
    return mask_SC.astype(np.float32)[None, None, None]


def open_on_cpu(path: Path, threads: int = 0) -> ort.InferenceSession:
    """A session on a graph file for TensorRT; 0 threads are all."""
    model = onnx.load(str(path), load_external_data=False)
    model.functions.append(token_pool_function())
    widen_bfloat16(model)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    # TensorRT multiplies 4-bit weights with 16-bit activations; here they would be rounded to 8 bits
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
