"""The table of a video's packets: when each is shown and where decoding can begin, found without decoding any.

Its order of times is the order in which decoding the whole file shows frames. Where the file gives reason to doubt
that, the table says so. Knows no pixels.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import av
import numpy as np
from numpy.typing import NDArray

from ovrun.limits import check_limit
from ovrun.media.container import Video, pass_on_no_memory
from ovrun.media.entry_point import entry_test


@dataclass(frozen=True, kw_only=True, eq=False)
class PacketTable:
    """P packets in the order of the file. Times are in units of the stream's time base.

    `shown[rank]` is the packet that is shown rank-th and `rank_of` the inverse; `entries` are the packets at which
    decoding can begin. `doubt` says why frames can't be told from packets, and is "" where they can.
    """

    pts_P: NDArray[np.int64]
    dts_P: NDArray[np.int64]
    shown: NDArray[np.int64]
    rank_of: NDArray[np.int64]
    entries: NDArray[np.int64]
    last_duration: int
    damaged: bool
    doubt: str

    @property
    def num_packets(self) -> int:
        return len(self.pts_P)

    def entry_before(self, rank: int) -> int:
        """The last packet from which on the frame of this rank can be decoded.

        A picture that follows an entry in the file but is shown before it needs the entry before that.
        """
        candidates = self.entries[: np.searchsorted(self.entries, self.shown[rank], side="right")]
        return int(candidates[np.flatnonzero(self.pts_P[candidates] <= self.pts_P[self.shown[rank]])[-1]])


class _Collected:
    """What is collected packet by packet."""

    def __init__(self) -> None:
        self.pts, self.dts, self.entries = array("q"), array("q"), array("q")
        self.duration = 0
        self.damaged, self.doubt = False, ""

    def add(self, packet: av.Packet, is_entry: bool) -> None:
        if packet.is_corrupt:
            self.damaged, self.doubt = True, "a packet is damaged"
        if getattr(packet, "is_discard", False):
            self.doubt = "an edit list hides frames"
        if packet.pts is None:
            self.doubt = "a packet has no time"
        if is_entry:
            self.entries.append(len(self.pts))
        pts = packet.pts or 0
        self.pts.append(pts)
        self.dts.append(pts if packet.dts is None else packet.dts)
        self.duration = packet.duration or self.duration


def read_packets(video: Video) -> PacketTable:
    """Reads the file through. Raises OVError (LIMIT_EXCEEDED) for more packets than a video may have frames."""
    context = video.stream.codec_context
    codec = getattr(context.codec, "canonical_name", context.codec.name)  # older versions of PyAV know the name only
    is_entry = entry_test(codec, context.extradata or b"")
    collected = _Collected()
    if is_entry is None:
        collected.doubt = "the codec has to be decoded through"
    try:
        for packet in video.container.demux(video.stream):
            if packet.size:
                collected.add(packet, bool(is_entry and packet.is_keyframe and is_entry(bytes(packet))))
                check_limit("video_frames", len(collected.pts), f"{video.label} has at least")
    except av.error.FFmpegError as err:
        pass_on_no_memory(err)
        collected.damaged, collected.doubt = True, "the file can't be read to its end"
    return _table(collected)


def _table(collected: _Collected) -> PacketTable:
    pts_P = np.array(collected.pts, dtype=np.int64)
    shown = np.argsort(pts_P, kind="stable")
    rank_of = np.empty_like(shown)
    rank_of[shown] = np.arange(len(shown))
    doubt = collected.doubt
    if not doubt and (np.diff(pts_P[shown]) == 0).any():
        doubt = "two packets have the same time"
    if not doubt and (not collected.entries or collected.entries[0] != 0 or rank_of[0] != 0):
        doubt = "it does not begin with a key frame"
    return PacketTable(
        pts_P=pts_P,
        dts_P=np.array(collected.dts, dtype=np.int64),
        shown=shown,
        rank_of=rank_of,
        entries=np.array(collected.entries, dtype=np.int64),
        last_duration=collected.duration,
        damaged=collected.damaged,
        doubt=doubt,
    )
