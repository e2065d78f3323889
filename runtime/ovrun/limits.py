"""Every cap on input that comes from elsewhere, in one table, and the one place that reads their environment variables.

Each is checked before memory is taken or work is done for the thing it limits. Knows nothing of the things themselves.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ovengines.bundle.reader import MAX_MANIFEST_BYTES
from ovengines.errors import ExitCode, OVError

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limit:
    """`default` of `unit`; raised with the environment variable, which is "" for a limit that can't be raised."""

    name: str
    default: int
    unit: str
    variable: str


# Why these defaults: 2**27 pixels holds the 102-megapixel cameras and takes 0.4 GB as RGB; a line of 4,000:1 keeps the
# longest strip that 2,304 px of grid can show at all; 64 images of 730 tokens already exceed a context of 32,768, and
# so do 168 frames of 196: 1,024 are for models with a longer one. 2**25 pixels hold a frame of 8K video; 32 of 4K are
# 0.8 GB as RGB; 4 million frames are 18 hours at 60 per second.
LIMITS = {
    limit.name: limit
    for limit in (
        Limit(name="image_bytes", default=256 * MIB, unit="bytes", variable="OV_MAX_IMAGE_BYTES"),
        Limit(name="image_pixels", default=1 << 27, unit="pixels", variable="OV_MAX_IMAGE_PIXELS"),
        Limit(name="image_aspect", default=4000, unit=":1", variable="OV_MAX_IMAGE_ASPECT"),
        Limit(name="images", default=64, unit="images", variable="OV_MAX_IMAGES"),
        Limit(name="frames", default=1024, unit="frames", variable="OV_MAX_FRAMES"),
        Limit(name="video_bytes", default=16 * 1024 * MIB, unit="bytes", variable="OV_MAX_VIDEO_BYTES"),
        Limit(name="video_pixels", default=1 << 25, unit="pixels", variable="OV_MAX_VIDEO_PIXELS"),
        Limit(name="video_frames", default=4_000_000, unit="frames", variable="OV_MAX_VIDEO_FRAMES"),
        Limit(name="clip_bytes", default=4096 * MIB, unit="bytes", variable="OV_MAX_CLIP_BYTES"),
        # Of the process that decodes: its work, and its address space, of which 0.5 GB are code and threads.
        Limit(name="video_seconds", default=300, unit="seconds", variable="OV_MAX_VIDEO_SECONDS"),
        Limit(name="video_memory_bytes", default=3072 * MIB, unit="bytes", variable="OV_MAX_VIDEO_MEMORY_BYTES"),
        Limit(name="prompt_chars", default=1_000_000, unit="characters", variable="OV_MAX_PROMPT_CHARS"),
        Limit(name="prompt_tokens", default=131_072, unit="tokens", variable="OV_MAX_PROMPT_TOKENS"),
        Limit(name="transcript_bytes", default=64 * MIB, unit="bytes", variable="OV_MAX_TRANSCRIPT_BYTES"),
        Limit(name="request_bytes", default=8 * MIB, unit="bytes", variable="OV_MAX_REQUEST_BYTES"),
        Limit(name="stop_strings", default=16, unit="strings", variable="OV_MAX_STOP_STRINGS"),
        Limit(name="stop_chars", default=1000, unit="characters", variable="OV_MAX_STOP_CHARS"),
        Limit(name="tile_batch_bytes", default=512 * MIB, unit="bytes", variable="OV_MAX_TILE_BATCH_BYTES"),
        Limit(name="feature_cache_bytes", default=256 * MIB, unit="bytes", variable="OV_MAX_FEATURE_CACHE_BYTES"),
        Limit(name="feature_disk_bytes", default=4096 * MIB, unit="bytes", variable="OV_MAX_FEATURE_DISK_BYTES"),
        Limit(name="tokenizer_bytes", default=64 * MIB, unit="bytes", variable="OV_MAX_TOKENIZER_BYTES"),
        Limit(name="template_bytes", default=1 * MIB, unit="bytes", variable="OV_MAX_TEMPLATE_BYTES"),
        # Of `ovrun serve`: a body of 64 MiB holds a clip of 48 MiB in base64.
        Limit(name="body_bytes", default=64 * MIB, unit="bytes", variable="OV_MAX_BODY_BYTES"),
        Limit(name="connections", default=1000, unit="connections", variable="OV_MAX_CONNECTIONS"),
        # Checked by the reader of bundles, which stands below this package.
        Limit(name="manifest_bytes", default=MAX_MANIFEST_BYTES, unit="bytes", variable=""),
    )
}


def limit_value(name: str) -> int:
    """The value in force: the environment variable if it is set, else the default.

    Raises:
        OVError: USAGE for a variable that is not a whole number above zero.
    """
    limit = LIMITS[name]
    text = os.environ.get(limit.variable, "") if limit.variable else ""
    if not text:
        return limit.default
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise OVError(
            ExitCode.USAGE,
            f"{limit.variable} is {text[:40]!r}, not a whole number above zero",
            f"unset it for the default of {limit.default:,}",
        )
    return value


def check_limit(name: str, actual: float, what: str) -> None:
    """Refuse `actual` above the limit; `what` begins the sentence ("the image has").

    Raises:
        OVError: LIMIT_EXCEEDED with the limit's name, its value and how to raise it.
    """
    if actual > limit_value(name):
        raise limit_error(name, f"{what} {_amount(actual, LIMITS[name].unit)}")


def limit_error(name: str, finding: str, hint: str = "") -> OVError:
    """The error for a limit that was found to be exceeded; `finding` says by what."""
    limit, value = LIMITS[name], limit_value(name)
    raising = f"raise it with the environment variable {limit.variable}" if limit.variable else "it is fixed"
    return OVError(
        ExitCode.LIMIT_EXCEEDED,
        f"{finding}, over the limit {name} of {_amount(value, limit.unit)}",
        hint or raising,
    )


def _amount(value: float, unit: str) -> str:
    space = "" if unit.startswith(":") else " "
    return f"{round(value):,}{space}{unit}"
