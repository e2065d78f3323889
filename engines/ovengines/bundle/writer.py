"""Writes a bundle so that it appears under its name whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ovengines.bundle.hashing import file_sha256
from ovengines.bundle.manifest import FileSpec, Manifest, to_json
from ovengines.bundle.reader import is_bundle, stamp
from ovengines.errors import ExitCode, OVError
from ovengines.replacement import Replacement, disk_errors

DISK_HINT = "free some space (ovexport build --dry-run prints what is needed) or choose another disk with -o"


class BundleWriter(Replacement):
    """Use as a context manager: add files to `.folder`, `seal` it, then `publish`; without that nothing stays."""

    def __init__(self, target: Path, *, force: bool = False) -> None:
        super().__init__(target, check=lambda: check_overwrite(self.target, force), hint=DISK_HINT)

    def add_bytes(self, name: str, data: bytes) -> None:
        with disk_errors(self.folder, self.hint):
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
