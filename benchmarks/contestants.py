"""What is compared: ovexport's bundle and transformers on the same weights, behind the same four pieces of work.

Each lives in a process of its own (worker.py), so that neither's thread pool disturbs the other.

Axes: N tiles, C channels, H W pixels, B rows, S positions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

ANSWER_TOKENS = 8


def timed_ms(work: Any) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


class Contestant(Protocol):
    """Each piece of work returns the milliseconds that it took."""

    def encode(self, tiles: int) -> float: ...

    def prefill(self, tokens: int) -> float: ...

    def decode(self, context: int) -> float: ...

    def answer(self, image: str) -> float: ...


def random_ids(tokens: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(10, 900, (1, tokens))


def random_tiles(tiles: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((tiles, 3, 384, 384), np.float32)


class Ours:
    """A bundle in ONNX Runtime, through the runtime's own engine and session."""

    PREFILL_CHUNK_TOKENS = 512

    def __init__(self, bundle: str, threads: int) -> None:
        from ovrun.session import Session

        self.session = Session.open(bundle, device="cpu", threads=threads)
        self.engine = self.session.engine
        self.caches: dict[int, Any] = {}

    def encode(self, tiles: int) -> float:
        pixels_NCHW = random_tiles(tiles)
        return timed_ms(lambda: self.engine.encode(pixels_NCHW))

    def prefill(self, tokens: int) -> float:
        cache = self.engine.new_cache(tokens + 64)
        return timed_ms(lambda: self._prefill(cache, tokens))

    def decode(self, context: int) -> float:
        cache = self._cache_of(context)
        token_BS, last_BK = random_ids(1, 1), np.zeros((1, 1), np.int64)
        return timed_ms(lambda: self.engine.decode(cache, token_BS, logits_index_BK=last_BK))

    def answer(self, image: str) -> float:
        return timed_ms(lambda: self.session.generate(images=[image], max_new_tokens=ANSWER_TOKENS))

    def _cache_of(self, context: int) -> Any:
        """A cache of so many tokens, filled the first time and wound back after that."""
        if context not in self.caches:
            self.caches[context] = self.engine.new_cache(context + 64)
            self._prefill(self.caches[context], context)
        self.caches[context].rewind(0, context)
        return self.caches[context]

    def _prefill(self, cache: Any, tokens: int) -> None:
        ids_BS = random_ids(tokens, 0)
        for start in range(0, tokens, self.PREFILL_CHUNK_TOKENS):
            chunk_BS = ids_BS[:, start : start + self.PREFILL_CHUNK_TOKENS]
            is_last = start + chunk_BS.shape[1] == tokens
            wanted = [[chunk_BS.shape[1] - 1]] if is_last else [[]]
            self.engine.decode(cache, chunk_BS, logits_index_BK=np.array(wanted, np.int64))


class Transformers:
    """transformers in float32 with its default attention (SDPA), the path of its model card."""

    def __init__(self, checkpoint: str, threads: int) -> None:
        import torch
        from transformers import LlavaOnevisionForConditionalGeneration
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        torch.set_num_threads(threads)
        self.torch = torch
        self.folder = checkpoint
        self.model = LlavaOnevisionForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self.cache: Any = None
        self.cached_tokens = 0

    def encode(self, tiles: int) -> float:
        pixels_NCHW = self.torch.from_numpy(random_tiles(tiles))
        return self._timed(lambda: self.model.model.vision_tower(pixels_NCHW, output_hidden_states=True))

    def prefill(self, tokens: int) -> float:
        from transformers import DynamicCache

        self.cache, self.cached_tokens = DynamicCache(), tokens
        ids_BS = self.torch.from_numpy(random_ids(tokens, 0))
        return self._timed(lambda: self._language(ids_BS))

    def decode(self, context: int) -> float:
        if self.cached_tokens < context:
            self.prefill(context)
        if extra := self.cached_tokens - context:
            self.cache.crop(-extra)
        self.cached_tokens = context
        token_BS = self.torch.from_numpy(random_ids(1, 1))
        spent_ms = self._timed(lambda: self._language(token_BS))
        self.cached_tokens += 1
        return spent_ms

    def answer(self, image: str) -> float:
        """Its own slow image processor; the ids are made by ours, because its whole processor needs torchvision."""
        from PIL import Image
        from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
            LlavaOnevisionImageProcessorPil,
        )

        processor = LlavaOnevisionImageProcessorPil.from_pretrained(self.folder)

        def work() -> None:
            with Image.open(image) as picture:
                inputs = processor(picture.convert("RGB"), return_tensors="pt")
                ids_S = self._prompt_ids(picture.height, picture.width)
            self.model.generate(
                input_ids=self.torch.tensor([ids_S]), **inputs, max_new_tokens=ANSWER_TOKENS, do_sample=False
            )

        return self._timed(work)

    def _prompt_ids(self, height_px: int, width_px: int) -> list[int]:
        from ovexport.checkpoint import open_checkpoint
        from ovrun.prompt.compose import encode_conversation
        from ovrun.prompt.messages import conversation
        from ovrun.prompt.tokenizer import Tokenizer
        from ovrun.tiling.plan import count_image_tokens

        with open_checkpoint(self.folder) as checkpoint:
            config, template = checkpoint.config, checkpoint.chat_template
        tokenizer = Tokenizer(Path(self.folder) / "tokenizer.json")
        ids = encode_conversation(conversation("Describe this image.", 1), template, tokenizer)
        image_tokens = count_image_tokens(height_px, width_px, config.geometry)
        place = ids.index(config.image_token_id)
        return [*ids[:place], *[config.image_token_id] * image_tokens, *ids[place + 1 :]]

    def _language(self, ids_BS: Any) -> Any:
        return self.model(input_ids=ids_BS, past_key_values=self.cache, use_cache=True, logits_to_keep=1)

    def _timed(self, work: Any) -> float:
        with self.torch.inference_mode():
            return timed_ms(work)


CONTESTANTS: dict[str, Callable[[str, int], Contestant]] = {"ours": Ours, "transformers": Transformers}
