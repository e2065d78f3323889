"""The bundle's contract: written whole or not at all, and read only if every byte is what the manifest says."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ovengines.bundle.manifest import LAYOUT_VERSION, Geometry, Manifest, ModelSpec, from_json, to_json, with_checksum
from ovengines.bundle.reader import MAX_MANIFEST_BYTES, open_bundle
from ovengines.bundle.writer import BundleWriter
from ovengines.errors import ExitCode, OVError


def publish(writer: BundleWriter) -> Path:
    writer.seal(make_manifest(writer))
    return writer.publish()


def make_manifest(writer: BundleWriter) -> Manifest:
    geometry = Geometry(
        image_size_px=104, patch_size_px=14, grid_pinpoints=((104, 208),), max_tiles=9, unpad_rounding="hf"
    )
    model = ModelSpec(
        name="m",
        vision_hidden=8,
        hidden=8,
        vocab_size=10,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=4,
        max_positions=16,
        image_token_id=3,
        video_token_id=None,
        pad_token_id=0,
        eos_token_ids=(1, 2),
        geometry=geometry,
    )
    return Manifest(
        layout_version=LAYOUT_VERSION,
        semantics_version=1,
        created_by="test",
        source="m",
        source_revision=None,
        source_sha256="0" * 64,
        precision="fp32",
        model=model,
        graphs=(),
        files=writer.file_specs(),
    )


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OV_HOME", str(tmp_path / "home"))
    with BundleWriter(tmp_path / "b") as writer:
        writer.add_bytes("weights.data", random.Random(0).randbytes(100_000))
        writer.add_bytes("tokenizer.json", b"{}")
        return publish(writer)


def edit_manifest(bundle: Path, **changes: object) -> None:
    file = bundle / "manifest.json"
    file.write_text(json.dumps(with_checksum({**json.loads(file.read_text()), **changes})))


def refusal(bundle: Path) -> OVError:
    with pytest.raises(OVError) as caught:
        open_bundle(bundle)
    assert caught.value.code == ExitCode.BUNDLE_INVALID
    assert caught.value.hint and "\n" not in str(caught.value)
    return caught.value


def test_manifest_survives_json(bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    assert from_json(to_json(manifest)) == manifest
    assert manifest.model.eos_token_ids == (1, 2) and manifest.model.geometry.grid_pinpoints == ((104, 208),)


def test_no_flipped_byte_goes_unseen(bundle: Path) -> None:
    data = bytearray((bundle / "weights.data").read_bytes())
    for seed in range(20):
        changed = bytearray(data)
        changed[random.Random(seed).randrange(len(data))] ^= 1 << random.Random(seed).randrange(8)
        (bundle / "weights.data").write_bytes(changed)
        assert "weights.data" in refusal(bundle).message, f"seed {seed}"
    (bundle / "weights.data").write_bytes(data)
    open_bundle(bundle)


def test_change_after_the_first_opening_is_seen(bundle: Path) -> None:
    open_bundle(bundle)  # leaves a stamp that spares the hashing
    data = (bundle / "weights.data").read_bytes()
    (bundle / "weights.data").write_bytes(b"x" + data[1:])
    refusal(bundle)


def test_stamp_spares_the_second_hashing(bundle: Path, tmp_path: Path) -> None:
    hashed: list[str] = []
    open_bundle(bundle, progress=lambda name, done, total: hashed.append(name))
    assert not hashed  # its writer has just hashed it
    bundle = Path(shutil.copytree(bundle, tmp_path / "copy"))
    open_bundle(bundle, progress=lambda name, done, total: hashed.append(name))
    assert hashed
    hashed.clear()
    open_bundle(bundle, progress=lambda name, done, total: hashed.append(name))
    assert not hashed


def test_missing_file_is_named(bundle: Path) -> None:
    (bundle / "tokenizer.json").unlink()
    assert "tokenizer.json" in refusal(bundle).message


def test_truncated_file_is_named(bundle: Path) -> None:
    with open(bundle / "weights.data", "r+b") as stream:
        stream.truncate(99)
    assert "99 bytes" in refusal(bundle).message


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "", "a\\b", "c:x", "a\0b"])
def test_paths_that_leave_the_bundle_are_refused(bundle: Path, name: str) -> None:
    edit_manifest(bundle, files=[{"name": name, "size_bytes": 0, "sha256": ""}])
    assert "leaves the bundle" in refusal(bundle).message


def test_links_are_refused(bundle: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (bundle / "tokenizer.json").rename(outside)
    (bundle / "tokenizer.json").symlink_to(outside)
    assert "link" in refusal(bundle).message


def test_newer_layout_is_refused_with_a_sentence(bundle: Path) -> None:
    edit_manifest(bundle, layout_version=LAYOUT_VERSION + 1, fields_of_the_future=1)
    error = refusal(bundle)
    assert "newer" in error.message and "upgrade" in error.hint


@pytest.mark.parametrize(
    "text", ["", "[]", "nul", '{"layout_version": 1}', "[" * 100_000, '{"layout_version": true}', "\ud800"]
)
def test_garbage_for_a_manifest_is_refused(bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    refusal(bundle)


def test_wrong_types_name_the_field(bundle: Path) -> None:
    raw = json.loads((bundle / "manifest.json").read_text())
    for field, value in (("precision", 3), ("files", {}), ("model", None), ("source_revision", 1.5)):
        edit_manifest(bundle, **{**raw, field: value})
        assert field in refusal(bundle).message


def test_no_edit_of_the_manifest_goes_unseen(bundle: Path) -> None:
    text = (bundle / "manifest.json").read_bytes()
    for seed in range(400):
        generator = random.Random(seed)
        changed = bytearray(text)
        for _ in range(generator.randint(1, 4)):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        (bundle / "manifest.json").write_bytes(changed)
        if _same_content(changed, text):
            open_bundle(bundle)
        else:
            refusal(bundle)


def _same_content(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def test_unknown_tensor_types_are_refused(bundle: Path) -> None:
    tensor = {"name": "x", "dtype": "floqt32", "shape": [1]}
    graph = {"role": "vision", "target": "ort", "file": "tokenizer.json", "data_files": [], "inputs": [tensor]}
    edit_manifest(bundle, graphs=[{**graph, "outputs": []}])
    assert "floqt32" in refusal(bundle).message


def test_not_a_bundle(tmp_path: Path) -> None:
    for folder in (tmp_path / "nothing", tmp_path, Path(__file__)):
        assert "not a bundle" in refusal(folder).message


def test_nothing_stays_when_the_writer_is_left_early(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), BundleWriter(tmp_path / "b") as writer:
        writer.add_bytes("x", b"1")
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_existing_bundle_is_kept_without_force(bundle: Path) -> None:
    before = (bundle / "manifest.json").read_bytes()
    with pytest.raises(OVError) as caught:
        BundleWriter(bundle)
    assert caught.value.code == ExitCode.USAGE and "--force" in caught.value.hint
    with BundleWriter(bundle, force=True) as writer:
        writer.add_bytes("other", b"2")
        assert (bundle / "manifest.json").read_bytes() == before
        publish(writer)
    assert (bundle / "other").exists() and not (bundle / "weights.data").exists()
    assert [f.name for f in bundle.parent.iterdir() if f.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["photo.jpg", "manifest.json"])
def test_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text('{"manifest_version": 3}')
    with pytest.raises(OVError):
        BundleWriter(tmp_path / "mine", force=True)


def test_damaged_bundle_can_be_replaced(bundle: Path) -> None:
    (bundle / "manifest.json").write_text((bundle / "manifest.json").read_text()[:-100])
    refusal(bundle)
    with BundleWriter(bundle, force=True) as writer:
        publish(writer)
    open_bundle(bundle)


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with BundleWriter(tmp_path / "b") as writer:
        publish(writer)
    assert (tmp_path / "b" / "manifest.json").exists()


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_manifest_must_be_a_plain_file(bundle: Path, kind: str) -> None:
    file, away = bundle / "manifest.json", bundle.parent / "away.json"
    file.rename(away)
    make = {"link": lambda: file.symlink_to(away), "pipe": lambda: os.mkfifo(file), "directory": file.mkdir}
    make[kind]()
    assert "plain file" in refusal(bundle).message


def test_manifest_of_many_bytes_is_a_limit(bundle: Path) -> None:
    (bundle / "manifest.json").write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(OVError, match="manifest_bytes") as caught:
        open_bundle(bundle)
    assert caught.value.code == ExitCode.LIMIT_EXCEEDED


@pytest.mark.parametrize("field", ["layout_version", "semantics_version"])
@pytest.mark.parametrize("value", [0, -1, "1", None, 99])
def test_versions_out_of_range_are_refused(bundle: Path, field: str, value: object) -> None:
    edit_manifest(bundle, **{field: value})
    assert field.split("_")[0] in refusal(bundle).message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_layers", 0),
        ("vocab_size", -1),
        ("geometry.image_size_px", 0),
        ("geometry.patch_size_px", 0),
        ("geometry.image_std", [0.5, 0, 0.5]),
        ("geometry.grid_pinpoints", [[104, 100]]),
        ("geometry.grid_pinpoints", []),
    ],
)
def test_numbers_that_make_no_sense_are_refused(bundle: Path, name: str, value: object) -> None:
    model = json.loads((bundle / "manifest.json").read_text())["model"]
    *inside, field = name.split(".")
    (model["geometry"] if inside else model)[field] = value
    edit_manifest(bundle, model=model)
    refusal(bundle)


HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom ovengines.bundle.writer import BundleWriter\n"
    "with BundleWriter(Path(sys.argv[1])) as w:\n"
    "    w.add_bytes('x', b'1'); print('ready', flush=True); time.sleep(60)\n"
)


@contextmanager
def other_writer(target: Path) -> Iterator[None]:
    """Another process in the middle of writing `target`; killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_killed_writer_leaves_nothing_under_the_name_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    with other_writer(tmp_path / "b"):
        pass
    assert not (tmp_path / "b").exists() and len(list(tmp_path.iterdir())) == 1
    with BundleWriter(tmp_path / "b") as writer:
        publish(writer)
    assert [f.name for f in tmp_path.iterdir()] == ["b"]


def test_running_writer_is_not_cleaned_away(tmp_path: Path) -> None:
    with other_writer(tmp_path / "b"), BundleWriter(tmp_path / "b"):
        assert len([f for f in tmp_path.iterdir() if (f / "x").exists()]) == 1


def test_two_builds_at_once_do_not_replace_each_other_unasked(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as one, BundleWriter(tmp_path / "b") as two:
        publish(one)
        with pytest.raises(OVError, match="exists already"):
            publish(two)


def test_bundle_moved_away_by_a_killed_writer_is_put_back(bundle: Path) -> None:
    bundle.rename(bundle.parent / ".b.killed.old")
    with pytest.raises(OVError, match="exists already"), BundleWriter(bundle):
        pass
    open_bundle(bundle)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs resource limits")
def test_full_disk_is_an_error_that_says_so(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom ovengines.bundle.writer import BundleWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from ovengines.errors import OVError\n"
        "try:\n"
        "    with BundleWriter(Path(sys.argv[1])) as w: w.add_bytes('x', bytes(2000))\n"
        "except OVError as err: print(err); sys.exit(err.code)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], capture_output=True, text=True)
    assert run.returncode == ExitCode.LIMIT_EXCEEDED and "full" in run.stdout
    assert not list(tmp_path.iterdir())


def test_newest_bundle(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ovengines.home import newest_bundle

    with pytest.raises(OVError) as caught:
        newest_bundle()
    assert "ovexport build" in caught.value.hint
    for name in ("old", "new"):
        with BundleWriter(tmp_path / "home" / "bundles" / name) as writer:
            publish(writer)
        time.sleep(0.02)
    assert newest_bundle().name == "new"
    (tmp_path / "home" / "bundles" / "new").rename(tmp_path / "home" / "bundles" / ".new.killed.partial")
    assert newest_bundle().name == "old"
