"""Whether decoding can begin at a packet and give the very pixels that decoding from the start gives.

Containers mark such packets as key frames, but some wrongly: an AVI without an index marks all, and H.264 that is
refreshed bit by bit marks pictures that become right only later. So the first bytes of the coded picture decide. Knows
bit streams; no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

START_CODE = b"\x00\x00\x01"
H264_IDR, H264_SEI, H264_RECOVERY_POINT = 5, 6, 6
HEVC_ENTRY_TYPES = range(16, 22)  # BLA, IDR and CRA pictures
AV1_SEQUENCE_HEADER = 1


def entry_test(codec: str, extradata: bytes) -> Callable[[bytes], bool] | None:
    """The test for packets that the container calls key frames; None for a codec that has to be decoded through.

    Left out on purpose: VP8, where some packets show no frame, and codecs that we have not tried.
    """
    if codec == "h264":
        length_bytes = (extradata[4] & 3) + 1 if extradata[:1] == b"\x01" and len(extradata) > 4 else 0
        return lambda packet: _h264_entry(packet, length_bytes)
    if codec == "hevc":
        length_bytes = (extradata[21] & 3) + 1 if extradata[:1] == b"\x01" and len(extradata) > 21 else 0
        return lambda packet: any((nal[0] >> 1) & 63 in HEVC_ENTRY_TYPES for nal in _nal_units(packet, length_bytes))
    return _SIMPLE.get(codec)


def _h264_entry(packet: bytes, length_bytes: int) -> bool:
    """An IDR picture, or a recovery point that is exact at once (the open group of pictures of broadcasts)."""
    for nal in _nal_units(packet, length_bytes):
        if nal[0] & 31 == H264_IDR:
            return True
        # Payload type, size, then recovery_frame_cnt as exp-Golomb (0 is one set bit) and exact_match_flag.
        if nal[0] & 31 == H264_SEI and len(nal) > 3 and nal[1] == H264_RECOVERY_POINT and nal[3] & 0xC0 == 0xC0:
            return True
    return False


def _nal_units(packet: bytes, length_bytes: int) -> Iterator[bytes]:
    """The beginnings of the NAL units: with their lengths in front (MP4, MKV), or between start codes."""
    position = 0
    if not length_bytes:
        while (position := packet.find(START_CODE, position) + 3) >= 3 and position < len(packet):
            yield packet[position : position + 8]
        return
    while position + length_bytes < len(packet):
        size = int.from_bytes(packet[position : position + length_bytes], "big")
        position += length_bytes
        if size:
            yield packet[position : position + min(size, 8)]
        position += size


def _mpeg4_entry(packet: bytes) -> bool:
    start = packet.find(START_CODE + b"\xb6")  # of the picture; the two bits after it are 0 for an I picture
    return 0 <= start < len(packet) - 4 and packet[start + 4] >> 6 == 0


def _vp9_entry(packet: bytes) -> bool:
    """Frame marker 2, profile (3 has a bit more), show_existing_frame 0, frame_type 0."""
    if not packet or packet[0] >> 6 != 2:
        return False
    first = packet[0] << 1 if packet[0] & 0x30 == 0x30 else packet[0]
    return first & 0x0C == 0


def _av1_entry(packet: bytes) -> bool:
    """A temporal unit that repeats the sequence header, right at its start or after a temporal delimiter."""
    start = 2 if packet[:2] == b"\x12\x00" else 0
    return len(packet) > start and (packet[start] >> 3) & 15 == AV1_SEQUENCE_HEADER


_SIMPLE: dict[str, Callable[[bytes], bool]] = {
    "mpeg4": _mpeg4_entry,
    "vp9": _vp9_entry,
    "av1": _av1_entry,
    "mjpeg": lambda packet: True,
    "prores": lambda packet: True,
}
