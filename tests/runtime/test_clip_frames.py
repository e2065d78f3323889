"""Frame by frame and pixel by pixel what PyAV shows when it decodes the whole file, in every kind of file."""

from __future__ import annotations

import logging
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from clips import decode_through, noisy_frames, remux, write_clip
from numpy.typing import NDArray
from PIL import Image

from ovrun.media.chosen import ChosenFrames
from ovrun.media.clip import load_clip
from ovrun.media.container import open_video
from ovrun.media.decoding import decode_clip
from ovrun.media.frames import FrameSampling
from ovrun.media.packets import PacketTable, read_packets


def table_of(path: Path) -> PacketTable:
    with path.open("rb") as file, open_video(file, "clip") as video:
        return read_packets(video)


class These:
    """A sampling that takes the frames it is given."""

    def __init__(self, indices: list[int]) -> None:
        self.indices, self.seen = indices, 0

    def choose(self, num_frames: int, source_fps: float) -> list[int]:
        self.seen = num_frames
        return [index for index in self.indices if index < num_frames]


def decode(path: Path, indices: list[int]) -> tuple[list[NDArray[np.uint8]], ChosenFrames]:
    images: dict[int, Image.Image] = {}
    with path.open("rb", buffering=0) as file:
        chosen = decode_clip(file, These(indices), label="clip", emit=images.__setitem__, num_threads=2)  # type: ignore[arg-type]
    return [np.asarray(images[index]) for index in chosen.indices], chosen


def assert_same_as_through(path: Path, seed: int, picks: int = 6) -> None:
    """Random choices of frames, and all of them."""
    frames, times_s = decode_through(path)
    rng = random.Random(seed)
    for number in range(picks):
        wanted = sorted(rng.sample(range(len(frames)), min(4, len(frames)))) if number else list(range(len(frames)))
        ours, chosen = decode(path, wanted)
        assert chosen.num_frames == len(frames) and list(chosen.indices) == wanted, (seed, number)
        for image, index, time_s in zip(ours, wanted, chosen.times_s, strict=True):
            assert np.array_equal(image, frames[index]), f"seed {seed}: frame {index} of {wanted}"
            if None not in times_s:
                assert time_s == pytest.approx(times_s[index] - times_s[0], abs=1e-6), f"seed {seed}: frame {index}"


# encoder, suffix, B-frames, options, whether frames can be reached from key frames
KINDS = {
    "h264 mp4": ("libx264", ".mp4", 3, {}, True),
    "h264 mkv": ("libx264", ".mkv", 3, {}, True),
    "h264 ts": ("libx264", ".ts", 2, {}, True),
    "h264 flv": ("libx264", ".flv", 2, {}, True),
    "h264 avi, no times": ("libx264", ".avi", 2, {}, False),
    "h264 open groups": ("libx264", ".mp4", 3, {"x264-params": "open-gop=1"}, True),
    "h264 open groups ts": ("libx264", ".ts", 3, {"x264-params": "open-gop=1:b-pyramid=strict"}, True),
    "h264 refreshed bit by bit": ("libx264", ".mp4", 0, {"intra-refresh": "1"}, True),
    "h264 without container": ("libx264", ".h264", 2, {}, False),
    "hevc mp4": ("libx265", ".mp4", 3, {}, True),
    "hevc open groups": ("libx265", ".mkv", 3, {"x265-params": "log-level=none:open-gop=1"}, True),
    "vp8 hidden frames": (
        *("libvpx", ".webm", 0),
        *({"deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "16", "arnr-maxframes": "5"}, False),
    ),
    "vp9": ("libvpx-vp9", ".webm", 0, {}, True),
    "vp9 hidden frames": (
        "libvpx-vp9",
        ".webm",
        0,
        {"deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "16"},
        True,
    ),
    "av1": ("libsvtav1", ".mp4", 0, {}, True),
    "mpeg4 mp4": ("mpeg4", ".mp4", 2, {}, True),
    "mpeg4 avi": ("mpeg4", ".avi", 2, {}, True),
    "mpeg2 program": ("mpeg2video", ".mpg", 2, {}, False),
    "jpeg": ("mjpeg", ".avi", 0, {}, True),
    "prores": ("prores", ".mov", 0, {}, True),
    "ffv1": ("ffv1", ".mkv", 0, {}, False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "ovrun")
    encoder, suffix, b_frames, options, seekable = KINDS[kind]
    path = tmp_path / f"clip{suffix}"
    write_clip(path, encoder=encoder, num_frames=90, b_frames=b_frames, options=options)
    assert_same_as_through(path, seed=len(kind))
    assert ("is decoded through" in caplog.text) != seekable


@pytest.mark.parametrize("seed", range(12))
def test_random_clips(tmp_path: Path, seed: int) -> None:
    """Times of any step, groups of any length, sizes that are no multiple of anything."""
    rng = random.Random(seed)
    encoder, suffix = rng.choice([("libx264", ".mp4"), ("libx264", ".mkv"), ("libx265", ".mp4"), ("mpeg4", ".mp4")])
    pts_ms = [rng.randint(0, 500)]
    for _ in range(rng.choice([0, 1, 5, 60])):
        pts_ms.append(pts_ms[-1] + rng.choice([33, 34, 40, 200, 1000]))
    gop_size, b_frames = rng.choice([1, 7, 30, 1000]), rng.randint(0, 4)
    size = (2 * rng.randint(16, 50), 2 * rng.randint(16, 50))
    path = tmp_path / f"clip{suffix}"
    options = {"sc_threshold": rng.choice(["0", "40"])}
    write_clip(
        path,
        encoder=encoder,
        size=size,
        pts_ms=pts_ms,
        gop_size=gop_size,
        b_frames=b_frames,
        seed=seed,
        options=options,
    )
    assert_same_as_through(path, seed)


@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_a_recording_without_duration(tmp_path: Path, suffix: str) -> None:
    """As a live stream is written: no duration, no index, no count of frames."""
    path = tmp_path / f"clip{suffix}"
    write_clip(path, num_frames=50, b_frames=2, container_options={"live": "1"} if suffix == ".mkv" else None)
    assert_same_as_through(path, seed=1)
    chosen = decode(path, [49])[1]
    assert chosen.duration_s == pytest.approx(5.0) and chosen.times_s == pytest.approx([4.9])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".flv", ".avi"])
def test_sound_is_passed_over(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    encoder = "mpeg4" if suffix == ".avi" else "libx264"
    write_clip(path, encoder=encoder, num_frames=60, b_frames=2, sound=True)
    assert_same_as_through(path, seed=6)
    assert table_of(path).doubt == ""


def test_one_key_frame_and_all_key_frames(tmp_path: Path) -> None:
    for gop_size, entries in ((1000, 1), (1, 60)):
        path = tmp_path / f"{gop_size}.mp4"
        write_clip(path, num_frames=60, gop_size=gop_size, options={"sc_threshold": "0"})
        assert len(table_of(path).entries) == entries
        assert_same_as_through(path, seed=gop_size)


def test_a_key_frame_that_is_none_is_not_believed(tmp_path: Path) -> None:
    """H.264 that is refreshed column by column marks pictures as key frames from which nothing can be decoded."""
    path = tmp_path / "clip.mp4"
    write_clip(path, num_frames=90, options={"intra-refresh": "1"})
    assert table_of(path).entries.tolist() == [0]


def test_an_edit_list_hides_frames(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    write_clip(whole, num_frames=40)
    with_shift = -7 * 1024  # seven frames of the 10 per second, in the muxer's 10,240ths of a second
    remux(whole, cut, shift=with_shift)
    assert len(decode_through(cut)[0]) == 33
    assert_same_as_through(cut, seed=3)


def test_a_file_that_starts_between_key_frames(tmp_path: Path) -> None:
    path = tmp_path / "clip.ts"
    write_clip(path, num_frames=60, b_frames=2, gop_size=20)
    packets = path.read_bytes()
    path.write_bytes(packets[: 188 * 3] + packets[188 * (len(packets) // 188 // 5) :])
    assert_same_as_through(path, seed=4)


# By the display matrix (a, b, c, d): what NumPy does to the stored pixels.
TURNS = {
    (1, 0, 0, 1): lambda pixels: pixels,
    (0, 1, -1, 0): lambda pixels: np.rot90(pixels, -1),
    (-1, 0, 0, -1): lambda pixels: np.rot90(pixels, 2),
    (0, -1, 1, 0): lambda pixels: np.rot90(pixels, 1),
    (-1, 0, 0, 1): lambda pixels: pixels[:, ::-1],
    (1, 0, 0, -1): lambda pixels: pixels[::-1],
    (0, 1, 1, 0): lambda pixels: pixels.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2),
}


@pytest.mark.parametrize("matrix", TURNS)
def test_rotation_is_applied(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, num_frames=20)
    stored, _ = decode_through(path)
    a, b, c, d = (value << 16 for value in matrix)
    unturned = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    header, track = path.read_bytes().split(b"tkhd")
    path.write_bytes(header + b"tkhd" + track.replace(unturned, struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30), 1))
    ours, _ = decode(path, [0, 13, 19])
    for image, index in zip(ours, [0, 13, 19], strict=True):
        assert np.array_equal(image, TURNS[matrix](stored[index]))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_animations(tmp_path: Path, suffix: str) -> None:
    durations_ms = [100, 200, 50, 40, 30, 20, 10, 0, 500]
    frames = [image.quantize(64) if suffix == ".gif" else image for image in noisy_frames(9, (40, 30), 1)]
    path = tmp_path / f"clip{suffix}"
    options = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations_ms, **options)
    clip = load_clip(path, FrameSampling(num_frames=5))
    assert clip.indices == (0, 2, 4, 6, 8) and clip.num_frames == 9
    assert clip.times_s == pytest.approx((0, 0.3, 0.39, 0.44, 0.64)) and clip.duration_s == pytest.approx(1.14)
    for image, index in zip(clip.frames, clip.indices, strict=True):
        assert np.array_equal(np.asarray(image), np.asarray(frames[index].convert("RGB")))
    if suffix == ".gif":
        theirs, _ = decode_through(path)
        assert all(np.array_equal(image, theirs[index]) for image, index in zip(clip.frames, clip.indices, strict=True))


def test_the_process_gives_the_same(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, num_frames=70, b_frames=3, size=(70, 46))
    frames, times_s = decode_through(path)
    for source in (path, str(path), path.read_bytes()):
        clip = load_clip(source, FrameSampling(fps=1))
        assert clip.indices == tuple(range(0, 70, 10)) and clip.warnings == ()
        assert clip.times_s == pytest.approx([times_s[index] for index in clip.indices])
        assert all(np.array_equal(image, frames[index]) for image, index in zip(clip.frames, clip.indices, strict=True))


def test_a_short_clip_repeats_frames_without_copies(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, num_frames=3)
    clip = load_clip(path, FrameSampling(num_frames=8))
    assert clip.indices == tuple(np.linspace(0, 2, 8, dtype=int)) and clip.num_frames == 3
    assert len({id(frame) for frame in clip.frames}) == 3
