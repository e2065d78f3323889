"""Hub ids: the needed files of a repository, in the cache of huggingface_hub.

Knows which files a checkpoint needs (safetensors only) and turns the library's errors into ours. HF_HOME,
HF_ENDPOINT, HF_HUB_OFFLINE and tokens are the library's own business. It is imported only when an id is
given.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ovengines.errors import ExitCode, OVError
from ovexport.checkpoint.json_fields import bad_checkpoint
from ovexport.checkpoint.tensor_files import INDEX_FILE, SINGLE_FILE, index_shards

SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
    INDEX_FILE,
)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A repository at one commit, on this disk."""

    folder: Path
    commit: str


def is_hub_id(text: str) -> bool:
    """Whether the text has the form "organisation/name"."""
    return _HUB_ID.fullmatch(text) is not None


def download(hub_id: str, revision: str | None = None) -> Snapshot:
    """Small files first, then just the weight files that they name, all of one commit.

    Raises OVError: MISSING_DEPENDENCY without huggingface_hub; BAD_INPUT if the repository, the revision or
    its safetensors are not found, access is refused, or the Hub cannot be reached and the files are not in
    the cache.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as err:
        raise OVError(
            ExitCode.MISSING_DEPENDENCY,
            "a Hub id needs huggingface_hub, which is not installed",
            "pip install 'ovexport[export]', or give a folder",
        ) from err

    def fetch(names: list[str], at: str | None) -> Path:
        return Path(snapshot_download(hub_id, revision=at, allow_patterns=names))

    folder = _translated(hub_id, revision, lambda: fetch(list(SMALL_FILES), revision))
    commit = folder.name  # the cache names a snapshot by its commit
    weights = index_shards(folder / INDEX_FILE) if (folder / INDEX_FILE).is_file() else [SINGLE_FILE]
    folder = _translated(hub_id, revision, lambda: fetch([*SMALL_FILES, *weights], commit))
    for name in weights:
        if not (folder / name).is_file():
            raise bad_checkpoint(
                f"{hub_id} has no {name}, or it is not in the cache",
                "only safetensors are read; look for a repository that has them, or go online once",
            )
    return Snapshot(folder=folder, commit=commit)


def _translated(hub_id: str, revision: str | None, fetch: Callable[[], Path]) -> Path:
    """The library's exceptions as one sentence and a hint each; the first row that fits is the one raised."""
    from huggingface_hub import errors

    at = f" at revision {revision}" if revision else ""
    rows: tuple[tuple[type[Exception], str, str], ...] = (
        (
            errors.GatedRepoError,
            f"access to {hub_id} has to be granted first",
            "accept its terms on the Hub, then run: hf auth login",
        ),
        (errors.RevisionNotFoundError, f"{hub_id} has no revision {revision}", "give a branch or commit"),
        (
            errors.RepositoryNotFoundError,
            f"there is no folder {hub_id} here and no such repository on the Hub",
            "check the name; for a private repository run: hf auth login",
        ),
        (
            errors.LocalEntryNotFoundError,
            f"{hub_id}{at} is not in the cache and the Hub is offline or cannot be reached",
            "check the network and HF_HUB_OFFLINE, or give a folder",
        ),
        (errors.HFValidationError, f"{hub_id} is not a Hub id", "give organisation/name, or a folder"),
        (errors.HfHubHTTPError, f"the Hub refused {hub_id}{at}", "try again later"),
        (OSError, f"{hub_id}{at} could not be downloaded", "check the network and the free disk space"),
    )
    try:
        return fetch()
    except Exception as err:
        finding = f"{hub_id}{at} could not be downloaded ({type(err).__name__}: {' '.join(str(err).split())[:200]})"
        # The transport of huggingface_hub >= 1 has errors that are none of those above, such as a connection cut off.
        rest = (finding, "check the network, then try again; what has arrived is kept")
        message, hint = next(((message, hint) for kind, message, hint in rows if isinstance(err, kind)), rest)
        raise OVError(ExitCode.BAD_INPUT, message, hint) from err
