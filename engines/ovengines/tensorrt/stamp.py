"""Whether a file still has its SHA-256: hashed once, and again only when the file system says that it was touched.

An engine of gigabytes takes seconds to hash, so what was found is noted beside it, with inode, size and times.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ovengines.bundle.hashing import file_sha256

SUFFIX = ".stamp"


def has_sha256(file: Path, sha256: str) -> bool:
    """False, too, for a file that can't be read."""
    try:
        if _noted(file) == _state(file, sha256):
            return True
        if file_sha256(file) != sha256:
            return False
    except OSError:
        return False
    note_sha256(file, sha256)
    return True


def note_sha256(file: Path, sha256: str) -> None:
    """The file, as it is now, is known to have this hash."""
    try:
        file.with_suffix(SUFFIX).write_text(json.dumps(_state(file, sha256)))
    except OSError:  # a read-only home costs the hashing each time, nothing else
        return


def _noted(file: Path) -> object:
    try:
        return json.loads(file.with_suffix(SUFFIX).read_text())
    except (OSError, ValueError):
        return None


def _state(file: Path, sha256: str) -> list[object]:
    info = os.stat(file)
    return [sha256, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns]
