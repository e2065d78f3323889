"""The decoding process: what becomes of ours when it misbehaves, and what it is not able to do."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from clips import decode_through, write_clip
from rogue_decoder import ROGUES

from ovengines.errors import ExitCode, OVError
from ovrun.media import isolated
from ovrun.media.clip import load_clip
from ovrun.media.frames import FrameSampling

BAD, LIMIT = ExitCode.BAD_INPUT, ExitCode.LIMIT_EXCEEDED
OUTCOMES = {
    "crash": (BAD, "crash"),
    "killed": (LIMIT, "video_memory_bytes"),
    "processor time": (LIMIT, "video_seconds"),
    "exit": (ExitCode.UNEXPECTED, "failed"),
    "sleep": (LIMIT, "video_seconds"),
    "frames without end": (LIMIT, "clip_bytes"),
    "huge frame": (LIMIT, "video_pixels"),
    "control characters": (BAD, "?[2Jgone?x"),
    "environment": (BAD, "OV_ROGUE"),
    "attempts": (BAD, "did []"),
}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    write_clip(path, num_frames=20)
    return path


@pytest.mark.parametrize("rogue", ROGUES)
def test_a_rogue_process_is_an_error_of_its_video(rogue: str, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "MODULE", "rogue_decoder")
    monkeypatch.setenv("OV_ROGUE", rogue)
    monkeypatch.setenv("OV_MAX_CLIP_BYTES", "50000000")
    monkeypatch.setenv("OV_MAX_VIDEO_SECONDS", "2" if rogue == "sleep" else "60")
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    started_s = time.monotonic()
    with pytest.raises(OVError) as caught:
        load_clip(clip)
    code, words = OUTCOMES.get(rogue, (BAD, "crash"))
    assert (caught.value.code, words in caught.value.message) == (code, True), caught.value.message
    assert len(caught.value.message) <= 5000
    assert "SECRET" not in caught.value.message and "0x7f" not in caught.value.message
    assert time.monotonic() - started_s < 30


def test_a_limit_on_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, num_frames=20)
    monkeypatch.setattr(isolated, "limit_value", lambda name: 0.01)
    with pytest.raises(OVError, match="video_seconds") as caught:
        load_clip(path)
    assert caught.value.code is LIMIT and "OV_MAX_VIDEO_SECONDS" in caught.value.hint


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
@pytest.mark.parametrize("limit_bytes", [1, 100_000_000, 250_000_000])
def test_a_limit_on_memory(tmp_path: Path, limit_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, num_frames=2, size=(3840, 2160))
    monkeypatch.setenv("OV_MAX_VIDEO_MEMORY_BYTES", str(limit_bytes))
    with pytest.raises(OVError) as caught:
        load_clip(path, FrameSampling(num_frames=2))
    assert caught.value.code is LIMIT and "video_memory_bytes" in caught.value.message


@pytest.mark.parametrize(
    ("variable", "value", "name"),
    [
        ("OV_MAX_VIDEO_PIXELS", "3000", "video_pixels"),
        ("OV_MAX_IMAGE_ASPECT", "1", "image_aspect"),
        ("OV_MAX_VIDEO_FRAMES", "19", "video_frames"),
        ("OV_MAX_VIDEO_BYTES", "1000", "video_bytes"),
        ("OV_MAX_FRAMES", "31", "frames"),
        ("OV_MAX_CLIP_BYTES", "100000", "clip_bytes"),
    ],
)
def test_limits_reach_the_process(
    variable: str, value: str, name: str, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    for source in (clip, clip.read_bytes()):
        with pytest.raises(OVError, match=f"limit {name} of") as caught:
            load_clip(source)
        assert caught.value.code is LIMIT and variable in caught.value.hint


def test_a_senseless_limit_is_usage(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OV_MAX_VIDEO_PIXELS", "many")
    with pytest.raises(OVError, match="OV_MAX_VIDEO_PIXELS") as caught:
        load_clip(clip)
    assert caught.value.code is ExitCode.USAGE


class EnoughError(Exception):
    """Of a caller who has lost interest."""


def test_what_progress_raises_ends_the_process(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    psutil = pytest.importorskip("psutil")
    monkeypatch.setattr(isolated, "MODULE", "rogue_decoder")
    monkeypatch.setenv("OV_ROGUE", "sleep")
    threads = []

    def check(label: str, done: int, total: int) -> None:
        threads.append(threading.current_thread())
        if len(threads) == 5:
            raise EnoughError(label)

    started_s = time.monotonic()
    with pytest.raises(EnoughError, match="decoding"):
        load_clip(clip, on_progress=check)
    assert time.monotonic() - started_s < 10  # the process would sleep for a minute
    assert set(threads) == {threading.current_thread()}
    assert not [child for child in psutil.Process().children() if "rogue_decoder" in " ".join(child.cmdline())]


def test_frames_of_a_list_are_opened_while_they_are_wanted() -> None:
    told: list[tuple[int, int]] = []
    load_clip([np.zeros((4, 4, 3), np.uint8)] * 3, on_progress=lambda label, done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_nothing_of_libav_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, num_frames=60, container_options={"movflags": "faststart"})
    damaged = bytearray(path.read_bytes())
    for position in range(len(damaged) // 2, len(damaged), 50):
        damaged[position] ^= 255
    capfd.readouterr()
    load_clip(bytes(damaged), FrameSampling(num_frames=60))
    assert capfd.readouterr() == ("", "")


def test_a_process_that_is_watched_shows_what_it_prints(
    clip: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(isolated, "MODULE", "no_such_module")
    logging.getLogger("ovrun").setLevel(logging.DEBUG)
    try:
        with pytest.raises(OVError):
            load_clip(clip)
    finally:
        logging.getLogger("ovrun").setLevel(logging.NOTSET)
    assert "no_such_module" in capfd.readouterr().err


def test_a_relative_search_path_and_a_folder_of_traps(tmp_path: Path, clip: Path) -> None:
    """As from a checkout: modules found by a relative path; and the current folder has an `av.py` of its own."""
    (tmp_path / "av.py").write_text("raise SystemExit('the trap')")
    root = Path(isolated.__file__).parents[3]
    areas = [os.path.relpath(root / area, tmp_path) for area in ("runtime", "engines", "kernels")]
    code = (
        f"import sys; sys.path[:0] = {areas!r}; sys.path.remove('') if '' in sys.path else None;"
        "from ovrun.media.clip import load_clip; print(load_clip('clip.mp4').num_frames)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("20", 0), done.stderr


def test_this_process_needs_no_decoder() -> None:
    code = "import sys, ovrun.media.clip; print([name for name in ('av', 'subprocess') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "['subprocess']", done.stderr


def test_no_process_and_no_file_is_left(clip: Path, tmp_path: Path) -> None:
    psutil = pytest.importorskip("psutil")
    me = psutil.Process()
    load_clip(clip)
    before = me.num_fds()
    frames, _ = decode_through(clip)
    for _ in range(3):
        got = load_clip(clip.read_bytes(), FrameSampling(num_frames=2))
        assert np.array_equal(got.frames[1], frames[19])
        with pytest.raises(OVError):
            load_clip(b"nothing")
    assert me.num_fds() == before
    assert not [child for child in me.children() if "ovrun.media" in " ".join(child.cmdline())]
