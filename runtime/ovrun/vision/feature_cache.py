"""Remembers the visual tokens of what was seen, so that nothing is looked at twice: in memory, and on disk if asked.

Bounded in bytes, the least recently used go first. A key covers everything that the tokens depend on (`sight_key`).
Safe to use from several threads. Axes: T visual tokens, D width of the language model.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ovrun.log import logger

Float32 = NDArray[np.float32]

PREPROCESSING = "1"  # another number for every change of pixels or plans: old keys must not fit any more


def sight_key(image: Image.Image, mode: str, scope: str) -> bytes:
    """SHA-256 over decoded pixels, size and mode of an image, how it is looked at, and `scope`: model and geometry."""
    about = "\0".join((PREPROCESSING, scope, mode, image.mode, str(image.size)))
    digest = hashlib.sha256(about.encode())
    digest.update(image.tobytes())
    return digest.digest()


class FeatureCache:
    """Visual tokens [T, D] by key. `max_bytes` of memory (0 remembers nothing), `max_disk_bytes` in `folder`."""

    def __init__(self, max_bytes: int, folder: Path | None = None, max_disk_bytes: int = 0) -> None:
        self.max_bytes, self.max_disk_bytes, self.folder = max_bytes, max_disk_bytes, folder
        self.hits = self.misses = 0
        self.num_bytes = 0
        self._kept: OrderedDict[bytes, Float32] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> Float32 | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        if found is None and (found := self._read(key)) is not None:
            self._keep(key, found)
        with self._lock:
            self.hits += found is not None
            self.misses += found is None
        return found

    def put(self, key: bytes, embeds_TD: Float32) -> None:
        """Remember a copy, which nobody can write to."""
        embeds_TD = np.array(embeds_TD)
        embeds_TD.setflags(write=False)
        self._keep(key, embeds_TD)
        self._write(key, embeds_TD)

    def clear(self) -> None:
        """Forget what is in memory; the disk is left alone."""
        with self._lock:
            self._kept.clear()
            self.num_bytes = 0

    def _keep(self, key: bytes, embeds_TD: Float32) -> None:
        with self._lock:
            if key in self._kept or embeds_TD.nbytes > self.max_bytes:
                return
            self._kept[key] = embeds_TD
            self.num_bytes += embeds_TD.nbytes
            while self.num_bytes > self.max_bytes:
                self.num_bytes -= self._kept.popitem(last=False)[1].nbytes

    def _file(self, key: bytes) -> Path | None:
        return None if self.folder is None else self.folder / f"{key.hex()}.npy"

    def _read(self, key: bytes) -> Float32 | None:
        """None for what is not there, and for what is damaged."""
        file = self._file(key)
        if file is None:
            return None
        try:
            embeds_TD = np.load(file, allow_pickle=False)
            os.utime(file)  # used just now
        except (OSError, ValueError, EOFError):
            return None
        if embeds_TD.dtype != np.float32 or embeds_TD.ndim != 2:
            return None
        embeds_TD.setflags(write=False)
        found: Float32 = embeds_TD
        return found

    def _write(self, key: bytes, embeds_TD: Float32) -> None:
        """A full disk costs the memory on disk, not the answer."""
        file = self._file(key)
        if file is None or self.folder is None or embeds_TD.nbytes > self.max_disk_bytes or file.exists():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}.part")
            try:
                with part.open("wb") as out:
                    np.save(out, embeds_TD, allow_pickle=False)
                part.replace(file)
            finally:
                part.unlink(missing_ok=True)
            self._shrink()
        except OSError as err:
            logger.warning("visual tokens can't be kept in %s: %s", self.folder, err.strerror)

    def _shrink(self) -> None:
        files = sorted(self._stats(), key=lambda item: item[0])
        spare = sum(size for _, size, _ in files) - self.max_disk_bytes
        for _, size, file in files:
            if spare <= 0:
                return
            with suppress(OSError):
                file.unlink()
            spare -= size

    def _stats(self) -> Iterator[tuple[float, int, Path]]:
        """(last used, bytes, file) of everything on disk."""
        assert self.folder is not None
        for file in self.folder.glob("*.npy"):
            with suppress(OSError):  # another process may have shrunk it away
                info = file.stat()
                yield info.st_mtime, info.st_size, file
