"""A folder that appears under its name whole or not at all.

Everything goes to a hidden folder beside the target that is renamed at the end. The hidden folder is locked while its
writer lives; what a killed one left behind is removed by the next of the same name. Knows nothing of what is written.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from ovengines.errors import ExitCode, OVError

PARTIAL, OLD = ".partial", ".old"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_Self = TypeVar("_Self", bound="Replacement")


class Replacement:
    """Use as a context manager: write into `.folder`, then `publish`; without that nothing stays.

    `check` raises where the target must not be replaced; it is asked before anything is written, and again before the
    target is replaced. `hint` says what to do when the disk is full.
    """

    def __init__(self, target: Path, *, check: Callable[[], None] = lambda: None, hint: str) -> None:
        self.target = Path(os.path.abspath(target))
        self.folder = self.target  # until it is entered
        self.hint = hint
        self._check = check
        self._lock = -1
        check()

    def __enter__(self: _Self) -> _Self:
        with disk_errors(self.target.parent, self.hint):
            self.target.parent.mkdir(parents=True, exist_ok=True)
            mend_abandoned(self.target)
            self._check()  # again: one may have been put back
            hidden = tempfile.mkdtemp(prefix=f".{self.target.name}.", suffix=PARTIAL, dir=self.target.parent)
            self.folder = Path(hidden)
            self.folder.chmod(0o755)
            self._lock = _lock(self.folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if self.folder != self.target:
            old = self.folder.with_suffix(OLD)
            if old.exists() and not self.target.exists():  # stopped between the two renames
                old.rename(self.target)
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def publish(self) -> Path:
        """Move the folder to its place; an older one there is replaced."""
        self._check()  # again: another writer may have been faster
        with disk_errors(self.folder, self.hint):
            for file in self.folder.rglob("*"):
                _sync(file)
            old = self.folder.with_suffix(OLD)
            if self.target.exists():
                self.target.rename(old)
            self.folder.rename(self.target)
            self.folder = self.target
            shutil.rmtree(old, ignore_errors=True)
        return self.target


@contextmanager
def disk_errors(folder: Path, hint: str) -> Iterator[None]:
    """Turns a full or read-only disk into an error that says so."""
    try:
        yield
    except OSError as err:
        if err.errno in FULL:
            message = f"the disk of {folder} is full ({err.strerror})"
            raise OVError(ExitCode.LIMIT_EXCEEDED, message, hint) from err
        raise OVError(
            ExitCode.USAGE, f"{folder} can't be written: {err.strerror}", "choose another folder with -o"
        ) from err


def mend_abandoned(target: Path) -> None:
    """Clear up after writers that were killed; a folder that one had just moved away is put back."""
    for folder in target.parent.glob(f".{escape(target.name)}.*"):
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


def _sync(path: Path) -> None:
    if path.is_file():
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
