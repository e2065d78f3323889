"""Answers of a bundle in its engine, through `ovrun.Session`: what a user of the bundle gets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ovexport.evaluate.answerer import About, Answer, How
from ovrun.media.image import ImageSource
from ovrun.session import Session


class BundleAnswerer:
    def __init__(self, path: str | Path, how: How) -> None:
        self._session = Session.open(path, how.device, how.threads)
        self._max_tiles = how.max_tiles
        manifest = self._session.bundle.manifest
        self.about = About(
            source=manifest.source, kind="bundle", precision=manifest.precision, engine=self._session.engine.name
        )

    def answer(
        self, images: Sequence[ImageSource], frames: Sequence[ImageSource], prompt: str, max_new_tokens: int
    ) -> Answer:
        result = self._session.generate(
            prompt=prompt,
            images=list(images),
            video=list(frames) or None,
            max_tiles=self._max_tiles,
            max_new_tokens=max_new_tokens,
        )
        return result.text, result.token_ids

    def close(self) -> None:
        self._session.close()
