"""A few frames of a long video cost a few groups of pictures, not the whole file; and they are the same frames."""

from __future__ import annotations

import time
from pathlib import Path

import av
import numpy as np
import pytest
from clips import remux
from numpy.typing import NDArray

from ovrun.media.clip import load_clip


def write_minute(path: Path, size: tuple[int, int], fps: int) -> None:
    """A minute of noise that drifts; made as numbers, because pictures would take longer to draw than to encode."""
    width_px, height_px = size
    rng = np.random.default_rng(7)
    noise_HW = rng.integers(0, 256, (height_px // 8, width_px // 8), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    chroma = np.full((height_px // 2, width_px), 128, dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        for number in range(60 * fps):
            luma = np.roll(noise_HW, (3 * number, 5 * number), axis=(0, 1))
            luma[: height_px // 4] = number * 7 % 256
            frame = av.VideoFrame.from_ndarray(np.concatenate([luma, chroma]), format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def through(path: Path, indices: set[int]) -> tuple[dict[int, NDArray[np.uint8]], int]:
    """What PyAV gives when it decodes everything, as fast as it can."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        frames, count = {}, 0
        for count, frame in enumerate(container.decode(video=0), start=1):
            if count - 1 in indices:
                frames[count - 1] = np.asarray(frame.to_image())
    return frames, count


def assert_fast_and_same(path: Path, expected_frames: int) -> float:
    """How many times faster than decoding through."""
    started_s = time.perf_counter()
    clip = load_clip(path)
    ours_s = time.perf_counter() - started_s
    assert clip.num_frames == expected_frames and clip.warnings == ()
    assert clip.indices == tuple(np.linspace(0, expected_frames - 1, 32, dtype=int))
    started_s = time.perf_counter()
    theirs, count = through(path, set(clip.indices))
    theirs_s = time.perf_counter() - started_s
    assert count == expected_frames
    assert all(np.array_equal(image, theirs[index]) for image, index in zip(clip.frames, clip.indices, strict=True))
    print(f"{path.name}: {ours_s:.2f} s instead of {theirs_s:.2f} s, {theirs_s / ours_s:.1f} times faster")
    return theirs_s / ours_s


def test_five_minutes(tmp_path: Path) -> None:
    write_minute(tmp_path / "minute.mp4", (640, 360), fps=5)
    remux(tmp_path / "minute.mp4", tmp_path / "clip.mp4", times=5)
    assert_fast_and_same(tmp_path / "clip.mp4", 5 * 300)


@pytest.mark.slow
def test_an_hour_at_1080p(tmp_path: Path) -> None:
    """The figure of the project: at least 10 times faster."""
    write_minute(tmp_path / "minute.mp4", (1920, 1080), fps=25)
    remux(tmp_path / "minute.mp4", tmp_path / "hour.mp4", times=60)
    assert assert_fast_and_same(tmp_path / "hour.mp4", 60 * 1500) >= 10
