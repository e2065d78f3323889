"""Where a video may come from, what is taken of it, and what is refused with which words."""

from __future__ import annotations

import io
import os
import random
import re
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import decode_through, noisy_frames, write_clip, write_sound
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.media.clip import load_clip
from ovrun.media.frames import FrameSampling
from ovrun.media.source import open_bytes
from ovrun.media.video import load_frames

ADDRESS = re.compile(r"0x[0-9a-fA-F]{4,}|<_io|Errno")


def released_uniform(total: int, count: int) -> list[int]:
    """The first is 0, the last total - 1, the others at equal steps between, rounded down."""
    if count == 1:
        return [0]
    return [int(number * ((total - 1) / (count - 1))) if number < count - 1 else total - 1 for number in range(count)]


@pytest.mark.parametrize("seed", range(50))
def test_indices_are_the_released_ones(seed: int) -> None:
    """The reference's rule: every round(fps of the file / fps) frames, or evenly spread where that is more than N."""
    rng = random.Random(seed)
    total, count = rng.choice([1, 5, 32, 33, rng.randint(2, 200_000)]), rng.choice([1, 8, 16, 32, rng.randint(1, 64)])
    source_fps = rng.choice([1.0, 12.5, 24000 / 1001, 25.0, 30000 / 1001, 60.0])
    assert FrameSampling(num_frames=count).choose(total, source_fps) == released_uniform(total, count), f"seed {seed}"
    every = list(range(0, total, round(source_fps / 1)))
    expected = every if len(every) <= count else released_uniform(total, count)
    assert FrameSampling(fps=1, max_frames=count).choose(total, source_fps) == expected, f"seed {seed}"


def test_the_default_is_32_evenly_spread() -> None:
    assert FrameSampling().choose(3200, 25.0) == released_uniform(3200, 32)
    assert len(FrameSampling().choose(5, 25.0)) == 32


@pytest.mark.parametrize(
    "wrong",
    [
        *({"num_frames": 8, "fps": 1}, {"num_frames": 0}, {"num_frames": -1}, {"max_frames": 0}, {"fps": 0}),
        *({"fps": -1}, {"fps": float("nan")}, {"fps": float("inf")}),
    ],
)
def test_senseless_samplings(wrong: dict[str, float]) -> None:
    with pytest.raises(OVError) as caught:
        FrameSampling(**wrong)  # type: ignore[arg-type]
    assert caught.value.code is ExitCode.USAGE and caught.value.hint


def test_a_list_of_frames_is_taken_whole_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    images = noisy_frames(40, (16, 12), 2)
    clip = load_clip([np.asarray(image) for image in images])
    assert clip.num_frames == 40 and clip.indices == tuple(range(40)) and clip.times_s == ()
    assert clip.duration_s is None and clip.warnings == ()
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(clip.frames, images, strict=True))
    assert load_clip(images, FrameSampling(num_frames=3)).indices == (0, 19, 39)
    with pytest.raises(OVError, match="no times") as caught:
        load_clip(images, FrameSampling(fps=1))
    assert caught.value.code is ExitCode.USAGE
    monkeypatch.setenv("OV_MAX_FRAMES", "39")
    with pytest.raises(OVError, match="limit frames"):
        load_clip(images)


@pytest.mark.parametrize("count", [1, 4, 10, 25])
def test_a_folder_gives_ten(tmp_path: Path, count: int) -> None:
    for number, image in enumerate(noisy_frames(count, (16, 12), 3)):
        image.save(tmp_path / f"{number:04d}.png")
    (tmp_path / ".hidden").write_text("no image")
    (tmp_path / "folder").mkdir()
    clip = load_clip(tmp_path)
    assert list(clip.indices) == released_uniform(count, 10) and clip.num_frames == count
    images = noisy_frames(count, (16, 12), 3)
    assert all(np.array_equal(image, images[index]) for image, index in zip(clip.frames, clip.indices, strict=True))
    assert list(load_clip(tmp_path, FrameSampling(num_frames=7)).indices) == released_uniform(count, 7)
    assert len(load_clip(tmp_path, FrameSampling(max_frames=4)).frames) == 4
    with pytest.raises(OVError, match="no times"):
        load_clip(str(tmp_path), FrameSampling(fps=2))


def test_a_link_and_a_name_without_suffix(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", num_frames=12)
    (tmp_path / "link").symlink_to("clip.mp4")
    (tmp_path / "concat:a name").write_bytes((tmp_path / "clip.mp4").read_bytes())
    assert load_clip(tmp_path / "link").num_frames == load_clip(tmp_path / "concat:a name").num_frames == 12


@pytest.mark.parametrize("kept", [0.9, 0.6, 0.3])
@pytest.mark.parametrize(
    ("suffix", "encoder"), [(".mp4", "libx264"), (".mkv", "libx264"), (".avi", "mpeg4"), (".flv", "libx264")]
)
def test_a_file_that_is_cut_off(tmp_path: Path, suffix: str, encoder: str, kept: float) -> None:
    """As many frames as PyAV can decode, chosen anew among them, and a warning."""
    path = tmp_path / f"clip{suffix}"
    options = {"movflags": "faststart"} if suffix == ".mp4" else None
    write_clip(path, encoder=encoder, num_frames=120, b_frames=2, container_options=options)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    frames, _ = decode_through(path)
    clip = load_clip(path, FrameSampling(num_frames=9))
    assert clip.num_frames == len(frames) < 120 and list(clip.indices) == released_uniform(len(frames), 9)
    assert all(np.array_equal(image, frames[index]) for image, index in zip(clip.frames, clip.indices, strict=True))
    assert len(clip.warnings) == 1 and str(path) in clip.warnings[0]
    assert [image.tobytes() for image in load_frames(path, fps=1, max_frames=32)] == [
        image.tobytes() for image in load_clip(path, FrameSampling(fps=1)).frames
    ]


def _write_jpegs(path: Path, side_px: int, *, first: float) -> None:
    """Motion JPEG in which the pictures say that they are so large, from this part of the file on."""
    write_clip(path, encoder="mjpeg", num_frames=40, size=(64, 48), format_="mjpeg")
    pictures = path.read_bytes()
    begin = int(len(pictures) * first)
    size, grown = struct.pack(">HH", 48, 64), struct.pack(">HH", side_px, side_px)
    path.write_bytes(pictures[:begin] + pictures[begin:].replace(size, grown))


def _write_playlists(folder: Path) -> None:
    write_clip(folder / "secret.ts", num_frames=30)
    for name, text in {
        "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nsecret.ts\n#EXT-X-ENDLIST\n",
        "list.ffconcat": "ffconcat version 1.0\nfile secret.ts\n",
        "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "list.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        "<AdaptationSet><Representation><BaseURL>secret.ts</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "list.pls": "[playlist]\nFile1=secret.ts\n",
    }.items():
        for name_, text_ in ((name, text), (f"{name}.mp4", text)):
            (folder / name_).write_text(text_)


REFUSED = {
    "missing.mp4": "does not exist",
    "http://localhost/clip.mp4": "address",
    "file:///etc/hostname": "address",
    "concat:secret.ts": "address",
    "empty.mp4": "empty",
    "text.mp4": "can't be decoded|not a video",
    "garbage.mp4": "not a video",
    "header.mp4": "not a video",
    "sound.m4a": "no video in it",
    "cover.mp4": "no video in it",
    "fifo": "not a plain file",
    "photo.jpg": "not a video",
    "photo.png": "still picture",
    "no index.mp4": "not a video",
    "no frames": "no frames",
    "huge.mjpeg": "no frame that can be decoded",
    **{
        f"list.{kind}{more}": "not a video"
        for kind in ("m3u8", "ffconcat", "sdp", "mpd", "pls")
        for more in ("", ".mp4")
    },
    "null\0character": "not a usable path",
    "x" * 5000: "can't be read",
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refused")
    write_clip(folder / "whole.mp4", num_frames=30)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a video\n" * 500)
    (folder / "garbage.mp4").write_bytes(random.Random(0).randbytes(20_000))
    (folder / "header.mp4").write_bytes((folder / "whole.mp4").read_bytes()[:60])
    (folder / "no index.mp4").write_bytes((folder / "whole.mp4").read_bytes()[:3000])
    write_sound(folder / "sound.m4a")
    write_sound(folder / "cover.mp4", cover=True)
    os.mkfifo(folder / "fifo")
    Image.new("RGB", (64, 48)).save(folder / "photo.jpg")
    Image.new("RGB", (64, 48)).save(folder / "photo.png")
    (folder / "no frames").mkdir()
    _write_jpegs(folder / "huge.mjpeg", 16_000, first=0)
    _write_playlists(folder)
    return folder


@pytest.mark.parametrize("name", REFUSED, ids=lambda name: re.sub(r"\W", "-", name[:30]))
def test_what_is_refused(refused: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(refused)
    source = name if ":" in name else str(refused / name)
    with pytest.raises(OVError, match=REFUSED[name]) as caught:
        load_clip(source)
    assert caught.value.code is ExitCode.BAD_INPUT
    assert source in caught.value.message and caught.value.hint
    assert not ADDRESS.search(caught.value.message.replace(source, ""))


@pytest.mark.parametrize("source", [b"", b"abc", 5, None, [], (), np.zeros((4, 5, 5, 3), np.uint8), [b"no image"]])
def test_what_is_no_source(source: object) -> None:
    with pytest.raises(OVError) as caught:
        load_clip(source)  # type: ignore[arg-type]
    assert caught.value.code is ExitCode.BAD_INPUT and caught.value.hint


@pytest.mark.parametrize("side_px", [16_000, 60_000])
def test_pictures_that_grow_are_left_out(tmp_path: Path, side_px: int) -> None:
    path = tmp_path / "clip.mjpeg"
    _write_jpegs(path, side_px, first=0.5)
    clip = load_clip(path, FrameSampling(num_frames=5))
    assert 15 <= clip.num_frames <= 25 and {frame.size for frame in clip.frames} == {(64, 48)}
    assert len(clip.warnings) == 1


@pytest.mark.parametrize("seed", range(25))
def test_damaged_files_never_surprise(tmp_path: Path, seed: int) -> None:
    """Random bytes changed anywhere: frames, or a sentence."""
    rng = random.Random(seed)
    suffix, encoder = rng.choice([(".mp4", "libx264"), (".mkv", "libx265"), (".avi", "mpeg4"), (".ts", "libx264")])
    path = tmp_path / f"clip{suffix}"
    write_clip(path, encoder=encoder, num_frames=30, seed=seed)
    damaged = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 10, 300])):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    path.write_bytes(damaged)
    try:
        frames = load_frames(path, fps=2, max_frames=8)
        assert frames and all(image.mode == "RGB" for image in frames), f"seed {seed}"
    except OVError as err:
        assert err.code in (ExitCode.BAD_INPUT, ExitCode.LIMIT_EXCEEDED) and str(path) in err.message, f"seed {seed}"
        assert not ADDRESS.search(err.message.replace(str(path), "")), f"seed {seed}"


def test_bytes_are_written_to_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the system takes at a time: Linux takes 2 GiB."""

    class Short(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(data[:1000])

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda buffering: Short(tmp_path / "bytes", "w+"))
    with open_bytes(bytes(2500), "the video"):
        assert (tmp_path / "bytes").stat().st_size == 2500
