"""SHA-256 of files, a chunk at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

CHUNK_BYTES = 4 << 20


def file_sha256(file: Path, progress: Callable[[int], None] | None = None) -> str:
    """Hex digest of a file; `progress` takes the bytes read since its last call."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            if progress:
                progress(len(chunk))
    return digest.hexdigest()
