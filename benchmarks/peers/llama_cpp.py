"""llama.cpp through llama-cpp-python: the language model as GGUF, quantised by llama.cpp's own quantiser.

Threads are set for steps and batches alike; batch and micro-batch are its defaults of 512, keys and values in float16.
Flash attention is llama.cpp's own default, which tries it and keeps it where it runs.
"""

from __future__ import annotations

import ctypes
import json
import struct
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import random_ids
from benchmarks.peers.contestant import Float32, timed_ms

ROOM_TOKENS = 64
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def import_all() -> None:
    import llama_cpp  # noqa: F401


def prepare(parts: str, target: str, precision: str) -> None:
    """`target/model.gguf` of a file type such as q4_0, from the float32 part."""
    import llama_cpp

    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    wide = folder / "float32.gguf"
    write_gguf(Path(parts) / "language", wide)
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{precision.upper()}")
    target_file = str(folder / "model.gguf").encode()
    if code := llama_cpp.llama_model_quantize(str(wide).encode(), target_file, ctypes.byref(params)):
        raise RuntimeError(f"llama_model_quantize returned {code}")
    wide.unlink()


def write_gguf(part: Path, file: Path) -> None:
    """The language part in float32, without a vocabulary: it is given tokens and gives logits."""
    import gguf

    config = json.loads((part / "config.json").read_text())
    writer = gguf.GGUFWriter(file, "qwen2")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_file_type(0)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    for name, tensor in read_safetensors(part / "model.safetensors"):
        writer.add_tensor(gguf_name(name), tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_name(name: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` -> `blk.3.ffn_up.weight`."""
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in whole or not name.startswith("model.layers."):
        return whole.get(name, name.replace("lm_head", "output"))
    number, rest = name.removeprefix("model.layers.").split(".", 1)
    module, kind = rest.rsplit(".", 1)
    return f"blk.{number}.{NAMES[module]}.{kind}"


def read_safetensors(file: Path) -> Iterator[tuple[str, Float32]]:
    """Name and memory-mapped values of float32 tensors."""
    data = np.memmap(file, np.uint8, "r")
    (length,) = struct.unpack("<Q", data[:8].tobytes())
    header = json.loads(data[8 : 8 + length].tobytes())
    for name, entry in header.items():
        if name != "__metadata__":
            start, stop = (8 + length + offset for offset in entry["data_offsets"])
            yield name, data[start:stop].view(np.float32).reshape(entry["shape"])


class LlamaCpp:
    def __init__(self, folder: str, threads: int, flash: bool = True) -> None:
        self._flash = flash
        self._file, self._threads = str(Path(folder) / "model.gguf"), threads
        self._models: dict[int, Any] = {}  # by room: the cache is set aside once
        self._held: dict[int, int] = {}  # context -> tokens that its model holds

    def versions(self) -> dict[str, str]:
        return {"llama-cpp-python": version("llama-cpp-python")}

    def logits(self, ids: Sequence[int], forced: Sequence[int]) -> Float32:
        model, rows = self._model(len(ids) + len(forced)), []
        model.reset()
        for chunk in (list(ids), *([token] for token in forced)):
            model.eval(chunk)
            values = np.ctypeslib.as_array(model._ctx.get_logits(), shape=(model.n_vocab(),))
            rows.append(values.copy())
        return np.stack(rows)

    def prefill(self, tokens: int) -> float:
        model, ids = self._model(tokens), random_ids(tokens)
        self._held.clear()
        model.reset()
        return timed_ms(lambda: model.eval(ids))

    def decode(self, context: int, steps: int) -> float:
        model, tokens = self._model(context), random_ids(steps, seed=1)
        if self._held.get(context) != context:
            model.reset()
            model.eval(random_ids(context))
            self._held = {context: context}
        model.n_tokens = context  # what lies beyond is dropped by the next call
        return timed_ms(lambda: [model.eval([token]) for token in tokens]) / steps

    def _model(self, tokens: int) -> Any:
        """A context with room for so many tokens; one at a time, as each has a cache."""
        from llama_cpp import Llama

        room = tokens + ROOM_TOKENS
        if room not in self._models:
            self._models.clear()
            threads = {"n_threads": self._threads, "n_threads_batch": self._threads}
            self._models[room] = Llama(self._file, n_ctx=room, **threads, flash_attn=self._flash, verbose=False)
        return self._models[room]


def start(folder: str, threads: int, flash: bool = True) -> LlamaCpp:
    return LlamaCpp(folder, threads, flash)
