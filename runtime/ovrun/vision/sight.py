"""From images and clips to visual tokens, each picture looked at once: tower and projector behind a memory.

A sight is made of glances: one for an image, one for each frame of a clip. What a glance depends on is its key, so
equal pictures are one glance within a question, across questions, and in a window that slides over a video.

Axes: T visual tokens, D width of the language model, N tiles, P patches of a tile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovengines import Engine
from ovengines.bundle.manifest import Geometry, ModelSpec
from ovengines.errors import ExitCode, OVError
from ovrun.stopwatch import Stopwatch
from ovrun.tiling.grid import select_grid
from ovrun.tiling.plan import plan_newline
from ovrun.vision.encode import encode_tiles, project_each
from ovrun.vision.feature_cache import FeatureCache, sight_key
from ovrun.vision.views import View, make_frame_view, make_view

Float32 = NDArray[np.float32]
Progress = Callable[[int, int], None]  # (tiles done, tiles in all)

GROUP_TILES = 64  # whose features are held at a time: 0.2 GB of the real tower's


@dataclass(kw_only=True, eq=False)
class Glance:
    """One picture: its tiles, until they have been looked at; then its visual tokens."""

    key: bytes
    num_tokens: int
    num_tiles: int
    view: View | None
    embeds_TD: Float32 | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Sight:
    """One image, or one clip with the newline that ends it. Equal digests mean equal visual tokens."""

    digest: bytes
    glances: tuple[Glance, ...]
    newline: bool

    @property
    def num_tokens(self) -> int:
        return sum(glance.num_tokens for glance in self.glances) + self.newline

    @property
    def num_tiles(self) -> int:
        return sum(glance.num_tiles for glance in self.glances)


class Vision:
    """`scope` names the weights that see, so that nothing is remembered across models."""

    def __init__(self, engine: Engine, model: ModelSpec, cache: FeatureCache, scope: str) -> None:
        self.cache = cache
        self.num_encoded_tiles = 0  # since the start, to be counted by whoever wants to know
        self._engine: Engine | None = engine
        self._model, self._scope = model, scope
        self._newline_1D: Float32 | None = None

    def close(self) -> None:
        """Let go of the engine and of what was seen."""
        self._engine = None
        self.cache.clear()

    def image(self, image: Image.Image, geometry: Geometry, *, alone: bool) -> Sight:
        """`alone` as in `make_view`."""
        make = partial(make_view, image, geometry, alone=alone)
        if alone:
            rows, columns = select_grid(image.height, image.width, geometry)
            glance = self._glance(image, "anyres", geometry, 1 + rows * columns, make)
        else:
            glance = self._glance(image, "single view", geometry, 1, make)
        return Sight(digest=glance.key, glances=(glance,), newline=False)

    def frame(self, frame: Image.Image, geometry: Geometry) -> Glance:
        """One frame of a clip, to be made a sight with others."""
        return self._glance(frame, "frame", geometry, 1, partial(make_frame_view, frame, geometry))

    def clip(self, frames: Iterable[Image.Image], geometry: Geometry) -> Sight:
        """Frames are read one after the other; at least one, or OVError (BAD_INPUT)."""
        return clip_of([self.frame(frame, geometry) for frame in frames])

    def tokens(self, sights: Sequence[Sight], clock: Stopwatch, on_progress: Progress | None = None) -> Float32:
        """The visual tokens of all sights in their order, [T, D]."""
        glances = {glance.key: glance for sight in sights for glance in sight.glances}
        embeds = {key: glance.embeds_TD for key, glance in glances.items() if glance.embeds_TD is not None}
        unseen = [glance for key, glance in glances.items() if key not in embeds]
        num_tiles, done = sum(glance.num_tiles for glance in unseen), 0
        for group in _groups(unseen):
            report = None if on_progress is None else _counting_from(on_progress, done, num_tiles)
            embeds |= self._look(group, clock, report)
            done += sum(glance.num_tiles for glance in group)
        rows = []
        for sight in sights:
            for glance in sight.glances:
                glance.view, glance.embeds_TD = None, embeds[glance.key]
            rows += [embeds[glance.key] for glance in sight.glances]
            rows += [self._newline()] if sight.newline else []
        return np.concatenate(rows)

    def _glance(
        self, image: Image.Image, mode: str, geometry: Geometry, num_tiles: int, make: Callable[[], View]
    ) -> Glance:
        key = sight_key(image, mode, f"{self._scope} {geometry}")
        if (embeds_TD := self.cache.get(key)) is not None:
            return Glance(key=key, num_tokens=len(embeds_TD), num_tiles=num_tiles, view=None, embeds_TD=embeds_TD)
        view = make()
        return Glance(key=key, num_tokens=view.plan.num_tokens, num_tiles=num_tiles, view=view, embeds_TD=None)

    def _look(self, glances: Sequence[Glance], clock: Stopwatch, report: Progress | None) -> dict[bytes, Float32]:
        assert self._engine is not None
        views = [glance.view for glance in glances if glance.view is not None]
        with clock.stage("encode"):
            features = encode_tiles(self._engine, views, self._model, report)
        with clock.stage("project"):
            parts = list(project_each(self._engine, views, features))
        self.num_encoded_tiles += len(features.features_NPD)
        seen = {glance.key: part_TD for glance, part_TD in zip(glances, parts, strict=True)}
        for key, part_TD in seen.items():
            self.cache.put(key, part_TD)
        return seen

    def _newline(self) -> Float32:
        if self._newline_1D is None:
            assert self._engine is not None
            plan = plan_newline(self._model.geometry)
            nothing_1PD = np.zeros((1, plan.patches_per_tile, self._model.vision_hidden), np.float32)
            self._newline_1D = self._engine.project(nothing_1PD, plan.indices_T4, plan.weights_T4)
        return self._newline_1D


def clip_of(glances: Sequence[Glance]) -> Sight:
    """The clip that these frames are, in order. Raises OVError (BAD_INPUT) without a frame."""
    if not glances:
        raise OVError(ExitCode.BAD_INPUT, "a video of 0 frames has nothing to see", "use another video")
    digest = hashlib.sha256(b"clip" + b"".join(glance.key for glance in glances)).digest()
    return Sight(digest=digest, glances=tuple(glances), newline=True)


def _groups(glances: Sequence[Glance]) -> Iterator[list[Glance]]:
    """Runs of at most GROUP_TILES tiles; a picture of more is one of its own."""
    group: list[Glance] = []
    for glance in glances:
        if group and sum(other.num_tiles for other in group) + glance.num_tiles > GROUP_TILES:
            yield group
            group = []
        group.append(glance)
    if group:
        yield group


def _counting_from(report: Progress, done: int, total: int) -> Progress:
    return lambda here, _: report(min(done + here, total), total)
