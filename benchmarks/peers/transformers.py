"""transformers on the whole checkpoint, with the attention and the type of its options; float32 is the reference.

Greedy, its own slow image processor (the Pil one), and the cache that it makes by default.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.inputs import random_ids, random_tiles
from benchmarks.peers.contestant import Float32, timed_ms
from benchmarks.peers.stages import timed_stages


def import_all() -> None:
    from transformers import LlavaOnevisionForConditionalGeneration  # noqa: F401


class Transformers:
    def __init__(self, folder: str, threads: int, dtype: str, attention: str, device: str = "cpu") -> None:
        import torch
        from transformers import LlavaOnevisionForConditionalGeneration
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self._torch, self._folder, self._dtype, self._device = torch, folder, getattr(torch, dtype), device
        self._model = (
            LlavaOnevisionForConditionalGeneration.from_pretrained(
                folder, dtype=self._dtype, attn_implementation=attention
            )
            .eval()
            .to(device)
        )
        self._cache: Any = None
        self._cached: tuple[int, bool] = (0, False)  # tokens, and whether they are of `random_ids`

    def versions(self) -> dict[str, str]:
        return {name: version(name) for name in ("transformers", "torch")}

    def features(self, tiles: int) -> Float32:
        output = self._tower(tiles)
        return np.asarray(output.hidden_states[-1].float().cpu())

    def logits(self, ids: Sequence[int], forced: Sequence[int]) -> Float32:
        self._new_cache()
        chunks = [list(ids), *([token] for token in forced)]
        return np.stack([self._logits_of(chunk) for chunk in chunks])

    def resumed(self, context: int, forced: Sequence[int]) -> Float32:
        self.decode(context, 2)
        self._go_back(context)
        self._cached = (0, False)
        return np.stack([self._logits_of([token]) for token in forced])

    def encode(self, tiles: int) -> float:
        pixels_NCHW = self._pixels(tiles)
        return self._timed_ms(lambda: self._model.model.vision_tower(pixels_NCHW, output_hidden_states=True))

    def prefill(self, tokens: int) -> float:
        self._new_cache()
        spent_ms = self._timed_ms(lambda: self._language(random_ids(tokens)))
        self._cached = (tokens, True)
        return spent_ms

    def decode(self, context: int, steps: int) -> float:
        self._go_back(context)
        tokens = random_ids(steps, seed=1)
        spent_ms = self._timed_ms(lambda: [self._language([token]) for token in tokens])
        self._cached = (context + steps, True)
        return spent_ms / steps

    def preprocess(self, image: str) -> float:
        processor = self._processor()
        return timed_ms(lambda: self._inputs(processor, image))

    def answer(self, image: str, ids: Sequence[int]) -> dict[str, float]:
        """By `generate`, whose stages are timed by hooks around tower, projector and language model."""
        processor, self._cache = self._processor(), None
        model = self._model.model
        stages = {"encode": model.vision_tower, "project": model.multi_modal_projector, "prefill": model.language_model}
        ids_BS = self._torch.tensor([list(ids)], device=self._device)
        with timed_stages(stages) as spent:
            started = time.perf_counter()
            inputs = self._inputs(processor, image)
            spent["preprocess"] = (time.perf_counter() - started) * 1e3
            self._model.generate(input_ids=ids_BS, **inputs, max_new_tokens=1, do_sample=False)
            spent["first_token"] = (time.perf_counter() - started) * 1e3
        return spent

    def tiles(self, image: str) -> Float32:
        return np.asarray(self._inputs(self._processor(), image)["pixel_values"][0].float().cpu())

    def _processor(self) -> Any:
        from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
            LlavaOnevisionImageProcessorPil,
        )

        return LlavaOnevisionImageProcessorPil.from_pretrained(self._folder)

    def _inputs(self, processor: Any, image: str) -> dict[str, Any]:
        from PIL import Image

        with Image.open(image) as picture:
            inputs = processor(picture.convert("RGB"), return_tensors="pt")
        return {**inputs, "pixel_values": inputs["pixel_values"].to(self._device, self._dtype)}

    def _pixels(self, tiles: int) -> Any:
        side_px = self._model.config.vision_config.image_size
        return self._torch.from_numpy(random_tiles(tiles, side_px)).to(self._device, self._dtype)

    def _tower(self, tiles: int) -> Any:
        return self._model.model.vision_tower(self._pixels(tiles), output_hidden_states=True)

    def _new_cache(self) -> None:
        from transformers import DynamicCache

        self._cache, self._cached = DynamicCache(), (0, False)

    def _go_back(self, context: int) -> None:
        held, usable = self._cached
        if held < context or not usable:
            self.prefill(context)
            held = context
        if held > context:
            self._cache.crop(context - held)

    def _timed_ms(self, work: Callable[[], Any]) -> float:
        """A device is waited for."""
        wait = self._torch.cuda.synchronize if self._device == "cuda" else lambda: None
        return timed_ms(lambda: (work(), wait()))

    def _logits_of(self, ids: list[int]) -> Float32:
        return np.asarray(self._language(ids).logits[0, -1].float().cpu())

    def _language(self, ids: list[int]) -> Any:
        ids_BS = self._torch.tensor([ids], device=self._device)
        return self._model(input_ids=ids_BS, past_key_values=self._cache, use_cache=True, logits_to_keep=1)


def start(folder: str, threads: int, dtype: str, attention: str, device: str = "cpu") -> Transformers:
    return Transformers(folder, threads, dtype, attention, device)
