"""Frames of a stream as they come: from a file, from a sender on the network, from nobody."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from ovengines.errors import ExitCode, OVError
from ovrun.media.live import live_frames

FPS = 10
SENDER = """
import sys, time, av, numpy as np
out = av.open(sys.argv[1] + "?listen=1", "w", format="mpegts")
stream = out.add_stream("mpeg2video", rate=10, options={"qmin": "1", "qmax": "1"})
stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
for number in range(int(sys.argv[2])):
    picture = np.full((48, 64, 3), 8 * number, np.uint8)
    for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
        out.mux(packet)
    time.sleep(float(sys.argv[3]))
for packet in stream.encode():
    out.mux(packet)
out.close()
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds; frame n is grey of level 8 n."""
    path = tmp_path_factory.mktemp("live") / "clip.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=FPS)  # lossless, so that a grey tells its frame
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(30):
            picture = np.full((48, 64, 3), 8 * number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    return path


def levels(frames: list[object]) -> list[int]:
    return [round(float(np.asarray(frame).mean()) / 8) for frame in frames]


@pytest.mark.parametrize("fps", [1.0, 2.0, 5.0, 10.0, 100.0])
def test_frames_by_the_streams_own_time(clip: Path, fps: float) -> None:
    expected = list(range(0, 30, max(1, round(FPS / fps))))
    assert levels(list(live_frames(str(clip), fps=fps, max_waiting=100))) == expected


def test_whoever_is_slow_gets_the_newest(clip: Path) -> None:
    frames = live_frames(str(clip), fps=100, max_waiting=3)
    first = next(frames)
    time.sleep(0.5)
    assert levels([first, *frames])[-3:] == [27, 28, 29]


def test_a_sender_on_the_network() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    sender = subprocess.Popen([sys.executable, "-c", SENDER, address, "20", "0.02"])
    try:
        for _ in range(100):  # until it listens
            try:
                found = list(live_frames(address, fps=5, timeout_s=5, max_waiting=100))
                break
            except OVError:
                time.sleep(0.1)
        assert levels(found) == list(range(0, 20, 2))
    finally:
        sender.kill()
        sender.wait()


def test_a_silent_sender_is_told_and_no_endless_wait() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(OVError) as caught:
            list(live_frames(f"tcp://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.5))
        assert caught.value.code is ExitCode.BAD_INPUT and time.monotonic() - started < 5


@pytest.mark.parametrize("address", ["no-such-file.mp4", "rtsp://127.0.0.1:9/none", ""])
def test_nobody_there(address: str) -> None:
    with pytest.raises(OVError) as caught:
        list(live_frames(address, timeout_s=2))
    assert caught.value.code is ExitCode.BAD_INPUT and caught.value.hint


def test_closing_stops_the_reader(clip: Path) -> None:
    import threading

    frames = live_frames(str(clip), fps=100, max_waiting=1)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while any(thread.name == "live frames" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("wrong", [{"fps": 0}, {"timeout_s": -1}, {"max_waiting": 0}])
def test_wrong_numbers(wrong: dict[str, float]) -> None:
    with pytest.raises(OVError) as caught:
        live_frames("x.mp4", **wrong)
    assert caught.value.code is ExitCode.USAGE
