"""The chosen frames of a clip and what is known of it: the fast way where the file can be trusted, else the sure one.

Fast: choose from the packet table, decode from key frames. Sure: decode everything and count. Both number frames in
the order in which they are shown, so they give the same frames. Decodes where it is called; untrusted files go through
`ovrun.media.isolated`, which calls this in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO

import av
from PIL import Image

from ovengines.errors import ExitCode, OVError
from ovrun.limits import check_limit
from ovrun.log import logger
from ovrun.media.animation import decode_animation, is_animation
from ovrun.media.chosen import ChosenFrames, Emit, check_clip_bytes, check_frame_size
from ovrun.media.container import FORMAT_HINT, Video, decoder_errors, open_video, pass_on_no_memory
from ovrun.media.frames import FrameSampling
from ovrun.media.packets import PacketTable, read_packets
from ovrun.media.seeking import SeekingDecoder, Unreliable
from ovrun.media.upright import upright_image


def decode_clip(
    file: IO[bytes], sampling: FrameSampling, *, label: str, emit: Emit, num_threads: int = 1
) -> ChosenFrames:
    """Gives the chosen frames of a video or animation to `emit`, one by one; `label` names the file in messages.

    Raises:
        OVError: BAD_INPUT for what is no video that can be decoded, LIMIT_EXCEEDED for one that is too much.
    """
    with decoder_errors(label):
        if is_animation(file):
            return decode_animation(file, sampling, label=label, emit=emit)
        with open_video(file, label, num_threads) as video:
            table = read_packets(video)
            doubt = table.doubt
            if not doubt:
                try:
                    return _decode_wanted(video, table, sampling, emit)
                except (Unreliable, av.error.FFmpegError) as err:
                    pass_on_no_memory(err)
                    doubt = "it can't be decoded from its key frames"
        logger.debug("%s is decoded through: %s", label, doubt)
        return _decode_through(file, sampling, label, emit, table, num_threads)


def _decode_wanted(video: Video, table: PacketTable, sampling: FrameSampling, emit: Emit) -> ChosenFrames:
    times_s = _times_s(table.pts_P[table.shown].tolist(), video)
    rate = _rate(times_s, video)
    indices = sampling.choose(table.num_packets, rate)
    _check_total(video, indices)
    decoder = SeekingDecoder(video, table)
    for index in sorted(set(indices)):
        emit(index, _image(decoder.frame(index), video.label))
    return _chosen(video, indices, times_s, rate, last_duration=table.last_duration, damaged=False)


def _decode_through(
    file: IO[bytes], sampling: FrameSampling, label: str, emit: Emit, table: PacketTable, num_threads: int
) -> ChosenFrames:
    """Threads that decode several frames at once lose good ones beside a damaged one: then once more without."""
    if num_threads > 1 and not table.damaged:
        through = _Through(file, label, num_threads)
        chosen = through.decode(sampling, emit, guess=table.num_packets)
        if not through.damaged:
            return chosen
    return _Through(file, label, 1, damaged=table.damaged).decode(sampling, emit, guess=table.num_packets)


class _Through:
    """Decodes a whole file, once if the guess of its frames was right and twice if not."""

    def __init__(self, file: IO[bytes], label: str, num_threads: int, *, damaged: bool = False) -> None:
        self._file, self._label, self._num_threads = file, label, num_threads
        self.damaged = damaged

    def decode(self, sampling: FrameSampling, emit: Emit, *, guess: int) -> ChosenFrames:
        """Frames that are wanted only by the guess are given to `emit` too.

        Raises:
            OVError: BAD_INPUT if no frame can be decoded.
        """
        with open_video(self._file, self._label, self._num_threads) as video:
            guessed = sampling.choose(guess, _rate((), video))
            _check_total(video, guessed)
            pts = self._decode(video, guessed, emit)
            if not pts:
                raise OVError(ExitCode.BAD_INPUT, f"{self._label} has no frame that can be decoded", FORMAT_HINT)
            times_s = _times_s(pts, video)
            rate = _rate(times_s, video)
            indices = sampling.choose(len(pts), rate)
            _check_total(video, indices)
            chosen = _chosen(video, indices, times_s, rate, last_duration=0, damaged=self.damaged)
        missing = set(indices) - set(guessed)
        if missing:
            with open_video(self._file, self._label, self._num_threads) as video:
                self._decode(video, missing, emit)
        return chosen

    def _decode(self, video: Video, wanted: Sequence[int] | set[int], emit: Emit) -> list[int | None]:
        """The times of all frames, in units of the stream's time base; None where there is none."""
        pts: list[int | None] = []
        wanted = set(wanted)
        for frame in self._frames(video):
            if len(pts) in wanted:
                emit(len(pts), _image(frame, self._label))
            pts.append(frame.pts)
            check_limit("video_frames", len(pts), f"{self._label} has at least")
        return pts

    def _frames(self, video: Video) -> Iterator[av.VideoFrame]:
        """What can be decoded: damaged packets are left out, and what can't be read is the end."""
        packets: Iterator[av.Packet] = video.container.demux(video.stream)
        while True:
            try:
                packet: av.Packet | None = next(packets, None)
            except av.error.FFmpegError as err:
                pass_on_no_memory(err)
                self.damaged = True
                packet = av.Packet()  # what the decoder still holds
            if packet is None:
                return
            try:
                yield from video.stream.codec_context.decode(packet)
            except EOFError:
                return
            except av.error.FFmpegError as err:
                pass_on_no_memory(err)
                self.damaged = True


def _image(frame: av.VideoFrame, label: str) -> Image.Image:
    check_frame_size(frame.width, frame.height, label)
    return upright_image(frame)


def _check_total(video: Video, indices: Sequence[int]) -> None:
    context = video.stream.codec_context
    check_clip_bytes(indices, context.width, context.height, video.label)


def _times_s(pts: Sequence[int | None], video: Video) -> tuple[float, ...]:
    """Seconds since the first frame, by the frames' own times or, where one has none, by the rate."""
    base = video.stream.time_base
    if pts and base and None not in pts:
        return tuple(float((value - pts[0]) * base) for value in pts)  # type: ignore[operator]
    return tuple(index / (video.fps or 1.0) for index in range(len(pts)))


def _rate(times_s: Sequence[float], video: Video) -> float:
    """Frames per second: the file's average as decord gives it, else what the times say."""
    if video.fps:
        return video.fps
    return (len(times_s) - 1) / times_s[-1] if len(times_s) > 1 and times_s[-1] > 0 else 1.0


def _chosen(
    video: Video, indices: Sequence[int], times_s: Sequence[float], rate: float, *, last_duration: int, damaged: bool
) -> ChosenFrames:
    last_s = float(last_duration * (video.stream.time_base or 0)) or 1 / rate
    duration_s = round(times_s[-1] + last_s, 6)
    return ChosenFrames(
        num_frames=len(times_s),
        duration_s=duration_s,
        indices=tuple(indices),
        times_s=tuple(times_s[index] for index in indices),
        warnings=tuple(_warnings(video, len(times_s), duration_s, damaged)),
    )


def _warnings(video: Video, num_frames: int, duration_s: float, damaged: bool) -> Iterator[str]:
    stream = video.stream
    container_s = (video.container.duration or 0) / av.time_base
    promised_s = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else container_s
    missing_s = promised_s - duration_s
    # Both, because an MP4's edit list hides frames that its header counts.
    fewer = num_frames < stream.frames and missing_s > duration_s / num_frames / 2
    if damaged or fewer:
        yield f"{video.label} is damaged or cut off: only {num_frames:,} frames can be decoded"
    elif missing_s > max(0.5, 0.01 * promised_s):  # cut off, or the sound is longer
        yield f"{video.label} should last {promised_s:.1f} s, but its frames end after {duration_s:.1f} s"
