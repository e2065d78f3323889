"""A device whose memory is the host's and that does everything at once: for what lies in the memory of a GPU."""

from __future__ import annotations

import numpy as np


class EagerMemory:
    def __init__(self, size_bytes: int) -> None:
        self.block = np.zeros(max(size_bytes, 1), np.uint8)
        self.address = self.block.ctypes.data


class EagerDevice:
    """Refuses to leave the memory that an address is in."""

    def __init__(self) -> None:
        self.memories: list[EagerMemory] = []

    def allocate(self, size_bytes: int) -> EagerMemory:
        self.memories.append(EagerMemory(size_bytes))
        return self.memories[-1]

    def clear_rows(self, address: int, pitch_bytes: int, width_bytes: int, rows: int) -> None:
        for row in range(rows):
            self._bytes(address + row * pitch_bytes, width_bytes)[...] = 0

    def copy_rows(
        self, target: int, target_pitch_bytes: int, source: int, source_pitch_bytes: int, width_bytes: int, rows: int
    ) -> None:
        for row in range(rows):
            read = self._bytes(source + row * source_pitch_bytes, width_bytes)
            self._bytes(target + row * target_pitch_bytes, width_bytes)[...] = read

    def _bytes(self, address: int, size_bytes: int) -> np.ndarray:
        if not size_bytes:
            return np.zeros(0, np.uint8)
        for memory in self.memories:
            start = address - memory.address
            if 0 <= start < len(memory.block):
                assert start + size_bytes <= len(memory.block), "beyond the end of its memory"
                return memory.block[start : start + size_bytes]
        raise AssertionError(f"{address} is in no memory of the device")
