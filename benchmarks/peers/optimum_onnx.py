"""optimum-onnx: language model and tower as `optimum-cli export onnx` writes them, run through its classes.

Its decoder has no choice of rows: it gives the logits of every position of a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs import random_ids, random_tiles
from benchmarks.peers.contestant import Float32, timed_ms


def import_all() -> None:
    import optimum.onnxruntime  # noqa: F401


def prepare(parts: str, target: str, precision: str) -> None:
    """Both exports as the command line makes them; its tower also expects a pooling head, which LLaVA's has not."""
    from optimum.exporters.onnx import main_export
    from optimum.exporters.onnx.model_configs import SiglipVisionModelOnnxConfig
    from transformers import AutoConfig

    class Headless(SiglipVisionModelOnnxConfig):
        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            return {"last_hidden_state": {0: "batch_size"}}

    language, tower = (str(Path(parts) / part) for part in ("language", "tower"))
    into, how = Path(target), {"dtype": precision, "do_validation": False}
    main_export(language, into / "language", task="text-generation-with-past", **how)
    config = Headless(AutoConfig.from_pretrained(tower), task="feature-extraction")
    main_export(tower, into / "tower", task="feature-extraction", custom_onnx_configs={"model": config}, **how)


class Optimum:
    def __init__(self, folder: str, threads: int) -> None:
        import onnxruntime
        import torch
        from optimum.onnxruntime import ORTModelForCausalLM

        torch.set_num_threads(threads)
        self._torch, self._folder = torch, Path(folder)
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._tower: Any = None
        self._caches: dict[int, Any] = {}  # keys and values by context; its decoder returns new ones
        self._language = ORTModelForCausalLM.from_pretrained(self._folder / "language", session_options=self._options)

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("optimum-onnx", "onnxruntime", "transformers")}

    def features(self, tiles: int) -> Float32:
        """After the tower's last norm, without which it is not exported."""
        pixels = self._torch.from_numpy(random_tiles(tiles))
        return np.asarray(self._open_tower()(pixel_values=pixels).last_hidden_state)

    def logits(self, ids: Sequence[int], forced: Sequence[int]) -> Float32:
        cache, rows = None, []
        held = 0
        for chunk in (list(ids), *([token] for token in forced)):
            output = self._step(chunk, held, cache)
            cache, held = output.past_key_values, held + len(chunk)
            rows.append(output.logits[0, -1].numpy())
        return np.stack(rows)

    def resumed(self, context: int, forced: Sequence[int]) -> Float32:
        self.decode(context, 2)
        cache, rows = self._caches[context], []
        for number, token in enumerate(forced):
            output = self._step([token], context + number, cache)
            cache = output.past_key_values
            rows.append(output.logits[0, -1].numpy())
        return np.stack(rows)

    def decoder_bytes(self) -> dict[str, float]:
        """Of its files; keys and values are in float32, and counted once although each step also copies them."""
        config, folder = self._language.config, self._folder / "language"
        head = config.hidden_size // config.num_attention_heads
        values = 2 * config.num_hidden_layers * config.num_key_value_heads * head
        weights = sum(file.stat().st_size for file in folder.glob("model.onnx*"))
        return {"weights": float(weights), "per_token": 4.0 * values}

    def encode(self, tiles: int) -> float:
        pixels, tower = self._torch.from_numpy(random_tiles(tiles)), self._open_tower()
        return timed_ms(lambda: tower(pixel_values=pixels))

    def prefill(self, tokens: int) -> float:
        return timed_ms(lambda: self._step(random_ids(tokens), 0, None))

    def decode(self, context: int, steps: int) -> float:
        if context not in self._caches:
            self._caches[context] = self._step(random_ids(context), 0, None).past_key_values
        tokens = random_ids(steps, seed=1)

        def work() -> None:
            cache = self._caches[context]
            for number, token in enumerate(tokens):
                cache = self._step([token], context + number, cache).past_key_values

        return timed_ms(work) / steps

    def _step(self, ids: list[int], position: int, cache: Any) -> Any:
        ids_BS = self._torch.tensor([ids])
        mask_BS = self._torch.ones((1, position + len(ids)), dtype=self._torch.int64)
        positions_BS = self._torch.arange(position, position + len(ids))[None]
        return self._language(
            input_ids=ids_BS, attention_mask=mask_BS, position_ids=positions_BS, past_key_values=cache, use_cache=True
        )

    def _open_tower(self) -> Any:
        from optimum.onnxruntime import ORTModelForFeatureExtraction

        if self._tower is None:
            folder = self._folder / "tower"
            self._tower = ORTModelForFeatureExtraction.from_pretrained(folder, session_options=self._options)
        return self._tower


def start(folder: str, threads: int) -> Optimum:
    return Optimum(folder, threads)
