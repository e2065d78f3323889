"""What an answerer is to an evaluation: media and a prompt in, text and token ids out, greedily.

Knows nothing of who answers: see `torch_answerer` and `bundle_answerer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ovrun.media.image import ImageSource

Answer = tuple[str, tuple[int, ...]]  # text, token ids


@dataclass(frozen=True, kw_only=True)
class About:
    """Whose answers they are. `kind` is "pytorch" or "bundle"; `engine` is what computed them."""

    source: str
    kind: str
    precision: str
    engine: str


@dataclass(frozen=True, kw_only=True)
class How:
    """What is the same for all answerers; `max_tiles` 1 is "tiles off"."""

    max_tiles: int | None = None
    threads: int | None = None
    device: str = "auto"


class Answerer(Protocol):
    about: About

    def answer(
        self, images: Sequence[ImageSource], frames: Sequence[ImageSource], prompt: str, max_new_tokens: int
    ) -> Answer:
        """The answer about images and the frames of a video. Raises OVError as `Session.generate` does."""

    def close(self) -> None:
        """Give the memory back."""
