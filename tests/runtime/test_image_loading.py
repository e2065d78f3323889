"""Loading images: pixels against transformers' load_image, deep pixels against arithmetic, and everything refused."""

from __future__ import annotations

import errno
import io
import os
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ovengines.errors import ExitCode, OVError
from ovrun.media.image import load_image

ADDRESS = re.compile(r"0x[0-9a-fA-F]{4,}|<_io")


def _noise(mode: str, size: tuple[int, int] = (13, 7), seed: int = 0) -> Image.Image:
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4, "YCbCr": 3, "HSV": 3, "RGBX": 4}[mode]
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.frombytes(mode, size, data.tobytes())


def _encoded(image: Image.Image, format_: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


def _palette_with_transparency() -> Image.Image:
    image = _noise("RGB").quantize(16)
    image.info["transparency"] = bytes(range(0, 256, 16))
    return image


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _animation(format_: str) -> bytes:
    frames = [Image.new("RGB", (9, 5), colour) for colour in ("red", "blue")]
    return _encoded(frames[0], format_, save_all=True, append_images=frames[1:], duration=50)


ORDINARY = {
    "png rgb": _encoded(_noise("RGB"), "PNG"),
    "png rgba": _encoded(_noise("RGBA"), "PNG"),
    "png grey": _encoded(_noise("L"), "PNG"),
    "png grey alpha": _encoded(_noise("LA"), "PNG"),
    "png 1 bit": _encoded(_noise("L").convert("1"), "PNG"),
    "png palette": _encoded(_noise("RGB").quantize(16), "PNG"),
    "png palette transparency": _encoded(_palette_with_transparency(), "PNG"),
    "png one transparent colour": _encoded(_noise("RGB"), "PNG", transparency=(0, 0, 0)),
    "jpeg rgb": _encoded(_noise("RGB"), "JPEG"),
    "jpeg grey": _encoded(_noise("L"), "JPEG"),
    "jpeg cmyk": _encoded(_noise("CMYK"), "JPEG"),
    "jpeg progressive": _encoded(_noise("RGB", (40, 30)), "JPEG", progressive=True),
    "webp lossless alpha": _encoded(_noise("RGBA"), "WEBP", lossless=True),
    "webp lossy": _encoded(_noise("RGB"), "WEBP"),
    "webp animated": _animation("WEBP"),
    "bmp": _encoded(_noise("RGB"), "BMP"),
    "gif": _encoded(_noise("RGB").quantize(16), "GIF"),
    "gif animated": _animation("GIF"),
    "tiff rgb": _encoded(_noise("RGB"), "TIFF"),
    "tiff lzw cmyk": _encoded(_noise("CMYK"), "TIFF", compression="tiff_lzw"),
    "tiff ycbcr": _encoded(_noise("YCbCr"), "TIFF"),
    "one pixel": _encoded(_noise("RGB", (1, 1)), "PNG"),
    **{f"jpeg orientation {i}": _encoded(_noise("RGB"), "JPEG", exif=_exif(i)) for i in range(1, 9)},
    **{f"png orientation {i}": _encoded(_noise("RGB"), "PNG", exif=_exif(i)) for i in (3, 6)},
}


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("kind", ["path", "str", "bytes", "pillow"])
def test_pixels_equal_transformers(name: str, kind: str, tmp_path: Path) -> None:
    from transformers.image_utils import load_image as their_load_image

    file = tmp_path / "image.bin"
    file.write_bytes(ORDINARY[name])
    sources = {"path": file, "str": str(file), "bytes": ORDINARY[name]}
    source = sources[kind] if kind in sources else Image.open(file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = load_image(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = their_load_image(str(file))
    assert ours.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("channels", [None, 1, 3, 4])
def test_arrays(channels: int | None) -> None:
    shape = (7, 13) if channels is None else (7, 13, channels)
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pixels = np.asarray(load_image(array))
    expected = array[..., :3] if channels in (3, 4) else np.broadcast_to(array.reshape(7, 13, 1), (7, 13, 3))
    np.testing.assert_array_equal(pixels, expected)
    flipped = array[::-1, ::-1]  # strides below zero
    np.testing.assert_array_equal(np.asarray(load_image(flipped)), pixels[::-1, ::-1])


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_modes(mode: str) -> None:
    source = _noise(mode.upper()).convert(mode)
    np.testing.assert_array_equal(
        np.asarray(load_image(source)), np.asarray(source.convert(mode.upper()).convert("RGB"))
    )


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(format_: str) -> None:
    deep_HW = np.random.default_rng(0).integers(0, 65_536, (7, 13)).astype(np.uint16)
    deep_HW[0, :2] = 0, 65_535
    pixels = np.asarray(load_image(_encoded(Image.fromarray(deep_HW), format_)))
    np.testing.assert_array_equal(pixels, np.repeat((deep_HW >> 8).astype(np.uint8)[..., None], 3, axis=2))


def test_big_endian_sixteen_bit_grey() -> None:
    deep_HW = np.random.default_rng(1).integers(0, 65_536, (7, 13)).astype(np.uint16)
    image = Image.frombytes("I;16B", (13, 7), deep_HW.astype(">u2").tobytes())
    np.testing.assert_array_equal(np.asarray(load_image(image))[..., 0], deep_HW >> 8)


def test_dark_sixteen_bit_png_stays_dark_in_whatever_mode_pillow_reads_it() -> None:
    deep_HW = np.full((4, 4), 200, dtype=np.uint16)
    assert np.asarray(load_image(_encoded(Image.fromarray(deep_HW), "PNG"))).max() == 0
    older = Image.fromarray(deep_HW.astype(np.int32))
    older.format = "PNG"
    assert np.asarray(load_image(older)).max() == 0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 127.6, 255]], np.float32), [0, 128, 255]),
        (np.array([[0, 256, 65_535]], np.float32), [0, 1, 255]),
        (np.array([[0, 7, 255]], np.int32), [0, 7, 255]),
        (np.array([[0, 256, 65_535]], np.int32), [0, 1, 255]),
    ],
)
def test_deep_pixels_have_the_white_that_fits(values: np.ndarray, expected: list[int]) -> None:
    for image in (Image.fromarray(values), _encoded(Image.fromarray(values), "TIFF")):
        assert np.asarray(load_image(image))[0, :, 0].tolist() == expected


def _png_header(width_px: int, height_px: int) -> bytes:
    """A PNG whose header promises a size and whose data does not hold it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _gif_header(width_px: int, height_px: int) -> bytes:
    size = struct.pack("<HH", width_px, height_px)
    return b"GIF89a" + size + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0" + size + b"\0\x02\x02D\x01\0;"


def _bmp_header(width_px: int, height_px: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width_px, height_px, 1, 24, 0, 0, 1, 1, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def _webp_header(width_px: int, height_px: int) -> bytes:
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x02\0\0\0"
    body += (width_px - 1).to_bytes(3, "little") + (height_px - 1).to_bytes(3, "little") + b"\0" * 20
    return b"RIFF" + struct.pack("<I", len(body)) + body


HUGE = {
    "png": _png_header(100_000, 100_000),
    "gif": _gif_header(65_535, 65_535),
    "bmp": _bmp_header(100_000, 100_000),
    "webp": _webp_header(100_000, 100_000),
    "png just above": _png_header(16_384, 8193),
}


@pytest.mark.parametrize("name", HUGE)
def test_too_many_pixels_are_refused_from_the_header(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", _must_not_decode)
    with pytest.raises(OVError) as caught:
        load_image(HUGE[name])
    assert caught.value.code is ExitCode.LIMIT_EXCEEDED
    assert "image_pixels of 134,217,728" in caught.value.message and "OV_MAX_IMAGE_PIXELS" in caught.value.hint


def test_webp_is_refused_before_pillow_takes_memory_for_its_canvas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", _must_not_decode)
    for size, limit in (((100_000, 100_000), "image_pixels"), ((1, 16_000_000), "image_aspect")):
        with pytest.raises(OVError) as caught:
            load_image(_webp_header(*size))
        assert caught.value.code is ExitCode.LIMIT_EXCEEDED and limit in caught.value.message


def _must_not_decode(*_: object, **__: object) -> None:
    raise AssertionError("decoded an image that should have been refused")


@pytest.mark.parametrize("kind", ["bytes", "pillow", "array"])
def test_the_pixel_limit_moves_and_pillows_own_is_left_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Image.MAX_IMAGE_PIXELS
    array = np.zeros((7, 13, 3), np.uint8)
    image = Image.fromarray(array)
    source = {"bytes": _encoded(image, "PNG"), "pillow": image, "array": array}[kind]
    monkeypatch.setenv("OV_MAX_IMAGE_PIXELS", "91")
    assert load_image(source).size == (13, 7)
    for below in ("90", "40"):  # Pillow warns above its limit, and fails above twice that
        monkeypatch.setenv("OV_MAX_IMAGE_PIXELS", below)
        with pytest.raises(OVError) as caught:
            load_image(source)
        assert caught.value.code is ExitCode.LIMIT_EXCEEDED
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_raised_limit_reaches_beyond_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert load_image(_encoded(_noise("RGB"), "PNG")).size == (13, 7)


@pytest.mark.parametrize(
    ("size", "fits"), [((1, 2304), True), ((2304, 1), True), ((1, 4000), True), ((1, 4001), False)]
)
def test_aspect(size: tuple[int, int], fits: bool) -> None:
    encoded = _encoded(Image.new("RGB", size), "PNG")
    if fits:
        assert load_image(encoded).size == size
        return
    with pytest.raises(OVError) as caught:
        load_image(encoded)
    assert caught.value.code is ExitCode.LIMIT_EXCEEDED and "image_aspect of 4,000:1" in caught.value.message


@pytest.mark.parametrize("size", [(1, 50_000), (50_000, 1)])
def test_lines_are_refused_from_the_header(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = _encoded(Image.new("RGB", size), "PNG")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", _must_not_decode)
    with pytest.raises(OVError) as caught:
        load_image(encoded)
    assert caught.value.code is ExitCode.LIMIT_EXCEEDED and "OV_MAX_IMAGE_ASPECT" in caught.value.hint


def test_bytes_are_limited_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sparse.png"
    with open(file, "wb") as stream:
        stream.truncate(1 << 40)  # takes no disk
    with pytest.raises(OVError) as caught:
        load_image(file)
    assert caught.value.code is ExitCode.LIMIT_EXCEEDED and "image_bytes" in caught.value.message
    monkeypatch.setenv("OV_MAX_IMAGE_BYTES", "10")
    with pytest.raises(OVError) as caught:
        load_image(ORDINARY["png rgb"])
    assert caught.value.code is ExitCode.LIMIT_EXCEEDED


def _vector() -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"


NOT_IMAGES = {
    "empty": b"",
    "text": b"hello, I am not an image\n" * 20,
    "zeros": b"\0" * 1000,
    "only a signature": b"\x89PNG\r\n\x1a\n",
    "another format (ppm)": b"P6\n2 2\n255\n" + b"\0" * 12,
    "another format (eps)": _vector(),
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
}


def _assert_bad_input(source: Any) -> OVError:
    with pytest.raises(OVError) as caught:
        load_image(source)
    error = caught.value
    assert error.code is ExitCode.BAD_INPUT and error.hint
    assert "\n" not in error.message and not ADDRESS.search(error.message), error.message
    return error


@pytest.mark.parametrize("name", NOT_IMAGES)
def test_what_is_no_image(name: str) -> None:
    _assert_bad_input(NOT_IMAGES[name])


@pytest.mark.parametrize("name", ["png rgb", "jpeg rgb", "webp lossy", "gif", "tiff rgb", "bmp", "jpeg progressive"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.8])
def test_truncated(name: str, kept: float) -> None:
    whole = ORDINARY[name]
    _assert_bad_input(whole[: int(len(whole) * kept)])


@pytest.mark.parametrize("name", sorted(ORDINARY))
def test_damaged_bytes_give_an_image_or_a_clean_error(name: str) -> None:
    random = np.random.default_rng(len(name))
    for _ in range(40):
        damaged = bytearray(ORDINARY[name])
        for place in random.integers(0, len(damaged), int(random.integers(1, 8))):
            damaged[place] = random.integers(0, 256)
        try:
            assert load_image(bytes(damaged)).mode == "RGB"
        except OVError as err:
            assert err.code in (ExitCode.BAD_INPUT, ExitCode.LIMIT_EXCEEDED)
            assert not ADDRESS.search(err.message) and "\n" not in err.message


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    assert "directory" in _assert_bad_input(tmp_path).message
    assert "does not exist" in _assert_bad_input(tmp_path / "no.png").message
    assert "nope" in _assert_bad_input("nope/\0.png").message
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    assert "not a plain file" in _assert_bad_input(tmp_path / "pipe.png").message
    assert "can't be read" in _assert_bad_input("x" * 5000).message
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    _assert_bad_input(loop)


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret.png"
    file.write_bytes(ORDINARY["png rgb"])

    def denied(path: Path) -> bytes:  # in place of chmod, which does not stop root
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "Permission denied" in _assert_bad_input(file).message


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((3,), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.int64),
    ],
)
def test_arrays_that_are_no_images(array: np.ndarray) -> None:
    _assert_bad_input(array)


@pytest.mark.parametrize("source", [None, 3, [1, 2], {"image": 1}])
def test_objects_that_are_no_images(source: Any) -> None:
    _assert_bad_input(source)


@pytest.mark.parametrize(
    "values", [[[np.nan, 1.0]], [[-1.0, 1.0]], [[0.0, 1e9]], [[np.inf, 0.0]]], ids=["nan", "negative", "large", "inf"]
)
def test_floats_without_a_known_white(values: list[list[float]]) -> None:
    assert "0 to 65,535" in _assert_bad_input(Image.fromarray(np.array(values, np.float32))).message


def test_damaged_exif_does_not_cost_the_image(caplog: pytest.LogCaptureFixture) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\xff\xff\xff\xff\xff\xff" * 3
    damaged = _encoded(_noise("RGB"), "JPEG", exif=exif)
    assert load_image(damaged).size == (13, 7)


def test_drawn_picture_survives_unchanged() -> None:
    image = Image.new("RGB", (50, 40), "white")
    ImageDraw.Draw(image).ellipse((5, 5, 30, 30), fill="red")
    np.testing.assert_array_equal(np.asarray(load_image(image)), np.asarray(image))


def test_memory_errors_are_not_disguised(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", out_of_memory)
    with pytest.raises(MemoryError):
        load_image(ORDINARY["png rgb"])
