"""One answer in the making: logits in, text out, until something ends it.

Joins sampler, detokenizer and stop strings; knows no engine and no cache. Axes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from ovengines.engine import Best
from ovrun.decode.sampler import Sampler
from ovrun.decode.stream import Detokenizer, StopFilter
from ovrun.options import GenerationOptions


class Answer:
    """`finish_reason` is None until the end, then "stop" (an end token), "stop_string" or "length"."""

    def __init__(
        self,
        options: GenerationOptions,
        decode: Callable[[Sequence[int]], str],
        eos_ids: Collection[int],
        prompt_ids: Sequence[int] = (),
    ) -> None:
        self.token_ids: list[int] = []
        self.finish_reason: str | None = None
        self.options, self._eos_ids = options, eos_ids
        self._sampler = Sampler(options, prompt_ids)
        self._detokenizer = Detokenizer(decode)
        self._stop_filter = StopFilter(options.stop_strings)
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """What is certain so far."""
        return "".join(self._pieces)

    @property
    def room(self) -> int:
        """Tokens that may still come."""
        return 0 if self.finish_reason else self.options.max_new_tokens - len(self.token_ids)

    @property
    def needs_only_best(self) -> bool:
        return self._sampler.needs_only_best

    def push(self, logits: NDArray[np.float32] | Best) -> str:
        """Choose the next token (see Sampler.pick); the text that has become certain with it, at the end what was held
        back too."""
        token = self._sampler.pick(logits)
        self.token_ids.append(token)
        piece = self._stop_filter.push(self._detokenizer.push(token))
        if self._stop_filter.stopped:
            self.finish_reason = "stop_string"
        elif token in self._eos_ids:
            self.finish_reason = "stop"
        elif len(self.token_ids) == self.options.max_new_tokens:
            self.finish_reason = "length"
        if self.finish_reason and not self._stop_filter.stopped:
            piece += self._finish()
        self._pieces.append(piece)
        return piece

    def _finish(self) -> str:
        rest = self._stop_filter.push(self._detokenizer.finish()) + self._stop_filter.finish()
        if self._stop_filter.stopped:  # by what the detokenizer had held back
            self.finish_reason = "stop_string"
        return rest
