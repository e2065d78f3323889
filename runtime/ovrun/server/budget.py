"""What a request would cost before it is asked: the tiles that AnyRes cuts a picture into, and tokens of everything.

For the page, which draws them; the numbers are those of `ovrun.tiling`, nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from ovengines.bundle.manifest import Geometry
from ovrun.media.clip import Clip, FrameSampling, load_clip
from ovrun.media.image import load_image
from ovrun.progress import Progress, no_progress
from ovrun.session import Session
from ovrun.tiling.plan import plan_frame, plan_image, plan_single_view
from ovrun.tiling.tiles import place_on_canvas
from ovrun.vision.views import cap_tiles

_SAMPLING = ("num_frames", "fps", "max_frames")


def budget(
    session: Session,
    messages: Sequence[Mapping[str, Any]],
    options: Mapping[str, Any],
    on_progress: Progress = no_progress,
) -> dict[str, Any]:
    """The JSON of POST /tiles. Raises OVError as `Session.question`."""
    sampling = FrameSampling(**{name: options[name] for name in _SAMPLING if name in options})
    media: list[Image.Image | Clip] = []
    opened = [
        {**message, "content": [_open(part, sampling, media, on_progress) for part in message["content"]]}
        for message in messages
    ]
    others = {name: value for name, value in options.items() if name not in _SAMPLING}
    question = session.question(messages=opened, on_progress=on_progress, **others)
    geometry, images = session.model.geometry, [medium for medium in media if isinstance(medium, Image.Image)]
    alone = len(images) == 1 or bool(options.get("anyres_multi"))
    if alone and "max_tiles" in options:
        geometry = cap_tiles(geometry, options["max_tiles"])
    return {
        "context_tokens": session.desk.context_tokens,
        "prompt_tokens": question.prompt.num_tokens,
        "image_tokens": question.prompt.num_visual,
        "tiles": question.num_tiles,
        "warnings": list(question.warnings),
        "media": [
            _clip(medium, geometry) if isinstance(medium, Clip) else _image(medium, geometry, alone=alone)
            for medium in media
        ],
    }


def _open(
    part: Mapping[str, Any], sampling: FrameSampling, media: list[Image.Image | Clip], on_progress: Progress
) -> Mapping[str, Any]:
    """The part with its medium decoded, which is also put into `media`."""
    if part["type"] == "image":
        media.append(image := load_image(part["image"]))
        return {**part, "image": image}
    if part["type"] == "video":
        media.append(clip := load_clip(part["video"], sampling, on_progress))
        return {**part, "video": clip.frames}
    return part


def _image(image: Image.Image, geometry: Geometry, *, alone: bool) -> dict[str, Any]:
    """`boxes` are the tiles' [left, top, right, bottom] as shares of the image's width and height, row by row."""
    plan = plan_image(image.height, image.width, geometry) if alone else plan_single_view(geometry)
    rows, columns = plan.grid
    patches = plan.patches_per_tile
    return {
        "kind": "image",
        "width_px": image.width,
        "height_px": image.height,
        "tile_px": geometry.image_size_px,
        "grid": [rows, columns],
        "boxes": _boxes(image, rows, columns, geometry.image_size_px) if alone else [],
        "base_tokens": patches,
        "grid_tokens": plan.num_tokens - patches if alone else 0,
        "map": list(plan.map_size),
        "tokens": plan.num_tokens,
    }


def _boxes(image: Image.Image, rows: int, columns: int, side_px: int) -> list[list[float]]:
    top, left, height, width = place_on_canvas(image.height, image.width, rows * side_px, columns * side_px)
    xs = [_share(column * side_px - left, width) for column in range(columns + 1)]
    ys = [_share(row * side_px - top, height) for row in range(rows + 1)]
    return [[xs[x], ys[y], xs[x + 1], ys[y + 1]] for y in range(rows) for x in range(columns)]


def _share(offset_px: int, whole_px: int) -> float:
    return round(min(1.0, max(0.0, offset_px / whole_px)), 6)


def _clip(clip: Clip, geometry: Geometry) -> dict[str, Any]:
    per_frame = plan_frame(geometry).num_tokens
    return {
        "kind": "video",
        "width_px": clip.frames[0].width,
        "height_px": clip.frames[0].height,
        "duration_s": clip.duration_s,
        "frames": len(clip.frames),
        "times_s": list(clip.times_s),
        "tokens_per_frame": per_frame,
        "tokens": len(clip.frames) * per_frame + 1,  # and the newline that ends a clip
    }
