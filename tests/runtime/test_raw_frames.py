"""Pixels in somebody's memory: those of the picture they are of, whatever the stride; and nothing outside is read."""

from __future__ import annotations

import ctypes
import mmap
import random
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.media.image import load_image
from ovrun.media.raw import COLOURS, RawFrame, frame_at

CHANNELS = {"rgb": [0, 1, 2], "bgr": [2, 1, 0], "rgba": [0, 1, 2, 0], "bgra": [2, 1, 0, 1]}
GUARDED = """
import ctypes, mmap
import numpy as np
from ovrun.media.raw import frame_at
page = mmap.PAGESIZE
mapped = []
for format, row in (("grey", 7), ("rgb", 21), ("bgra", 28), ("nv12", 7)):
    for stride in (0, 40, -40):
        rows, step = 5, abs(stride) or row
        planes = []
        for height, width in ((rows, row), ((rows + 1) // 2, 8))[: 2 if format == "nv12" else 1]:
            step = max(step, width) if stride else width
            memory = mmap.mmap(-1, 3 * page)
            mapped.append(memory)
            address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            libc = ctypes.CDLL(None)
            for guard in (address, address + 2 * page):
                assert libc.mprotect(ctypes.c_void_p(guard), page, 0) == 0
            length = (height - 1) * step + width
            for start in {address + page, address + 2 * page - length}:  # at either edge
                planes.append((start + (height - 1) * step * (stride < 0), stride and (step if stride > 0 else -step)))
        for first in planes[: len(planes) // (2 if format == "nv12" else 1)]:
            arguments = [first] if format != "nv12" else [first, planes[-1]]
            frame_at(format, 7, rows, arguments).to_rgb()
print("read")
"""


def laid_out(pixels: np.ndarray, gap: int, upwards: bool) -> tuple[np.ndarray, tuple[int, int]]:
    """Memory of exactly the length that rows [H, bytes] with a gap need, and (address, stride) of a plane."""
    height, row = pixels.shape
    stride = row + gap
    memory = np.full((height - 1) * stride + row, 99, np.uint8)
    for y in range(height):
        at = stride * (height - 1 - y if upwards else y)
        memory[at : at + row] = pixels[y]
    address = memory.ctypes.data + (stride * (height - 1) if upwards else 0)
    return memory, (address, (-stride if upwards else stride) if gap or upwards else 0)


@pytest.mark.parametrize("number", range(12))
def test_packed_formats_are_the_picture_to_the_bit(number: int) -> None:
    seed = random.randrange(1 << 32)
    chance = np.random.default_rng(seed)
    for format, order in CHANNELS.items():
        height, width = chance.integers(1, 70, 2)
        rgb = chance.integers(0, 256, (height, width, 3), np.uint8)
        rows = np.ascontiguousarray(rgb[..., order]).reshape(height, -1)
        memory, plane = laid_out(rows, int(chance.integers(0, 20)), bool(chance.integers(2)))
        frame = frame_at(format, int(width), int(height), [plane])
        image = load_image(frame)
        memory[:] = 0  # the picture is a copy
        assert image.mode == "RGB" and image.size == (width, height)
        assert np.array_equal(np.asarray(image), rgb), (seed, format, width, height, plane[1])


@pytest.mark.parametrize("number", range(12))
def test_grey_is_as_pillow_converts_it(number: int) -> None:
    seed = random.randrange(1 << 32)
    chance = np.random.default_rng(seed)
    height, width = chance.integers(1, 70, 2)
    grey = chance.integers(0, 256, (height, width), np.uint8)
    memory, plane = laid_out(grey, int(chance.integers(0, 9)), bool(chance.integers(2)))
    image = load_image(frame_at("grey", int(width), int(height), [plane]))
    memory[:] = 0
    assert np.array_equal(np.asarray(image), np.asarray(Image.fromarray(grey).convert("RGB"))), seed


def formula(luma: np.ndarray, chroma: np.ndarray, colour: str) -> np.ndarray:
    """RGB by the definition of ITU-R BT.601 and BT.709, each chroma sample for its four pixels."""
    height, width = luma.shape
    cb, cr = (np.repeat(np.repeat(chroma[:, c::2], 2, 0), 2, 1)[:height, :width].astype(float) - 128 for c in (0, 1))
    y = luma.astype(float)
    if not colour.endswith("full"):
        y, cb, cr = (y - 16) * 255 / 219, cb * 255 / 224, cr * 255 / 224
    red, blue = (0.299, 0.114) if colour.startswith("bt601") else (0.2126, 0.0722)
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    return np.clip(np.stack([r, (y - red * r - blue * b) / (1 - red - blue), b], -1), 0, 255)


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("colour", COLOURS)
def test_nv12_is_the_formula_rounded(number: int, colour: str) -> None:
    seed = random.randrange(1 << 32)
    chance = np.random.default_rng(seed)
    height, width = (int(side) for side in chance.integers(1, 90, 2))
    luma = chance.integers(0, 256, (height, width), np.uint8)
    chroma = chance.integers(0, 256, ((height + 1) // 2, 2 * ((width + 1) // 2)), np.uint8)
    memory = [laid_out(rows, int(chance.integers(0, 9)), bool(chance.integers(2))) for rows in (luma, chroma)]
    image = load_image(frame_at("nv12", width, height, [plane for _, plane in memory], colour))
    error = np.abs(np.asarray(image).astype(float) - formula(luma, chroma, colour))
    assert error.max() <= 0.51, (seed, width, height, error.max())


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize(("colour", "space"), [("bt601", "ITU601"), ("bt709", "ITU709")])
def test_nv12_is_what_swscale_makes_of_it(number: int, colour: str, space: str) -> None:
    """Within 4 levels: it rounds down, and goes from one colour sample to the next in steps."""
    seed = random.randrange(1 << 32)
    chance = np.random.default_rng(seed)
    height, width = (2 * int(side) for side in chance.integers(8, 60, 2))
    luma = chance.integers(40, 200, (height, width), np.uint8)
    chroma = np.empty((height // 2, width), np.uint8)
    chroma[:, 0::2], chroma[:, 1::2] = chance.integers(100, 156, 2)
    frame = av.VideoFrame.from_ndarray(np.concatenate([luma, chroma]), "nv12")
    theirs = frame.to_ndarray(format="rgb24", src_colorspace=space, dst_colorspace=space).astype(float)
    planes = [(plane.ctypes.data, 0) for plane in (luma, chroma)]
    ours = np.asarray(load_image(frame_at("nv12", width, height, planes, colour)))
    assert np.abs(ours - theirs).max() <= 4, (seed, width, height)


def test_nothing_outside_of_the_rows_is_read() -> None:
    """Rows that begin or end where memory that can't be read is; in a process of its own, which that would end."""
    done = subprocess.run([sys.executable, "-c", GUARDED], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr


@pytest.mark.parametrize("stride", [1, -1, 1 << 31, 3 << 30, -(3 << 30), -(1 << 62)])
def test_the_stride_of_a_single_row_means_nothing(stride: int) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (1, 9, 3), np.uint8)
    image = load_image(frame_at("rgb", 9, 1, [(rgb.ctypes.data, stride)]))
    assert np.array_equal(np.asarray(image), rgb)
    chroma = np.full((1, 10), 128, np.uint8)  # one row of it for two of luma
    planes = [(rgb.ctypes.data, 9), (chroma.ctypes.data, stride)]
    assert load_image(frame_at("nv12", 9, 2, planes)).size == (9, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="takes address space without memory")
@pytest.mark.parametrize("format", ["grey", "rgb"])
@pytest.mark.parametrize("upwards", [False, True])
@pytest.mark.parametrize(("stride", "height"), [(3 << 30, 2), ((1 << 31) - 1, 2), (1 << 30, 5), ((1 << 30) - 1, 2)])
def test_rows_that_lie_far_apart(stride: int, height: int, upwards: bool, format: str) -> None:
    rows = np.random.default_rng(2).integers(0, 256, (height, 12), np.uint8)
    length = stride * (height - 1) + 12
    unreserved = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    with mmap.mmap(-1, length, flags=unreserved) as memory:
        for y in range(height):
            at = stride * (height - 1 - y if upwards else y)
            memory[at : at + 12] = rows[y].tobytes()
        anchor = ctypes.c_char.from_buffer(memory)
        first = ctypes.addressof(anchor) + (stride * (height - 1) if upwards else 0)
        width = 12 if format == "grey" else 4
        image = load_image(frame_at(format, width, height, [(first, -stride if upwards else stride)]))
        del anchor
    pixels = np.asarray(image)
    assert np.array_equal(pixels[..., 0] if format == "grey" else pixels.reshape(height, 12), rows)


def test_views_of_numpy_are_frames() -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (20, 30, 3), np.uint8)
    region = pixels[3:15, 4:20]
    rows = np.lib.stride_tricks.as_strided(region, (12, 16 * 3), (pixels.strides[0], 1))
    frame = RawFrame(format="bgr", width_px=16, height_px=12, planes=(rows,))
    assert np.array_equal(np.asarray(frame.to_rgb()), region[..., ::-1])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("yuyv", 4, 4, [(1, 0)]), ExitCode.USAGE, "yuyv"),
        (("rgb", 0, 4, [(1, 0)]), ExitCode.BAD_INPUT, "no pixels"),
        (("rgb", 4, 4, [(0, 0)]), ExitCode.BAD_INPUT, "null pointer"),
        (("rgb", 4, 4, [(1, 11)]), ExitCode.BAD_INPUT, "stride of 11"),
        (("rgb", 4, 4, [(40, -20)]), ExitCode.BAD_INPUT, "out of memory"),
        (("nv12", 4, 4, [(1, 0)]), ExitCode.BAD_INPUT, "2 planes"),
        (("rgb", 1 << 20, 1 << 20, [(1, 0)]), ExitCode.LIMIT_EXCEEDED, "image_pixels"),
        (("nv12", 4, 4, [(1, 0), (1, 0)], "sepia"), ExitCode.USAGE, "sepia"),
    ],
)
def test_what_is_no_frame_is_refused(arguments: tuple, code: ExitCode, words: str) -> None:
    with pytest.raises(OVError, match=words) as caught:
        frame_at(*arguments)
    assert caught.value.code is code and caught.value.hint
