"""Writes a bundle so that it appears under its name whole or not at all.

Everything goes to a hidden folder beside the target that is renamed at the end. The folder is locked while its
writer lives; what a killed one left behind is removed by the next of the same name.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from ovengines.bundle.hashing import file_sha256
from ovengines.bundle.manifest import FileSpec, Manifest, to_json
from ovengines.bundle.reader import is_bundle, stamp
from ovengines.errors import ExitCode, OVError

PARTIAL, OLD = ".partial", ".old"


class BundleWriter:
    """Use as a context manager: add files to `.folder`, `seal` it, then `publish`; without that nothing stays."""

    def __init__(self, target: Path, *, force: bool = False) -> None:
        self.target = Path(os.path.abspath(target))
        self.force = force
        self.folder = self.target  # until it is entered
        self._lock = -1
        check_overwrite(self.target, force)

    def __enter__(self) -> BundleWriter:
        with disk_errors(self.target.parent):
            self.target.parent.mkdir(parents=True, exist_ok=True)
            _mend_abandoned(self.target)
            check_overwrite(self.target, self.force)  # again: one may have been put back
            hidden = tempfile.mkdtemp(prefix=f".{self.target.name}.", suffix=PARTIAL, dir=self.target.parent)
            self.folder = Path(hidden)
            self.folder.chmod(0o755)
            self._lock = _lock(self.folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if self.folder != self.target:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def add_bytes(self, name: str, data: bytes) -> None:
        with disk_errors(self.folder):
            (self.folder / name).write_bytes(data)

    def file_specs(self, progress: Callable[[int], None] | None = None) -> tuple[FileSpec, ...]:
        """Size and hash of everything written so far; `progress` takes the bytes hashed since its last call."""
        return tuple(
            FileSpec(name=file.name, size_bytes=file.stat().st_size, sha256=file_sha256(file, progress))
            for file in sorted(self.folder.iterdir())
        )

    def seal(self, manifest: Manifest) -> None:
        """Write the manifest: from now on `folder` can be opened as a bundle, and only reports may be added."""
        text = to_json(manifest).encode()
        self.add_bytes("manifest.json", text)
        stamp(self.folder, manifest, text)

    def publish(self) -> Path:
        """Move the sealed bundle to its place; an older one there is replaced."""
        check_overwrite(self.target, self.force)  # again: another build may have been faster
        with disk_errors(self.folder):
            for file in self.folder.iterdir():
                _sync(file)
            old = self.folder.with_suffix(OLD)
            if self.target.exists():
                self.target.rename(old)
            self.folder.rename(self.target)
            self.folder = self.target
            shutil.rmtree(old, ignore_errors=True)
        return self.target


def check_overwrite(target: Path, force: bool) -> None:
    """Raise OVError (USAGE) where writing the bundle would overwrite what is not to be overwritten."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not is_bundle(target):
        raise OVError(
            ExitCode.USAGE,
            f"{target} exists and is not a bundle",
            "choose another folder with -o; it is left as it is",
        )
    if not force:
        raise OVError(ExitCode.USAGE, f"{target} exists already", "replace it with --force, or choose another with -o")


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns a full or read-only disk into an error that says so."""
    try:
        yield
    except OSError as err:
        if err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OVError(
                ExitCode.LIMIT_EXCEEDED,
                f"the disk of {folder} is full ({err.strerror})",
                "free some space (ovexport build --dry-run prints what is needed) or choose another disk with -o",
            ) from err
        raise OVError(
            ExitCode.USAGE, f"{folder} can't be written: {err.strerror}", "choose another folder with -o"
        ) from err


def _mend_abandoned(target: Path) -> None:
    """Clear up after writers that were killed; a bundle that one had just moved away is put back."""
    for folder in target.parent.glob(f".{target.name}.*"):
        if folder.suffix in (PARTIAL, OLD) and not _is_locked(folder):
            if folder.suffix == OLD and not target.exists():
                folder.rename(target)
            else:
                shutil.rmtree(folder, ignore_errors=True)


def _lock(folder: Path) -> int:
    """A lock that ends with the process, however it ends; held through the file descriptor that is returned."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        import fcntl
    except ImportError:  # not on Windows, where nothing is cleared up then
        return descriptor
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _is_locked(folder: Path) -> bool:
    try:
        os.close(_lock(folder))
    except OSError:
        return True
    return False


def _sync(file: Path) -> None:
    with open(file, "rb") as stream:
        os.fsync(stream.fileno())
