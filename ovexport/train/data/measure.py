"""How many tokens a record will be, from its text and the headers of its media: what packing needs to know.

Decodes no pixels. Knows no batches.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from ovexport.train.data.conversation import pieces
from ovexport.train.data.records import BadRecord, Record
from ovexport.train.data.spec import SampleSpec
from ovrun.media.video import count_frames
from ovrun.tiling.plan import count_image_tokens

_TRANSPOSED = (5, 6, 7, 8)  # EXIF orientations that swap height and width


def count_tokens(record: Record, spec: SampleSpec) -> int:
    """The length of `make_sample` of a sound record. Raises BadRecord or OVError for many that are not."""
    num_text = sum(len(piece.ids) for piece in pieces(record, spec.chat, spec.template, spec.turns)) - record.num_media
    return min(spec.max_length, num_text + _COUNTS[record.modality](record, spec))


def _view_tokens(spec: SampleSpec) -> int:
    return spec.geometry.patches_per_side**2 + (spec.merge != "flat")


def _one_image(record: Record, spec: SampleSpec) -> int:
    if not spec.any_resolution:
        return _view_tokens(spec)
    height_px, width_px = _upright_size(record.images[0])
    return count_image_tokens(height_px, width_px, spec.geometry)


def _video(record: Record, spec: SampleSpec) -> int:
    assert record.video is not None  # that is what makes it a video
    side = -(-spec.geometry.patches_per_side // 2)
    num_frames = count_frames(record.video, fps=spec.video_fps, max_frames=spec.max_frames)
    return num_frames * side * side + (spec.merge != "flat")


_COUNTS: dict[str, Callable[[Record, SampleSpec], int]] = {
    "text": lambda record, spec: 0,
    "image": _one_image,
    "multi-image": lambda record, spec: len(record.images) * _view_tokens(spec),
    "video": _video,
}


def _upright_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            width_px, height_px = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation) in _TRANSPOSED
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as err:
        raise BadRecord(f"{path} is not an image that can be read") from err
    return (width_px, height_px) if turned else (height_px, width_px)
