"""A picture as a camera or a decoder holds it: rows in memory, in a pixel format, to RGB in one pass.

The memory is somebody else's and is read when `to_rgb` is called, never after. Knows no file formats.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit

MOST_BYTES = (1 << 31) - 1  # that Pillow can count
PACKED = {"rgb": ("RGB", 3), "bgr": ("BGR", 3), "rgba": ("RGBX", 4), "bgra": ("BGRX", 4)}  # Pillow's name, bytes
FORMATS = (*PACKED, "grey", "nv12")
# The shares of red and blue in luma, its black, and the widths of luma and chroma (ITU-R BT.601, BT.709; JPEG is full).
COLOURS = {
    "bt601": (0.299, 0.114, 16, 219, 224),
    "bt709": (0.2126, 0.0722, 16, 219, 224),
    "bt601-full": (0.299, 0.114, 0, 255, 255),
    "bt709-full": (0.2126, 0.0722, 0, 255, 255),
}

Rows = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class RawFrame:
    """An image in `format`. `planes` are its rows of bytes, [rows, bytes of a row], apart by any stride.

    Alpha is dropped without compositing, as of files. nv12 has two planes, luma and half as many rows of interleaved
    Cb Cr; `colour` says which matrix and range its numbers are of.
    """

    format: str
    width_px: int
    height_px: int
    planes: tuple[Rows, ...]
    colour: str = "bt601"

    def to_rgb(self) -> Image.Image:
        """A copy as RGB, which the memory may be taken from under."""
        if self.format == "nv12":
            return self._from_nv12()
        (rows,) = self.planes
        if self.format == "grey":
            return _band("L", rows).convert("RGB")
        flat, stride, step = _flat(rows)
        size = (self.width_px, self.height_px)
        return Image.frombytes("RGB", size, flat, "raw", PACKED[self.format][0], stride, step)

    def _from_nv12(self) -> Image.Image:
        """Each colour sample for its four pixels. In floats: swscale is 3 levels off, and wraps around what is brighter
        than white."""
        luma, chroma = self.planes
        bands = [_band("L", luma), *_band("LA", chroma).split()]
        size, whole = (self.width_px, self.height_px), (chroma.shape[1], 2 * chroma.shape[0])
        for i in (1, 2):
            wide = bands[i].resize(whole, Image.Resampling.NEAREST)
            bands[i] = wide if whole == size else wide.crop((0, 0, *size))
        return Image.merge("RGB", bands).convert("RGB", rgb_matrix(self.colour))


def frame_at(
    format: str, width_px: int, height_px: int, planes: Sequence[tuple[int, int]], colour: str = "bt601"
) -> RawFrame:
    """A frame over memory of the caller: the address and the stride of each plane.

    Strides are bytes from a row to the next: 0 for rows without a gap, below zero for rows from the bottom up, the
    address being that of the uppermost row.

    Raises:
        OVError: USAGE for a format that does not exist, BAD_INPUT or LIMIT_EXCEEDED for what can't be an image.
    """
    if format not in FORMATS or colour not in COLOURS:
        known = f"formats: {', '.join(FORMATS)}; colours: {', '.join(COLOURS)}"
        raise OVError(ExitCode.USAGE, f"no frames are in {format!r}, {colour!r}", known)
    if width_px < 1 or height_px < 1:
        raise OVError(ExitCode.BAD_INPUT, f"a frame of {width_px} x {height_px} px has no pixels", "give its size")
    check_limit("image_pixels", width_px * height_px, f"the frame is {width_px} x {height_px} px:")
    shapes = _plane_shapes(format, width_px, height_px)
    if len(planes) < len(shapes):
        raise OVError(ExitCode.BAD_INPUT, f"{format} has {len(shapes)} planes, not {len(planes)}", "give all of them")
    rows = tuple(_rows_at(*plane, *shape) for plane, shape in zip(planes, shapes, strict=False))
    return RawFrame(format=format, width_px=width_px, height_px=height_px, planes=rows, colour=colour)


def _plane_shapes(format: str, width_px: int, height_px: int) -> list[tuple[int, int]]:
    """(rows, bytes of a row) of each plane."""
    if format == "nv12":
        return [(height_px, width_px), ((height_px + 1) // 2, 2 * ((width_px + 1) // 2))]
    return [(height_px, width_px * (1 if format == "grey" else PACKED[format][1]))]


def _rows_at(address: int, stride_bytes: int, num_rows: int, row_bytes: int) -> Rows:
    if not address:
        raise OVError(ExitCode.BAD_INPUT, "a plane of the frame is a null pointer", "give the address of its first row")
    stride = stride_bytes if stride_bytes and num_rows > 1 else row_bytes  # that of a single row leads nowhere
    if abs(stride) < row_bytes:
        raise OVError(
            ExitCode.BAD_INPUT,
            f"a stride of {stride_bytes} bytes is less than the {row_bytes} of a row",
            "give the bytes from one row to the next, or 0 for rows without a gap",
        )
    length = (num_rows - 1) * abs(stride) + row_bytes  # what lies after the last row may not be there
    lowest = address if stride > 0 else address + (num_rows - 1) * stride
    if lowest < 1 or lowest + length >= 1 << 63:
        raise OVError(ExitCode.BAD_INPUT, f"a stride of {stride_bytes} bytes leads out of memory", "check the frame")
    memory = (ctypes.c_ubyte * length).from_address(lowest)
    return np.ndarray((num_rows, row_bytes), np.uint8, memoryview(memory), address - lowest, (stride, 1))


@lru_cache(maxsize=len(COLOURS))
def rgb_matrix(colour: str) -> tuple[float, ...]:
    """From Y, Cb and Cr to RGB: three rows of three factors and what is added."""
    red, blue, black, luma_width, chroma_width = COLOURS[colour]
    y, chroma = 255 / luma_width, 2 * 255 / chroma_width
    from_cr, from_cb = (1 - red) * chroma, (1 - blue) * chroma
    green = 1 - red - blue
    rows = ((y, 0.0, from_cr), (y, -from_cb * blue / green, -from_cr * red / green), (y, from_cb, 0.0))
    return tuple(value for row in rows for value in (*row, -black * row[0] - 128 * (row[1] + row[2])))


def _band(mode: str, rows: Rows) -> Image.Image:
    """Rows of bytes as an image over the same memory, of one or two bytes a pixel; to be made another at once."""
    flat, stride, step = _flat(rows)
    size = (rows.shape[1] // len(mode), rows.shape[0])
    return Image.frombuffer(mode, size, flat, "raw", mode, stride, step)


def _flat(rows: Rows) -> tuple[Rows, int, int]:
    """Memory from the lowest address on, bytes from row to row, and 1 for rows downwards or -1 for upwards, as Pillow
    wants them. The memory is said to have a whole stride for the last row, which nobody reads to its end. Rows that lie
    too far apart for Pillow are copied: what a frame may have of pixels, it can count."""
    stride, step = rows.strides[0], 1
    if stride < 0:
        rows, stride, step = rows[::-1], -stride, -1
    if rows.strides[1] != 1 or stride < rows.shape[1] or rows.shape[0] * stride > MOST_BYTES:
        rows, stride = np.ascontiguousarray(rows), rows.shape[1]
    return np.lib.stride_tricks.as_strided(rows, (rows.shape[0] * stride,), (1,)), stride, step
