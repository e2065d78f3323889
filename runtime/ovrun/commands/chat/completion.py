"""What the last word of a line may become: a command, or a path after one that takes files."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

DELIMITERS = " "  # where readline's own idea of a word begins
_LAST_WORD = re.compile(r"(?:\\.|[^\\ ])*$")  # spaces of a name are escaped, as in a shell
_SPECIAL = re.compile(r"([\\\s'\"])")


def completions(line: str, commands: Collection[str], taking_files: Collection[str]) -> list[str]:
    """What may stand in place of what follows the last space of `line`, the text before the cursor."""
    command, space, rest = line.partition(" ")
    if not space:
        return [f"{name} " for name in commands if line.startswith("/") and name.startswith(line)]
    if command not in taking_files:
        return []
    found = _LAST_WORD.search(rest)
    word = found.group() if found else ""
    spared = len(word) - len(word.rpartition(" ")[2])  # readline has this part of the word already
    return [candidate[spared:] for candidate in _paths(word)]


def _paths(word: str) -> list[str]:
    """Files and folders whose path begins like `word`; hidden ones only if it says so."""
    shown, slash, beginning = re.sub(r"\\(.)", r"\1", word).rpartition("/")
    folder = os.path.expanduser(shown + slash)
    try:
        entries = sorted(os.scandir(folder or "."), key=lambda entry: entry.name)
    except (OSError, ValueError):
        return []
    return [
        _SPECIAL.sub(r"\\\1", shown + slash + entry.name) + ("/" if entry.is_dir() else " ")
        for entry in entries
        if entry.name.startswith(beginning) and (beginning or not entry.name.startswith("."))
    ]
