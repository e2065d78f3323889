"""NV12 from C++ is made RGB of by a loop of its own; ovrun/media/raw.py says what it must come to."""

from __future__ import annotations

import ctypes
import platform
import random
from pathlib import Path

import numpy as np
import pytest
from c_abi import Frame, Library, Media, Request
from numpy.typing import NDArray

from ovrun.media.raw import COLOURS, frame_at, rgb_matrix
from ovrun.session import Session

OV_NV12, OV_FRAME = 6, 3

Plane = tuple[int, int]  # address and stride


def plane(rows: NDArray[np.uint8], gap: int, upwards: bool) -> tuple[Plane, NDArray[np.uint8]]:
    """The rows as they are in memory of just their size, `gap` bytes apart, and that memory."""
    count, width = rows.shape
    stride = width + gap
    memory = np.full((count - 1) * stride + width, 77, np.uint8)
    for number, row in enumerate(rows[::-1] if upwards else rows):
        memory[number * stride : number * stride + width] = row
    first = memory.ctypes.data + ((count - 1) * stride if upwards else 0)
    return (first, -stride if upwards else stride), memory


def converted(loop: ctypes.CDLL, width: int, height: int, planes: list[Plane], colour: str) -> NDArray[np.uint8]:
    frame = Frame(OV_NV12, 0, width, height)
    for i, (address, stride) in enumerate(planes):
        frame.planes[i], frame.stride_bytes[i] = address, stride
    out = np.zeros((height, width, 4), np.uint8)
    factors = (ctypes.c_float * 12)(*rgb_matrix(colour))
    loop.rgbx(ctypes.byref(frame), factors, ctypes.c_void_p(out.ctypes.data))
    assert (out[..., 3] == 255).all()
    return out[..., :3]


@pytest.mark.parametrize("colour", COLOURS)
def test_the_loop_makes_the_pixels_of_python(programs: Path, colour: str) -> None:
    loop = ctypes.CDLL(str(programs / "nv12.so"))
    choose, noise = random.Random(colour), np.random.default_rng(7)
    allowed = 0 if platform.machine() == "x86_64" else 1  # others may multiply and add in one step
    for _ in range(150):
        width, height = choose.choice([1, 2, 3, 7, 16, 33, 64, 131]), choose.choice([1, 2, 3, 4, 9, 32])
        luma = noise.integers(0, 256, (height, width), np.uint8)
        chroma = noise.integers(0, 256, ((height + 1) // 2, 2 * ((width + 1) // 2)), np.uint8)
        laid = [plane(rows, choose.choice([0, 1, 5, 64]), choose.random() < 0.5) for rows in (luma, chroma)]
        planes = [place for place, _ in laid]
        right = np.asarray(frame_at("nv12", width, height, planes, colour).to_rgb())
        told = converted(loop, width, height, planes, colour)
        assert np.abs(told.astype(int) - right).max() <= allowed, (width, height, planes)


def test_an_answer_about_nv12_is_that_of_python(library: Path, tiny_bundle: Path) -> None:
    width, height = 75, 53
    noise = np.random.default_rng(3)
    luma = noise.integers(0, 256, (height, width), np.uint8)
    chroma = noise.integers(0, 256, ((height + 1) // 2, width + 1), np.uint8)
    frame = Frame(OV_NV12, 1, width, height)
    frame.planes[0], frame.planes[1] = luma.ctypes.data, chroma.ctypes.data
    ov = Library(library)
    session = ov.open(tiny_bundle)
    image = Media(kind=OV_FRAME, frame=frame)
    request = Request(prompt=b"Describe this image.", images=ctypes.pointer(image), num_images=1)
    told, _ = ov.generate(session, request)
    ov.check(ov.c.ov_session_close(session))
    python = frame_at("nv12", width, height, [(luma.ctypes.data, 0), (chroma.ctypes.data, 0)], "bt709")
    with Session.open(tiny_bundle, threads=1) as own:
        assert told == list(own.generate(images=[python]).token_ids)
