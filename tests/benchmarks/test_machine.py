"""The commit that a figure was measured at."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.machine import commit, describe, versions


def git(root: Path, *words: str) -> None:
    who = ("-c", "user.name=one", "-c", "user.email=one@example.org")
    subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True)


def test_changes_since_the_commit_are_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    git(tmp_path, "init")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "first")
    name = commit(tmp_path)
    assert len(name) == 12 and int(name, 16)
    file.write_text("two")
    assert commit(tmp_path) == f"{name} + changes"


def test_without_git_it_is_not_known(tmp_path: Path) -> None:
    assert commit(tmp_path / "none") == "unknown"


def test_versions_have_the_commit_and_the_machine_its_device() -> None:
    assert versions()["commit"] == commit() and describe(2, "cuda")["device"] == "cuda"
