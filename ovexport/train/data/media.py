"""The media of a record as tiles and token plans, by the rules of training; or only how many tokens they will be.

Pixels and plans are the runtime's own (`ovrun.media`, `ovrun.tiling`). Knows no text.
Legend: N tiles of all media, C channels, H and W pixels of a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ovengines.bundle.manifest import Geometry
from ovengines.errors import ExitCode, OVError
from ovexport.train.data.records import BadRecord, Record
from ovexport.train.data.spec import SampleSpec
from ovrun.media.image import load_image
from ovrun.media.video import load_frames
from ovrun.tiling.plan import TokenPlan, first_tokens, plan_flat, plan_image, plan_single_view, plan_video
from ovrun.tiling.tiles import pad_image, squeeze_image, tile_image


@dataclass(frozen=True, kw_only=True, eq=False)
class Media:
    """Tiles of all media in order, and a plan for each medium (a video is one)."""

    pixels_NCHW: NDArray[np.float32]
    plans: tuple[TokenPlan, ...]


def load_media(record: Record, spec: SampleSpec) -> Media:
    """Raises BadRecord for media that are missing, can't be read or are too large."""
    with _bad_record():
        return _LOADERS[record.modality](record, spec)


def _no_media(record: Record, spec: SampleSpec) -> Media:
    side_px = spec.geometry.image_size_px
    return Media(pixels_NCHW=np.empty((0, 3, side_px, side_px), dtype=np.float32), plans=())


def _one_image(record: Record, spec: SampleSpec) -> Media:
    image = load_image(record.images[0])
    if not spec.any_resolution:
        return Media(pixels_NCHW=squeeze_image(image, spec.geometry), plans=(_plan_view(spec),))
    plan = _plan_image(image.height, image.width, spec.geometry)
    return Media(pixels_NCHW=tile_image(image, spec.geometry), plans=(plan,))


def _several_images(record: Record, spec: SampleSpec) -> Media:
    views = [pad_image(load_image(path), spec.geometry) for path in record.images]
    return Media(pixels_NCHW=np.concatenate(views), plans=(_plan_view(spec),) * len(views))


def _video(record: Record, spec: SampleSpec) -> Media:
    assert record.video is not None  # that is what makes it a video
    frames = load_frames(record.video, fps=spec.video_fps, max_frames=spec.max_frames)
    plan = _plan_video(len(frames), spec.geometry)
    if spec.merge == "flat":
        plan = first_tokens(plan, plan.num_tokens - 1)  # the newline at the end belongs to spatial_unpad
    views = [squeeze_image(frame, spec.geometry) for frame in frames]
    return Media(pixels_NCHW=np.concatenate(views), plans=(plan,))


_LOADERS: dict[str, Callable[[Record, SampleSpec], Media]] = {
    "text": _no_media,
    "image": _one_image,
    "multi-image": _several_images,
    "video": _video,
}


def _plan_view(spec: SampleSpec) -> TokenPlan:
    return plan_flat(spec.geometry) if spec.merge == "flat" else plan_single_view(spec.geometry)


# The plan of a large image takes 0.3 MB; data sets repeat few sizes, and those often.
_plan_image: Callable[[int, int, Geometry], TokenPlan] = lru_cache(maxsize=64)(plan_image)
_plan_video: Callable[[int, Geometry], TokenPlan] = lru_cache(maxsize=64)(plan_video)


@contextmanager
def _bad_record() -> Iterator[None]:
    """What is wrong with a medium makes its record bad; anything else stays an error."""
    try:
        yield
    except OVError as err:
        if err.code not in (ExitCode.BAD_INPUT, ExitCode.LIMIT_EXCEEDED):
            raise
        raise BadRecord(str(err)) from err
