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

from ovengines.bundle.external_data import external_locations
from ovengines.bundle.hashing import file_sha256
from ovengines.bundle.manifest import FileSpec, GraphSpec, Manifest, from_json
from ovengines.errors import ExitCode, OVError
from ovengines.home import ov_home

MAX_MANIFEST_BYTES = 4 << 20
REBUILD_HINT = "the bundle is damaged or was changed; build or copy it again"

Progress = Callable[[str, int, int], None]  # (what is being done, bytes done, bytes in all)


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
            LIMIT_EXCEEDED for a manifest of more than MAX_MANIFEST_BYTES.
    """
    folder = Path(path)
    text = _read_manifest(folder)
    manifest = from_json(text.decode("utf-8", errors="replace"))
    sha256 = hashlib.sha256(text).hexdigest()
    _check_names(manifest)
    stamps = [_stat_file(folder, spec) for spec in manifest.files]
    if not _is_stamped(sha256, stamps):
        for spec in manifest.files:
            _check_hash(folder / spec.name, spec, progress)
        for graph in manifest.graphs:
            _check_locations(folder, graph)
        _write_stamp(sha256, stamps)
    return Bundle(path=folder, manifest=manifest, sha256=sha256)


def is_bundle(folder: Path) -> bool:
    """Whether the folder is one of ours, damaged or not: its manifest at least speaks of a layout."""
    try:
        return b'"layout_version"' in _read_manifest(folder)
    except OVError:
        return False


def stamp(folder: Path, manifest: Manifest, text: bytes) -> None:
    """Remember that the files are what `manifest` (whose bytes are `text`) says: its writer has just hashed them."""
    stamps = [_stat_file(folder, spec) for spec in manifest.files]
    _write_stamp(hashlib.sha256(text).hexdigest(), stamps)


def _invalid(message: str, hint: str = REBUILD_HINT) -> OVError:
    return OVError(ExitCode.BUNDLE_INVALID, message, hint)


def _read_manifest(folder: Path) -> bytes:
    file = folder / "manifest.json"
    try:
        if not stat.S_ISREG(os.lstat(file).st_mode):
            raise _invalid(f"{file} is a link or not a plain file")
        with open(file, "rb") as stream:
            text = stream.read(MAX_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as err:
        raise _invalid(f"{folder} is not a bundle: it has no manifest.json", "make one with: ovexport build") from err
    except (OSError, ValueError) as err:  # ValueError: a null character in the path
        reason = getattr(err, "strerror", None) or "not a usable path"
        raise _invalid(f"{file} can't be read: {reason}", "check the path and its permissions") from err
    if len(text) > MAX_MANIFEST_BYTES:
        raise OVError(
            ExitCode.LIMIT_EXCEEDED,
            f"{file} has more bytes than the limit manifest_bytes of {MAX_MANIFEST_BYTES:,}",
            "no bundle of ours is so large; get it again from where it came",
        )
    return text


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
    done = 0

    def advance(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        if progress:
            progress(f"checking {spec.name}", done, spec.size_bytes)

    if file_sha256(file, advance) != spec.sha256:
        raise _invalid(f"{spec.name} does not match its SHA-256 in the manifest")


def _check_locations(folder: Path, graph: GraphSpec) -> None:
    """A graph may take weights from its own data files only; older engines do not look where a path leads."""
    foreign = external_locations(folder / graph.file) - set(graph.data_files)
    if foreign:
        raise _invalid(f"{graph.file} refers to data outside of its files: {', '.join(sorted(foreign))[:200]!r}")


def _stamp_file(sha256: str) -> Path:
    return ov_home() / "stamps" / f"{sha256}.json"


def _is_stamped(sha256: str, stamps: list[list[int]]) -> bool:
    try:
        return bool(json.loads(_stamp_file(sha256).read_text()) == stamps)
    except (OSError, ValueError):
        return False


def _write_stamp(sha256: str, stamps: list[list[int]]) -> None:
    file = _stamp_file(sha256)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = file.with_suffix(f".{os.getpid()}.tmp")
        partial.write_text(json.dumps(stamps))
        partial.replace(file)
    except OSError:  # a read-only home costs the hashing each time, nothing else
        return
