"""Runs a bundle's graphs with TensorRT. Not yet run on a device.

Engines are loaded when first needed, and built where none fits, which takes minutes. Axes as in ovengines/engine.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ovengines.bundle.reader import Bundle
from ovengines.engine import Best, Float32, Int64
from ovengines.engine import KVCache as KVCacheProtocol
from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.backend import Backend, Progress
from ovengines.tensorrt.cache import DeviceKVCache
from ovengines.tensorrt.decoder import Decoder
from ovengines.tensorrt.prepare import ROLES, TARGET, Stage, Workshop
from ovengines.tensorrt.projector import Projector
from ovengines.tensorrt.recipe import choose_recipe
from ovengines.tensorrt.tower import Tower

_StageType = TypeVar("_StageType", Tower, Projector, Decoder)


class TensorRTEngine:
    """See `ovengines.engine.Engine`."""

    best_is_cheap = True
    tile_batch_bytes = 8 << 30  # not what decides: see tower_tiles
    tower_tiles: int | None

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        *,
        recipe: str | None = None,
        build: bool = True,
        force: bool = False,
        progress: Progress | None = None,
        elsewhere: Callable[[str, Progress], None] | None = None,
    ) -> None:
        """`recipe` names one, or a file of one's own. Without `build` an engine that is not there is an error; with
        `force` even one that is there is built anew. For `elsewhere` see Workshop.

        Raises:
            OVError: BUNDLE_INVALID for a bundle without graphs for TensorRT, USAGE for a wrong recipe.
        """
        for role in ROLES:
            bundle.manifest.graph(role, TARGET)
        chosen = choose_recipe(backend.device.info, recipe)
        self.bundle = bundle
        self.name = "tensorrt"
        self.context_tokens = min(chosen.context_tokens, bundle.manifest.model.max_positions)
        self._workshop = Workshop(
            bundle=bundle, backend=backend, recipe=chosen, may_build=build, force=force, elsewhere=elsewhere
        )
        self.tower_tiles = self._workshop.bounds.tower_tiles
        self._progress = progress or (lambda what, done, total: None)
        self._stages: dict[str, Stage] = {}

    def build(self, *roles: str) -> None:
        """Have the engines of these roles built and stored where none fits, without loading them."""
        self._workshop.provide(roles, self._progress)

    def load(self, *roles: str) -> None:
        missing = [role for role in dict.fromkeys(roles) if role not in self._stages]
        self.build(*missing)  # all of them first: a build takes the memory that loaded engines would hold
        for role in missing:
            self._stages[role] = self._workshop.open_stage(role, self._progress)

    def encode(self, pixels_NCHW: Float32) -> Float32:
        return self._stage("vision", Tower).encode(pixels_NCHW)

    def project(self, features_NPD: Float32, indices_T4: NDArray[np.int32], weights_T4: Float32) -> Float32:
        return self._stage("projector", Projector).project(features_NPD, indices_T4, weights_T4)

    def new_cache(self, capacity: int, slots: int = 1) -> DeviceKVCache:
        """Of `capacity`, as much as the recipe's context_tokens; see the cache's own `capacity`."""
        most = self.bundle.manifest.model.max_positions
        if capacity > most:
            raise OVError(
                ExitCode.LIMIT_EXCEEDED,
                f"{capacity} tokens exceed the model's context of {most}",
                "ask for fewer new tokens, or use smaller images",
            )
        return self._stage("decoder", Decoder).new_cache(capacity, slots)

    def decode(
        self,
        cache: KVCacheProtocol,
        ids_BS: Int64,
        *,
        logits_index_BK: Int64,
        embed_index_BS: Int64 | None = None,
        image_embeds_TD: Float32 | None = None,
        slots: slice | None = None,
    ) -> Float32:
        assert isinstance(cache, DeviceKVCache)
        return self._stage("decoder", Decoder).decode(
            cache,
            ids_BS,
            logits_index_BK=logits_index_BK,
            embed_index_BS=embed_index_BS,
            image_embeds_TD=image_embeds_TD,
            slots=slots,
        )

    def decode_best(
        self,
        cache: KVCacheProtocol,
        ids_BS: Int64,
        *,
        logits_index_BK: Int64,
        embed_index_BS: Int64 | None = None,
        image_embeds_TD: Float32 | None = None,
        slots: slice | None = None,
    ) -> list[list[Best]]:
        assert isinstance(cache, DeviceKVCache)
        return self._stage("decoder", Decoder).decode_best(
            cache,
            ids_BS,
            logits_index_BK=logits_index_BK,
            embed_index_BS=embed_index_BS,
            image_embeds_TD=image_embeds_TD,
            slots=slots,
        )

    def _stage(self, role: str, kind: type[_StageType]) -> _StageType:
        self.load(role)
        stage = self._stages[role]
        assert isinstance(stage, kind)
        return stage
