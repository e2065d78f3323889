"""What reading a clip gives beside the pixels, and how much of them it may give. Knows no decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from ovrun.limits import check_limit

Emit = Callable[[int, Image.Image], None]
"""Called with the number and the pixels of a frame that may be wanted; the last call for a number counts."""


@dataclass(frozen=True, kw_only=True)
class ChosenFrames:
    """Which frames of a clip of `num_frames` were chosen, and when each is shown, from the first frame on."""

    num_frames: int
    duration_s: float | None
    indices: tuple[int, ...]
    times_s: tuple[float, ...]
    warnings: tuple[str, ...] = ()


def check_frame_size(width_px: int, height_px: int, label: str) -> None:
    """Raises OVError (LIMIT_EXCEEDED) for frames that are too large or too thin; 0 x 0 is a size not known yet."""
    check_limit("video_pixels", width_px * height_px, f"{label} has frames of {width_px} x {height_px} px:")
    longer, shorter = max(width_px, height_px), max(1, min(width_px, height_px))
    check_limit("image_aspect", longer / shorter, f"{label} has frames of {width_px} x {height_px} px:")


def check_clip_bytes(indices: Sequence[int], width_px: int, height_px: int, label: str) -> None:
    """Raises OVError (LIMIT_EXCEEDED) if the chosen frames of this size are too much to hold as RGB."""
    check_limit("clip_bytes", len(set(indices)) * width_px * height_px * 3, f"the chosen frames of {label} have")
