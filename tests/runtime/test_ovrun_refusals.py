"""Every exit code of the command line, with one line of error and one of hint."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_engine import FakeEngine
from PIL import Image
from runners import Run

from ovengines.errors import ExitCode, OVError

ERROR = re.compile(r"error: [^\n]+\n(hint: [^\n]+\n)?")


def _assert_refused(outcome: tuple[int, str, str], code: ExitCode, *fragments: str) -> None:
    assert (outcome[0], outcome[1]) == (code, ""), outcome
    assert ERROR.fullmatch(outcome[2]), outcome[2]
    assert all(fragment in outcome[2] for fragment in fragments), outcome[2]


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        ([], "no image"),
        (["x.png", "--no-such-flag"], "--no-such-flag"),
        (["x.png", "--top-k", "many"], "--top-k"),
        (["x.png", "--temperature", "-1"], "temperature"),
        (["x.png", "--temp", "1"], "--temp"),
        (["x.png", "--max-new-tokens", "0"], "max_new_tokens"),
        (["x.png", "--threads", "0"], "threads"),
        (["x.png", "--stop", ""], "stop_strings"),
        (["x.png", "--seed", "-4"], "seed"),
        (["x.png", "--max-tile", "4"], "--max-tiles"),
        (["--video", "a.mp4", "--video", "b.mp4"], "twice"),
        (["--video", "a.mp4", "--num-frames", "3", "--fps", "1"], "num_frames"),
        (["a.png", "clip.MP4"], "ovrun --video clip.MP4"),
    ],
)
def test_usage_errors(run: Run, words: list[str], fragment: str) -> None:
    _assert_refused(run(*words), ExitCode.USAGE, fragment, "hint: ")


def test_bad_images(run: Run, tmp_path: Path, picture_file: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(picture_file.read_bytes()[:2000])
    (tmp_path / "bad\x1b[31mname\n.png").write_text("no image")
    for name in ("empty.png", "text.png", "cut.png", "missing.png", "", "bad\x1b[31mname\n.png"):
        outcome = run(picture_file, tmp_path / name)
        _assert_refused(outcome, ExitCode.BAD_INPUT, "hint: ")
        assert "\x1b" not in outcome[2]
    _assert_refused(run(picture_file, "-p", "<image> and <image>"), ExitCode.BAD_INPUT, "2", "1")
    _assert_refused(run(picture_file, "-p", "<|im_end|>"), ExitCode.BAD_INPUT, "<|im_end|>")
    _assert_refused(run(picture_file, "-p", "\udcff"), ExitCode.BAD_INPUT, "UTF-8")


def test_limits(run: Run, tmp_path: Path, picture_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (1, 50_000)).save(tmp_path / "line.png")
    _assert_refused(run(tmp_path / "line.png"), ExitCode.LIMIT_EXCEEDED, "image_aspect", "OV_MAX_IMAGE_ASPECT")
    Image.new("L", (1, 2304)).save(tmp_path / "thin.png")
    assert run(tmp_path / "thin.png", "--max-new-tokens", 1)[0] == 0
    monkeypatch.setenv("OV_MAX_IMAGE_PIXELS", "100")
    _assert_refused(run(picture_file), ExitCode.LIMIT_EXCEEDED, "100 pixels", "OV_MAX_IMAGE_PIXELS")
    monkeypatch.delenv("OV_MAX_IMAGE_PIXELS")
    _assert_refused(run(picture_file, "-p", "word " * 300), ExitCode.LIMIT_EXCEEDED, "context of 256", "--max-tiles")


def test_damaged_bundles(run: Run, bundle_path: Path, tmp_path: Path, picture_file: Path) -> None:
    def flip_byte(bundle: Path) -> None:
        data = bytearray((bundle / "tokenizer.json").read_bytes())
        data[100] ^= 1
        (bundle / "tokenizer.json").write_bytes(data)

    def edit_manifest(old: str, new: str) -> Callable[[Path], None]:
        def edit(bundle: Path) -> None:
            text = (bundle / "manifest.json").read_text()
            assert old in text
            (bundle / "manifest.json").write_text(text.replace(old, new))

        return edit

    damages = (
        flip_byte,
        lambda bundle: (bundle / "decoder.onnx").unlink(),
        lambda bundle: (bundle / "manifest.json").unlink(),
        lambda bundle: (bundle / "manifest.json").write_text("{"),
        edit_manifest('"layout_version": 1', '"layout_version": 99'),
        edit_manifest('"vision.onnx"', '"../vision.onnx"'),
    )
    for number, damage in enumerate(damages):
        copy = tmp_path / f"bundle{number}"
        shutil.copytree(bundle_path, copy)
        damage(copy)
        _assert_refused(run(picture_file, bundle=copy), ExitCode.BUNDLE_INVALID, "hint: ")
    _assert_refused(run(picture_file, bundle=tmp_path / "none"), ExitCode.BUNDLE_INVALID, "ovexport build")
    _assert_refused(run(picture_file, bundle=None), ExitCode.BUNDLE_INVALID, "ovexport build")


@pytest.mark.parametrize(
    ("device", "code"),
    [("cuda", ExitCode.MISSING_DEPENDENCY), ("tensorrt", ExitCode.MISSING_DEPENDENCY), ("abacus", ExitCode.USAGE)],
)
def test_devices_that_are_not_there(
    run: Run, picture_file: Path, device: str, code: ExitCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ovengines import devices, open_engine

    monkeypatch.setattr("ovrun.session.open_engine", open_engine)
    monkeypatch.setattr(devices, "providers", list)
    _assert_refused(run(picture_file, "--device", device), code, device, "hint: ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
        (MemoryError(), ExitCode.OUT_OF_MEMORY),
        (ModuleNotFoundError("No module named 'tokenizers'"), ExitCode.MISSING_DEPENDENCY),
        (RuntimeError("object at 0x7f0011223344 failed\nbadly"), ExitCode.UNEXPECTED),
        (OVError(ExitCode.PARITY_FAILED, "a message", "a hint"), ExitCode.PARITY_FAILED),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_any_error_becomes_a_code_and_two_lines(
    run: Run, picture_file: Path, error: BaseException, code: ExitCode, debug: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(FakeEngine, "encode", fail)
    words = [picture_file, "--debug"] if debug else [picture_file]
    got, out, err = run(*words, "--json")
    assert (got, out) == (code, "")
    assert ("Traceback" in err) is debug
    lines = err[err.rindex("error: ") :] if debug else err
    assert ERROR.fullmatch(lines) and "0x7f" not in lines
