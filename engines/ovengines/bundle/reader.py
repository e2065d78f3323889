"""Opens a bundle: parses the manifest and checks every file's name, size and SHA-256 before anything uses it.

A bundle is data from elsewhere: names are bare file names, links are refused, and nothing is read beyond the
sizes that the manifest states. Hashing gigabytes takes seconds, so a stamp of (inode, size, mtime) under
`$OV_HOME/stamps` spares it the next time; a changed file changes its stamp.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ovengines.bundle.manifest import FileSpec, GraphSpec, Manifest, from_json
from ovengines.errors import ExitCode, OVError
from ovengines.home import ov_home

MAX_MANIFEST_BYTES = 4 << 20
HASH_CHUNK_BYTES = 4 << 20
REBUILD_HINT = "the bundle is damaged or was changed; build or copy it again"

Progress = Callable[[str, int, int], None]  # (file, bytes done, bytes in all)


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """An opened bundle whose files have been checked."""

    path: Path
    manifest: Manifest
    sha256: str  # of manifest.json, which holds the hashes of all other files

    def file(self, name: str) -> Path:
        """Path of a file that the manifest lists. Raises OVError (BUNDLE_INVALID) for any other name."""
        if all(spec.name != name for spec in self.manifest.files):
            raise _invalid(f"{name} is not a file of the bundle {self.path}")
        return self.path / name

    def graph_file(self, graph: GraphSpec) -> Path:
        return self.file(graph.file)


def open_bundle(path: str | Path, *, progress: Progress | None = None) -> Bundle:
    """Open and check the bundle in folder `path`.

    Raises:
        OVError: BUNDLE_INVALID, naming the file at fault; a newer layout is refused with a sentence.
    """
    folder = Path(path)
    text = _read_manifest(folder)
    manifest = from_json(text.decode("utf-8", errors="replace"))
    sha256 = hashlib.sha256(text).hexdigest()
    _check_names(manifest)
    stamps = [_stat_file(folder, spec) for spec in manifest.files]
    stamp_file = ov_home() / "stamps" / f"{sha256}.json"
    if not _is_stamped(stamp_file, stamps):
        for spec in manifest.files:
            _check_hash(folder / spec.name, spec, progress)
        _write_stamp(stamp_file, stamps)
    return Bundle(path=folder, manifest=manifest, sha256=sha256)


def _invalid(message: str, hint: str = REBUILD_HINT) -> OVError:
    return OVError(ExitCode.BUNDLE_INVALID, message, hint)


def _read_manifest(folder: Path) -> bytes:
    file = folder / "manifest.json"
    try:
        if file.stat().st_size > MAX_MANIFEST_BYTES:
            raise _invalid(f"{file} is larger than {MAX_MANIFEST_BYTES} bytes")
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as err:
        raise _invalid(f"{folder} is not a bundle: it has no manifest.json", "make one with: ovexport build") from err
    except OSError as err:
        raise _invalid(f"{file} can't be read: {err.strerror}", "check the path and its permissions") from err


def is_bare_name(name: str) -> bool:
    """True for a plain file name: nothing that could lead out of the bundle's folder."""
    return bool(name) and name not in (".", "..") and not any(c in name for c in "/\\\0:")


def _check_names(manifest: Manifest) -> None:
    listed = {spec.name for spec in manifest.files}
    used = {n for g in manifest.graphs for n in (g.file, *g.data_files)}
    for name in sorted(listed | used):
        if not is_bare_name(name):
            raise _invalid(f"the manifest names a path that leaves the bundle: {name!r}")
    if unlisted := sorted(used - listed):
        raise _invalid(f"the manifest gives no size and hash for {', '.join(unlisted)}")


def _stat_file(folder: Path, spec: FileSpec) -> list[int]:
    try:
        info = os.lstat(folder / spec.name)
    except OSError as err:
        raise _invalid(f"{spec.name} is missing from the bundle {folder}") from err
    if not stat.S_ISREG(info.st_mode):
        raise _invalid(f"{spec.name} in the bundle {folder} is a link or not a plain file")
    if info.st_size != spec.size_bytes:
        raise _invalid(f"{spec.name} has {info.st_size} bytes, the manifest says {spec.size_bytes}")
    return [info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns]


def _check_hash(file: Path, spec: FileSpec, progress: Progress | None) -> None:
    digest, done = hashlib.sha256(), 0
    with open(file, "rb") as stream:
        while chunk := stream.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if progress:
                progress(f"checking {spec.name}", done, spec.size_bytes)
    if digest.hexdigest() != spec.sha256:
        raise _invalid(f"{spec.name} does not match its SHA-256 in the manifest")


def _is_stamped(stamp_file: Path, stamps: list[list[int]]) -> bool:
    try:
        return bool(json.loads(stamp_file.read_text()) == stamps)
    except (OSError, ValueError):
        return False


def _write_stamp(stamp_file: Path, stamps: list[list[int]]) -> None:
    try:
        stamp_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = stamp_file.with_suffix(f".{os.getpid()}.tmp")
        partial.write_text(json.dumps(stamps))
        partial.replace(stamp_file)
    except OSError:  # a read-only home costs the hashing each time, nothing else
        return
