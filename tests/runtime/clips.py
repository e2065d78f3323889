"""Writes video files of many kinds, and decodes them through as the tests' oracle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

ENCODERS = {
    "libx264": {"preset": "ultrafast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "12"},
}
TIME_BASE = Fraction(1, 1000)


def write_clip(
    path: Path,
    *,
    encoder: str = "libx264",
    num_frames: int = 40,
    size: tuple[int, int] = (64, 48),
    pts_ms: Sequence[int] | None = None,
    gop_size: int = 12,
    b_frames: int = 0,
    seed: int = 0,
    options: dict[str, str] | None = None,
    sound: bool = False,
    format_: str | None = None,
    container_options: dict[str, str] | None = None,
) -> None:
    """A clip in which every frame differs from every other; at 10 frames per second unless times are given."""
    times_ms = pts_ms or [100 * number for number in range(num_frames)]
    with av.open(str(path), "w", format=format_, options=container_options) as container:
        stream = container.add_stream(encoder, rate=10, options={**ENCODERS.get(encoder, {}), **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = {"mjpeg": "yuvj420p", "prores": "yuv422p10le"}.get(encoder, "yuv420p")
        stream.codec_context.gop_size = gop_size
        stream.codec_context.max_b_frames = b_frames
        if pts_ms:
            stream.codec_context.time_base = TIME_BASE
        silence = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for number, image in enumerate(noisy_frames(len(times_ms), size, seed)):
            frame = av.VideoFrame.from_image(image)
            frame.pts, frame.time_base = times_ms[number], TIME_BASE
            container.mux(stream.encode(frame))
            if silence:
                _mux_silence(container, silence, number)
        container.mux(stream.encode())
        if silence:
            container.mux(silence.encode())


def _mux_silence(container: av.container.OutputContainer, stream: av.audio.stream.AudioStream, number: int) -> None:
    """The number-th of 15.6 pieces per second."""
    silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
    silence.sample_rate, silence.pts = 16000, 1024 * number
    container.mux(stream.encode(silence))


def noisy_frames(count: int, size: tuple[int, int], seed: int) -> list[Image.Image]:
    """Coarse noise that moves, with a spot that tells the frame's number."""
    rng = np.random.default_rng(seed)
    low_HWC = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    frames = []
    for number in range(count):
        if number % 17 == 0:
            low_HWC = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(np.roll(low_HWC, number, axis=1)).resize(size)
        image.paste((number * 5 % 256, number * 37 % 256, 255), (0, 0, size[0] // 3, size[1] // 3))
        frames.append(image)
    return frames


def decode_through(path: Path) -> tuple[list[NDArray[np.uint8]], list[float | None]]:
    """Every frame and its time by PyAV alone; of a damaged file what it can decode of what it can read."""
    frames, times_s = [], []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for packet in [*_readable(container), None]:
            try:
                for frame in stream.decode(packet):
                    frames.append(np.asarray(frame.to_image()))
                    times_s.append(None if frame.pts is None else float(frame.pts * stream.time_base))
            except av.error.InvalidDataError:
                pass
    return frames, times_s


def _readable(container: av.container.InputContainer) -> Iterator[av.Packet]:
    with suppress(av.error.InvalidDataError):
        yield from (packet for packet in container.demux(video=0) if packet.size)


def remux(source: Path, target: Path, *, times: int = 1, shift: int = 0) -> None:
    """The packets of a clip, one copy after the other; `shift` moves their times, in units of the time base."""
    with av.open(str(source)) as reader, av.open(str(target), "w", options={"avoid_negative_ts": "disabled"}) as writer:
        video = reader.streams.video[0]
        stream = writer.add_stream_from_template(video)
        for copy in range(times):
            reader.seek(0)
            for packet in reader.demux(video):
                if packet.size:
                    packet.pts += copy * video.duration + shift
                    packet.dts += copy * video.duration + shift
                    packet.stream = stream
                    writer.mux(packet)


def write_sound(path: Path, *, cover: bool = False) -> None:
    """A file without video: a second of silence, and the picture of an album if asked for."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            for packet in picture.encode(av.VideoFrame(64, 48, "yuvj420p")):
                container.mux(packet)
        for number in range(16):
            _mux_silence(container, stream, number)
        container.mux(stream.encode())
