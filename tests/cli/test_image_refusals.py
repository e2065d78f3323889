"""`ovrun` on files that are no usable images, on prompts that do not fit and on devices that are not there."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_outcome import Outcome, assert_refused
from PIL import Image

from ovengines.errors import ExitCode

Command = Callable[..., Outcome]


def png_header(width_px: int, height_px: int) -> bytes:
    """A PNG that promises pixels and has none."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head) - 4) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\x00\x00\x00\x00IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def _missing(file: Path, picture: Path) -> None:
    assert not file.exists()


def _truncated(file: Path, picture: Path) -> None:
    file.write_bytes(picture.read_bytes()[: picture.stat().st_size // 2])


def _text(file: Path, picture: Path) -> None:
    file.write_text("a picture of a cat, honestly")


def _empty(file: Path, picture: Path) -> None:
    file.touch()


def _directory(file: Path, picture: Path) -> None:
    file.mkdir()


def _huge(file: Path, picture: Path) -> None:
    file.write_bytes(png_header(100_000, 100_000))


def _line(file: Path, picture: Path) -> None:
    Image.new("L", (1, 50_000)).save(file)


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (_missing, ExitCode.BAD_INPUT, "does not exist"),
        (_truncated, ExitCode.BAD_INPUT, "cut off"),
        (_text, ExitCode.BAD_INPUT, "not an image"),
        (_empty, ExitCode.BAD_INPUT, "empty"),
        (_directory, ExitCode.BAD_INPUT, "directory"),
        (_huge, ExitCode.LIMIT_EXCEEDED, "OV_MAX_IMAGE_PIXELS"),
        (_line, ExitCode.LIMIT_EXCEEDED, "OV_MAX_IMAGE_ASPECT"),
    ],
)
@pytest.mark.parametrize("json_", [False, True])
def test_what_is_no_usable_image(
    spoil: Callable[[Path, Path], None],
    code: ExitCode,
    words: str,
    json_: bool,
    ovrun: Command,
    bundle: Path,
    picture: Path,
    tmp_path: Path,
) -> None:
    file = tmp_path / "spoilt.png"
    spoil(file, picture)
    options = ["--json"] if json_ else []
    assert_refused(ovrun(file, "-m", bundle, *options), code, words, "spoilt.png")
    assert_refused(ovrun(picture, file, "-m", bundle, *options), code, words, "spoilt.png")  # a good one before it


@pytest.mark.parametrize("size", [(1, 2304), (2304, 1), (1, 1)])
def test_thin_images_work(size: tuple[int, int], ovrun: Command, bundle: Path, tmp_path: Path) -> None:
    Image.new("RGB", size, "red").save(tmp_path / "thin.png")
    outcome = ovrun(tmp_path / "thin.png", "-m", bundle, "--json", "--max-new-tokens", 2)
    assert outcome.code == 0 and json.loads(outcome.out)["image_tokens"] > 0, outcome


def test_a_prompt_longer_than_the_context(ovrun: Command, bundle: Path, picture: Path) -> None:
    outcome = ovrun(picture, "-m", bundle, "-p", "ab1 " * 1000)
    assert_refused(outcome, ExitCode.LIMIT_EXCEEDED, "context of 700", "shorter prompt")


def test_a_prompt_longer_than_the_limit(
    ovrun: Command, bundle: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OV_MAX_PROMPT_CHARS", "50")
    outcome = ovrun(picture, "-m", bundle, "-p", "a" * 51)
    assert_refused(outcome, ExitCode.LIMIT_EXCEEDED, "prompt_chars", "OV_MAX_PROMPT_CHARS")


@pytest.mark.parametrize(
    ("device", "code"),
    [("cuda", ExitCode.MISSING_DEPENDENCY), ("tensorrt", ExitCode.MISSING_DEPENDENCY), ("abacus", ExitCode.USAGE)],
)
def test_devices_that_are_not_there(
    device: str, code: ExitCode, ovrun: Command, bundle: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ovengines import devices

    monkeypatch.setattr(devices, "providers", lambda: ["CPUExecutionProvider"])  # on a machine with a GPU, too
    assert_refused(ovrun(picture, "-m", bundle, "--device", device), code, device)


@pytest.mark.parametrize(
    "words",
    [["--no-such-option"], ["--temperature", "hot"], ["--max-new-tokens", "0"], ["--temp", "1"], ["--video"]],
)
def test_wrong_usage(words: list[str], ovrun: Command, bundle: Path, picture: Path) -> None:
    assert_refused(ovrun(picture, "-m", bundle, *words), ExitCode.USAGE)


def test_no_image(ovrun: Command, bundle: Path) -> None:
    assert_refused(ovrun("-m", bundle), ExitCode.USAGE, "no image")


@pytest.mark.parametrize(
    ("prompt", "words"), [("<image> and <image>", "2 images"), ("a<|im_end|>b", "<|im_end|>"), ("<video>", "video")]
)
def test_prompts_that_forge(prompt: str, words: str, ovrun: Command, bundle: Path, picture: Path) -> None:
    assert_refused(ovrun(picture, "-m", bundle, "-p", prompt), ExitCode.BAD_INPUT, words)
