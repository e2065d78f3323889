"""Which frames are looked at, against the released arithmetic; and their pixels, against PyAV decoding everything."""

from __future__ import annotations

import random
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.media.frames import sample_frames, spread_frames
from ovrun.media.video import count_frames, load_frames


@pytest.mark.parametrize("seed", range(300))
def test_indices_are_the_released_ones(seed: int) -> None:
    rng = random.Random(seed)
    total = rng.choice((1, 2, 31, 32, 33, rng.randint(1, 3000)))
    source_fps, fps = (
        rng.choice((1.0, 23.976, 25.0, 29.97, 30.0, 60.0, rng.uniform(1, 120))),
        rng.choice((1, 1, 2, 0.5)),
    )
    max_frames = rng.choice((1, 8, 32))
    step = round(source_fps / fps)
    if step == 0:  # where the released code fails
        step = 1
    expected = list(range(0, total, step))
    if len(expected) > max_frames:
        expected = np.linspace(0, total - 1, max_frames, dtype=int).tolist()
    assert sample_frames(total, source_fps, fps, max_frames) == expected, f"seed {seed}"


def test_known_choices() -> None:
    assert sample_frames(100, 25.0, 1, 32) == [0, 25, 50, 75]
    assert sample_frames(100, 1.0, 1, 8) == [0, 14, 28, 42, 56, 70, 84, 99]
    assert sample_frames(0, 25.0, 1, 8) == spread_frames(0, 10) == []
    assert spread_frames(4, 10) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def write_clip(path: Path, num_frames: int, rate: int, *, gop_size: int = 12) -> list[Image.Image]:
    """Noisy frames, and what PyAV makes of the file when it decodes all of it."""
    rng = np.random.default_rng(num_frames)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = gop_size
        for number in range(num_frames):
            low_HWC = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            image = Image.fromarray(low_HWC).resize((64, 48))
            image.paste((number * 5 % 256, 0, 255), (0, 0, 20, 20))
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def same(ours: Image.Image, theirs: Image.Image) -> bool:
    return ours.mode == "RGB" and np.array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize(("num_frames", "rate", "max_frames"), [(1, 1, 8), (30, 10, 32), (31, 10, 32), (50, 5, 4)])
def test_frames_of_a_file(tmp_path: Path, suffix: str, num_frames: int, rate: int, max_frames: int) -> None:
    path = tmp_path / f"clip{suffix}"
    frames = write_clip(path, num_frames, rate)
    assert len(frames) == num_frames
    wanted = sample_frames(num_frames, rate, 1.0, max_frames)
    loaded = load_frames(path, fps=1.0, max_frames=max_frames)
    assert len(loaded) == len(wanted) == count_frames(path, fps=1.0, max_frames=max_frames)
    assert all(same(image, frames[index]) for image, index in zip(loaded, wanted, strict=True))


@pytest.mark.parametrize("count", [1, 3, 10, 47])
def test_a_folder_of_frames_gives_ten(tmp_path: Path, count: int) -> None:
    for number in range(count):
        Image.new("RGB", (5, 4), (number, 2, 3)).save(tmp_path / f"{number:03d}.png")
    (tmp_path / "folder").mkdir()
    expected = np.linspace(0, count - 1, 10, dtype=int).tolist()
    loaded = load_frames(tmp_path, fps=1.0, max_frames=32)
    assert [image.getpixel((0, 0)) for image in loaded] == [(number, 2, 3) for number in expected]
    assert count_frames(tmp_path, fps=1.0, max_frames=32) == 10
    assert len(load_frames(tmp_path, fps=1.0, max_frames=4)) == 4


def test_a_video_that_ends_early_gives_what_there_is(tmp_path: Path) -> None:
    """An AVI's header counts frames that the cut-off file no longer has."""
    path = tmp_path / "clip.avi"
    frames = write_clip(path, 40, 10, gop_size=1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    loaded = load_frames(path, fps=1.0, max_frames=32)
    assert 0 < len(loaded) < 4
    assert all(same(image, frames[10 * number]) for number, image in enumerate(loaded))


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())


@pytest.mark.parametrize("name", ["missing.mp4", "text.mp4", "empty.mp4", "sound.mp4", "header.mp4", "folder", "bad"])
def test_what_is_no_video(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    write_sound(tmp_path / "sound.mp4")
    write_clip(tmp_path / "whole.mp4", 10, 1)
    (tmp_path / "header.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes()[:60])
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_text("not an image")
    with pytest.raises(OVError) as caught:
        load_frames(tmp_path / name, fps=1.0, max_frames=8)
    assert caught.value.code == ExitCode.BAD_INPUT and str(tmp_path / name) in caught.value.message
    assert caught.value.hint


def test_frames_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "clip.mp4", 2, 1)
    monkeypatch.setenv("OV_MAX_VIDEO_PIXELS", "1000")
    with pytest.raises(OVError, match="video_pixels") as caught:
        load_frames(tmp_path / "clip.mp4", fps=1.0, max_frames=8)
    assert caught.value.code == ExitCode.LIMIT_EXCEEDED
