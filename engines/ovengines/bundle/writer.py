"""Writes a bundle so that it appears under its name whole or not at all.

Everything goes to `.<name>.<pid>.partial` beside the target and is renamed at the end. Whatever a killed build left
behind is removed by the next one of the same name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from ovengines.bundle.manifest import FileSpec, Manifest, to_json
from ovengines.errors import ExitCode, OVError

HASH_CHUNK_BYTES = 4 << 20


class BundleWriter:
    """Use as a context manager: add files to `.folder`, `seal` it, then `publish`; without that nothing stays."""

    def __init__(self, target: Path, *, force: bool = False) -> None:
        self.target = Path(os.path.abspath(target))
        self.folder = self.target.parent / f".{self.target.name}.{os.getpid()}.partial"
        check_target(self.target, force)

    def __enter__(self) -> BundleWriter:
        with disk_errors(self.target.parent):
            self.target.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(self.target)
            self.folder.mkdir(mode=0o755)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_bytes(self, name: str, data: bytes) -> None:
        with disk_errors(self.folder):
            (self.folder / name).write_bytes(data)

    def file_specs(self) -> tuple[FileSpec, ...]:
        """Size and hash of everything written so far."""
        return tuple(_file_spec(file) for file in sorted(self.folder.iterdir()))

    def seal(self, manifest: Manifest) -> None:
        """Write the manifest: from now on `folder` can be opened as a bundle, and only reports may be added."""
        self.add_bytes("manifest.json", to_json(manifest).encode())

    def publish(self) -> Path:
        """Move the sealed bundle to its place; an older one there is replaced."""
        with disk_errors(self.folder):
            for file in self.folder.iterdir():
                _sync(file)
            old = self.target.parent / f".{self.target.name}.{os.getpid()}.old"
            if self.target.exists():
                self.target.rename(old)
            self.folder.rename(self.target)
            shutil.rmtree(old, ignore_errors=True)
        return self.target


def check_target(target: Path, force: bool) -> None:
    """Raise OVError (USAGE) where writing the bundle would overwrite what is not to be overwritten."""
    if not target.exists():
        return
    if not (target / "manifest.json").exists():
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
        if err.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise OVError(
                ExitCode.USAGE, f"{folder} can't be written: {err.strerror}", "choose another folder with -o"
            ) from err
        raise


def _remove_abandoned(target: Path) -> None:
    for folder in target.parent.glob(f".{target.name}.*"):
        pid = folder.name.split(".")[-2]
        if folder.suffix in (".partial", ".old") and pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync(file: Path) -> None:
    with open(file, "rb") as stream:
        os.fsync(stream.fileno())


def _file_spec(file: Path) -> FileSpec:
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while chunk := stream.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return FileSpec(name=file.name, size_bytes=file.stat().st_size, sha256=digest.hexdigest())
