"""Loads an image from anywhere as upright 8-bit RGB, within the limits of `ovrun.limits`.

The rule is transformers' `load_image`: EXIF orientation, then Pillow's `convert("RGB")`, which drops alpha without
compositing. It differs where that would clip: 16-bit and floating-point images are scaled to 8 bits. Bytes are
untrusted: few formats, size checked from the header, and no text of a decoder reaches a message.
"""

from __future__ import annotations

import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit, limit_error, limit_value
from ovrun.log import logger
from ovrun.media.depth import to_eight_bit
from ovrun.media.raw import RawFrame

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
ORIENTATION = 0x0112  # tag of EXIF
FORMAT_HINT = f"give an image in one of the formats {', '.join(FORMATS)}"

ImageSource = str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8] | RawFrame

_PILLOW_LOCK = threading.Lock()  # Pillow's pixel cap and Python's warning filters are global


def load_image(source: ImageSource) -> Image.Image:
    """The image as RGB; of an animation the first frame.

    Args:
        source: path, bytes of a file, Pillow image, uint8 array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], or pixels in
            somebody's memory.

    Raises:
        OVError: BAD_INPUT for what is not a whole image, LIMIT_EXCEEDED for one that is too large or too thin.
    """
    if isinstance(source, RawFrame):
        _check_size(source.width_px, source.height_px, "the frame")
        return source.to_rgb()
    if isinstance(source, Image.Image):
        label, image = "the image", source
    elif isinstance(source, np.ndarray):
        label, image = "the array", _from_array(source)
    elif isinstance(source, bytes):
        label, image = "the image", _open_header(source, "the image")
    elif isinstance(source, (str, os.PathLike)):
        label = str(source)
        image = _open_header(_read_file(Path(source), label), label)
    else:
        raise OVError(
            ExitCode.BAD_INPUT, f"{type(source).__name__} is not an image", "give a path, bytes, Pillow image or array"
        )
    _check_size(image.width, image.height, label)
    decoded = _decode(image, label)
    return decoded.copy() if decoded is source else decoded  # the caller may go on to change it


def _read_file(path: Path, label: str) -> bytes:
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            raise OVError(ExitCode.BAD_INPUT, f"{label} is a directory", "give the files in it one by one")
        if not stat.S_ISREG(info.st_mode):
            raise OVError(ExitCode.BAD_INPUT, f"{label} is not a plain file", FORMAT_HINT)
        check_limit("image_bytes", info.st_size, f"{label} has")
        return path.read_bytes()
    except FileNotFoundError as err:
        raise OVError(ExitCode.BAD_INPUT, f"{label} does not exist", "check the path") from err
    except (OSError, ValueError) as err:  # ValueError: a null character in the path
        reason = getattr(err, "strerror", None) or "not a usable path"
        raise OVError(ExitCode.BAD_INPUT, f"{label} can't be read: {reason}", "check the path") from err


def _open_header(encoded: bytes, label: str) -> Image.Image:
    """Pillow's lazy image: format and size are known, no pixel is decoded yet."""
    if not encoded:
        raise OVError(ExitCode.BAD_INPUT, f"{label} is empty (0 bytes)", FORMAT_HINT)
    check_limit("image_bytes", len(encoded), f"{label} has")
    _check_webp_canvas(encoded, label)
    with _pillow(label, "is not an image that can be read", FORMAT_HINT):
        return Image.open(io.BytesIO(encoded), formats=FORMATS)


@contextmanager
def _pillow(label: str, complaint: str, hint: str) -> Iterator[None]:
    """Work of Pillow's decoders: our limit is theirs, their warnings are silent, their errors become ours."""
    with _PILLOW_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # palettes with transparency, damaged EXIF: neither changes the pixels
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        saved, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limit_value("image_pixels")
        try:
            yield
        except (MemoryError, OVError):
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as err:
            raise limit_error("image_pixels", f"{label} is too large to decode") from err
        except Exception as err:  # decoders raise nearly every type there is on damaged files
            raise OVError(ExitCode.BAD_INPUT, f"{label} {complaint}", hint) from err
        finally:
            Image.MAX_IMAGE_PIXELS = saved


def _check_webp_canvas(encoded: bytes, label: str) -> None:
    """Pillow before 13 takes memory for the canvas of an extended WebP on opening, before it checks the size."""
    if encoded[:4] == b"RIFF" and encoded[8:16] == b"WEBPVP8X" and len(encoded) >= 30:
        width_px = 1 + int.from_bytes(encoded[24:27], "little")
        height_px = 1 + int.from_bytes(encoded[27:30], "little")
        _check_size(width_px, height_px, label)


def _check_size(width_px: int, height_px: int, label: str) -> None:
    if width_px < 1 or height_px < 1:
        raise OVError(ExitCode.BAD_INPUT, f"{label} is {width_px} x {height_px} px: nothing to see", FORMAT_HINT)
    check_limit("image_pixels", width_px * height_px, f"{label} is {width_px} x {height_px} px:")
    longer, shorter = max(width_px, height_px), min(width_px, height_px)
    check_limit("image_aspect", longer / shorter, f"{label} is {width_px} x {height_px} px:")


def _decode(image: Image.Image, label: str) -> Image.Image:
    with _pillow(label, "is damaged or cut off: its pixels can't be decoded", "get the file again"):
        image.load()
        sixteen_bit = image.mode == "I" and image.format == "PNG"  # as older Pillow reads it
        return to_eight_bit(_upright(image, label), label, sixteen_bit=sixteen_bit)


def _upright(image: Image.Image, label: str) -> Image.Image:
    try:
        if image.getexif().get(ORIENTATION, 1) == 1:
            return image  # Pillow would give a copy
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # damaged EXIF does not make the pixels worse
        logger.warning("%s: its orientation (EXIF) can't be read and is ignored", label)
        return image


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    shape_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not shape_ok or array.size == 0:
        raise OVError(
            ExitCode.BAD_INPUT,
            f"an array of {array.dtype} {list(array.shape)} is not an image",
            "give uint8 of shape [height, width, 3]",
        )
    _check_size(array.shape[1], array.shape[0], "the array")
    flat = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    return Image.fromarray(np.ascontiguousarray(flat))
