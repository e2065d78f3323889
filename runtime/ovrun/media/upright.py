"""Turns a decoded frame into an upright RGB image.

The model sees the stored pixels: a sample aspect ratio other than 1:1 is left as it is, as in transformers and in
the released code, which squeeze every frame to a square anyway.
"""

from __future__ import annotations

import struct

import av
from PIL import Image

# By the signs of a, b, c, d in the display matrix: x' = a x + c y, y' = b x + d y, with y pointing down.
_TURNS = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}


def upright_image(frame: av.VideoFrame) -> Image.Image:
    """The frame in mode RGB, turned and mirrored as its display matrix says (to the nearest quarter turn)."""
    turn = _turn(frame)
    image = _to_image(frame)
    return image if turn is None else image.transpose(turn)


def _to_image(frame: av.VideoFrame) -> Image.Image:
    try:
        return frame.to_image(threads=1)  # or the scaler starts as many as there are processors, for every frame
    except TypeError:  # PyAV before it had a choice
        return frame.to_image()


def _turn(frame: av.VideoFrame) -> Image.Transpose | None:
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, av.buffer.Buffer) or matrix.buffer_size != 36:
        return None
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    half = max(abs(value) for value in (a, b, c, d)) // 2
    signs = tuple((value > half) - (value < -half) for value in (a, b, c, d))
    return _TURNS.get(signs)  # type: ignore[arg-type]
