"""What a user calls a checkpoint -> the folder that holds it: a folder here, or a Hub id that is downloaded.

Knows no file of a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ovengines.errors import ExitCode, OVError
from ovexport.checkpoint.hub import download, is_hub_id
from ovexport.checkpoint.json_fields import bad_checkpoint


@dataclass(frozen=True, kw_only=True)
class Located:
    """`name` is the Hub id or the folder's name, `revision` the commit of a Hub id and None for a folder."""

    folder: Path
    name: str
    revision: str | None


def locate(path_or_hub_id: str | Path, revision: str | None = None) -> Located:
    """A folder, or a Hub id that is no folder here. Raises OVError (BAD_INPUT, or USAGE for a folder's revision)."""
    text = str(path_or_hub_id)
    folder = Path(path_or_hub_id)
    if folder.is_dir():
        if revision is not None:
            raise OVError(ExitCode.USAGE, f"{text} is a folder and has no revision {revision}", "leave it out")
        return Located(folder=folder, name=folder.resolve().name, revision=None)
    if folder.exists():
        raise bad_checkpoint(f"{text} is a file", "give the folder that holds config.json and the weights")
    if not is_hub_id(text):
        raise bad_checkpoint(f"there is no folder {text}", "give a folder, or a Hub id such as organisation/name")
    snapshot = download(text, revision)
    return Located(folder=snapshot.folder, name=text, revision=snapshot.commit)
