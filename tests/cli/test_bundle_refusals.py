"""`ovrun`, `inspect` and `verify` on bundles that are damaged, incomplete, newer, or none at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_outcome import Outcome, assert_refused

from ovengines.bundle.manifest import with_checksum
from ovengines.errors import ExitCode

Command = Callable[..., Outcome]
EXPECTED_FILES = {"vision.onnx", "vision.onnx.data", "projector.onnx", "decoder.onnx", "decoder.onnx.data"}
EXPECTED_FILES |= {"tokenizer.json", "chat_template.jinja", "reference.npz"}


def read_manifest(bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    return content


def write_manifest(bundle: Path, content: dict[str, Any]) -> None:
    (bundle / "manifest.json").write_text(json.dumps(with_checksum(content)))


def flip_byte(file: Path) -> None:
    """Change one bit in the middle; size and time of the file stay as they were."""
    before, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def assert_all_refuse(ovrun: Command, ovexport: Command, bundle: Path, picture: Path, *fragments: str) -> None:
    for outcome in (ovrun(picture, "-m", bundle), ovexport("inspect", bundle), ovexport("verify", bundle)):
        assert_refused(outcome, ExitCode.BUNDLE_INVALID, *fragments)


def listed_files(bundle: Path) -> list[str]:
    names = [file["name"] for file in read_manifest(bundle)["files"]]
    assert set(names) >= EXPECTED_FILES
    return names


def test_a_flipped_byte_in_every_file(ovrun: Command, ovexport: Command, bundle_copy: Path, picture: Path) -> None:
    for name in listed_files(bundle_copy):
        assert ovrun(picture, "-m", bundle_copy, "--max-new-tokens", 1).code == 0  # and it is stamped as good
        flip_byte(bundle_copy / name)
        assert_all_refuse(ovrun, ovexport, bundle_copy, picture, name, "SHA-256")
        flip_byte(bundle_copy / name)


def test_a_flipped_byte_in_the_manifest(ovrun: Command, ovexport: Command, bundle_copy: Path, picture: Path) -> None:
    """Where it stops being JSON, where it says what a file has to be, and where it describes the model."""
    file = bundle_copy / "manifest.json"
    text = file.read_text()
    places = [0, *(text.index(f'"{word}": ') + len(word) + 5 for word in ("sha256", "precision", "eos_token_ids"))]
    for place in places:
        content = bytearray(text.encode())
        content[place] ^= 1
        file.write_bytes(content)
        assert_all_refuse(ovrun, ovexport, bundle_copy, picture)


def test_every_file_missing(ovrun: Command, ovexport: Command, bundle_copy: Path, picture: Path) -> None:
    for name in [*listed_files(bundle_copy), "manifest.json"]:
        (bundle_copy / name).rename(bundle_copy.parent / "away")
        assert_all_refuse(ovrun, ovexport, bundle_copy, picture, name)
        (bundle_copy.parent / "away").rename(bundle_copy / name)
    assert ovrun(picture, "-m", bundle_copy, "--max-new-tokens", 1).code == 0


@pytest.mark.parametrize("name", ["decoder.onnx.data", "tokenizer.json"])
def test_a_truncated_file(name: str, ovrun: Command, ovexport: Command, bundle_copy: Path, picture: Path) -> None:
    os.truncate(bundle_copy / name, (bundle_copy / name).stat().st_size - 1)
    assert_all_refuse(ovrun, ovexport, bundle_copy, picture, name, "bytes")


@pytest.mark.parametrize("path", ["../tokenizer.json", "/etc/hostname", "sub/tokenizer.json", "..", ""])
def test_a_path_that_leaves_the_bundle(
    path: str, ovrun: Command, ovexport: Command, bundle_copy: Path, picture: Path
) -> None:
    manifest = read_manifest(bundle_copy)
    next(file for file in manifest["files"] if file["name"] == "tokenizer.json")["name"] = path
    write_manifest(bundle_copy, manifest)
    assert_all_refuse(ovrun, ovexport, bundle_copy, picture, "leaves the bundle")


def test_a_link(ovrun: Command, ovexport: Command, bundle_copy: Path, picture: Path, tmp_path: Path) -> None:
    (bundle_copy / "tokenizer.json").rename(tmp_path / "outside.json")
    (bundle_copy / "tokenizer.json").symlink_to(tmp_path / "outside.json")
    assert_all_refuse(ovrun, ovexport, bundle_copy, picture, "link")


def test_a_newer_layout(ovrun: Command, ovexport: Command, bundle_copy: Path, picture: Path) -> None:
    write_manifest(bundle_copy, {**read_manifest(bundle_copy), "layout_version": 99, "of_the_future": []})
    assert_all_refuse(ovrun, ovexport, bundle_copy, picture, "layout 99", "upgrade")


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00", '{"layout_version": 1}'])
def test_a_manifest_that_is_none(
    content: str, ovrun: Command, ovexport: Command, bundle_copy: Path, picture: Path
) -> None:
    (bundle_copy / "manifest.json").write_text(content)
    assert_all_refuse(ovrun, ovexport, bundle_copy, picture, "manifest")


def test_no_bundle(ovrun: Command, ovexport: Command, picture: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "none", tmp_path, picture):
        assert_all_refuse(ovrun, ovexport, folder, picture, "not a bundle", "ovexport build")
    assert_refused(ovrun(picture), ExitCode.BUNDLE_INVALID, "there is no bundle in", "ovexport build")


def test_a_graph_that_is_none(ovrun: Command, bundle_copy: Path, picture: Path) -> None:
    """Hashes that are right do not make a file a graph."""
    garbage = b"\x08\x07 no graph"
    manifest = read_manifest(bundle_copy)
    for entry in manifest["files"]:
        if entry["name"].startswith("decoder") and entry["name"].endswith(".onnx"):
            (bundle_copy / entry["name"]).write_bytes(garbage)
            entry.update(size_bytes=len(garbage), sha256=hashlib.sha256(garbage).hexdigest())
    write_manifest(bundle_copy, manifest)
    for outcome in (ovrun(picture, "-m", bundle_copy), ovrun(picture, "-m", bundle_copy, "--json")):
        assert_refused(outcome, ExitCode.BUNDLE_INVALID, "decoder", ".onnx")
