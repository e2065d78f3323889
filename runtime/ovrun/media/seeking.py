"""Decodes single frames of a video by their rank, from the nearest packet at which decoding can begin.

Whatever comes out is compared with the packet table: where the two differ, nothing more is given and `Unreliable`
says so. Knows no files and no rule of sampling.
"""

from __future__ import annotations

from collections.abc import Iterator

import av

from ovrun.media.container import Video
from ovrun.media.packets import PacketTable

SEEK_PACKETS = 8  # what a seek costs, in packets decoded: the demuxer goes back, the decoder's threads start afresh


class Unreliable(Exception):
    """The file is not what its packets say; it has to be decoded through."""


class SeekingDecoder:
    """Frames by rank, in rising order. Uses the container of `video` alone until it is done."""

    def __init__(self, video: Video, table: PacketTable) -> None:
        self._video, self._table = video, table
        self._next_packet = -SEEK_PACKETS - 1  # in the order of the file; nothing has been decoded yet
        self._frames: Iterator[tuple[int, av.VideoFrame]] = iter(())

    def frame(self, rank: int) -> av.VideoFrame:
        """The frame shown rank-th. Raises Unreliable."""
        entry = self._table.entry_before(rank)
        if entry - self._next_packet >= SEEK_PACKETS:
            self._frames = self._decode_from(entry)
        for found, frame in self._frames:
            if found == rank:
                return frame
        raise Unreliable("it ends before its last packet")

    def _decode_from(self, entry: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """All frames from the entry's own on, each with its rank."""
        table = self._table
        rank = int(table.rank_of[entry])
        first_pts = table.pts_P[entry]
        for packet in self._packets_from(entry):
            for frame in packet.decode():
                if frame.pts is not None and frame.pts < first_pts:
                    continue  # it needs what lies before the entry, and is nobody's wish
                if rank >= table.num_packets or frame.pts != table.pts_P[table.shown[rank]] or frame.is_corrupt:
                    raise Unreliable("frames do not come as the packets say")
                yield rank, frame
                rank += 1

    def _packets_from(self, entry: int) -> Iterator[av.Packet]:
        """The packets from the entry on, and the one that flushes the decoder at the end of the file."""
        table, stream = self._table, self._video.stream
        self._video.container.seek(int(table.dts_P[entry]), stream=stream)
        found = False
        for packet in self._video.container.demux(stream):
            if packet.size == 0:
                yield packet
                return
            if not found:
                # A seek lands at the entry or somewhere before it.
                found = packet.pts == table.pts_P[entry]
                self._next_packet = entry
            if found:
                if self._next_packet >= table.num_packets or packet.pts != table.pts_P[self._next_packet]:
                    raise Unreliable("packets do not come twice in the same order")
                self._next_packet += 1
                yield packet
        raise Unreliable("it ends before its end")
