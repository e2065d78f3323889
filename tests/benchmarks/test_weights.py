"""Weights for peers: parts of a checkpoint, GGUF's names and the reader that needs no library, and stale bundles."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks import bundles
from benchmarks.parts import LANGUAGE, TOWER, part_tensors, write_parts
from benchmarks.peers.gguf_file import gguf_name, read_safetensors
from benchmarks.setting import MADE_BY, Setting, is_made_by
from ovexport.checkpoint import Checkpoint, open_checkpoint
from ovexport.checkpoint.layouts import LAYOUTS
from ovexport.embedded import EMBEDDED_MODEL


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(EMBEDDED_MODEL, tmp_path_factory.mktemp("parts"))


def test_parts_hold_the_checkpoint_in_float32(parts: Path) -> None:
    language, tower = (load_file(parts / part / "model.safetensors") for part in (LANGUAGE, TOWER))
    assert {tensor.dtype for tensor in (*language.values(), *tower.values())} == {torch.float32}
    assert all(name.startswith(("model.", "lm_head.")) for name in language)
    assert all(name.startswith("vision_model.") for name in tower)
    with open_checkpoint(EMBEDDED_MODEL) as checkpoint:
        config = checkpoint.config
    assert language["model.embed_tokens.weight"].shape == (config.language.vocab_size, config.language.hidden)


def test_parts_of_any_layout_have_the_names_of_transformers(parts: Path, tmp_path: Path) -> None:
    """Of transformers 5 in memory, whose names have other prefixes."""
    other = tmp_path / "other"
    shutil.copytree(EMBEDDED_MODEL, other)
    layout = next(layout for layout in LAYOUTS if layout.name == "transformers 5 in memory")
    with open_checkpoint(EMBEDDED_MODEL) as checkpoint:
        tensors = {layout.file_name(name): checkpoint.tensor(name).clone() for name in checkpoint.names()}
    for file in other.glob("*.safetensors*"):
        file.unlink()
    save_file(tensors, other / "model.safetensors")
    found = write_parts(other, tmp_path / "parts")
    for part in (LANGUAGE, TOWER):
        one, two = (load_file(folder / part / "model.safetensors") for folder in (parts, found))
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_an_empty_part_is_refused() -> None:
    with open_checkpoint(EMBEDDED_MODEL) as checkpoint:
        nearly_empty = SimpleNamespace(name="one", names=lambda: checkpoint.names()[:1])
        with pytest.raises(ValueError, match="no weights of its language part"):
            part_tensors(cast(Checkpoint, nearly_empty), LANGUAGE)


def checkpoint_of(folder: Path, content: bytes) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(content)
    return folder


def test_two_folders_of_one_name_are_two_checkpoints(tmp_path: Path) -> None:
    one, two = (checkpoint_of(tmp_path / number / "checkpoint", b"some") for number in "12")
    names = {Setting(folder=tmp_path, threads=1, checkpoint=folder).name for folder in (one, two)}
    assert len(names) == 2 and all(name.startswith("checkpoint-") for name in names)
    (one / "model.safetensors").write_bytes(b"others")
    assert Setting(folder=tmp_path, threads=1, checkpoint=one).name not in names


def test_a_conversion_is_made_again_by_another_version(tmp_path: Path) -> None:
    assert not is_made_by(tmp_path, "0.1")
    (tmp_path / MADE_BY).write_text("0.1")
    assert is_made_by(tmp_path, "0.1") and not is_made_by(tmp_path, "0.2")


def test_a_bundle_older_than_its_weights_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "ROOT", tmp_path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "graph.py").touch()
    monkeypatch.setattr(bundles, "BUILDING", ("code",))
    weights = checkpoint_of(tmp_path / "weights", b"some")
    manifest = tmp_path / "manifest.json"
    manifest.touch()
    for file, time_s in (
        (tmp_path / "code" / "graph.py", 1e9),
        (weights / "model.safetensors", 2e9),
        (manifest, 1.5e9),
    ):
        os.utime(file, (time_s, time_s))
    assert bundles.is_current(manifest) and not bundles.is_current(manifest, weights)


def test_parts_are_configured_for_themselves(parts: Path) -> None:
    configs = {part: json.loads((parts / part / "config.json").read_text()) for part in (LANGUAGE, TOWER)}
    assert configs[LANGUAGE]["architectures"] == ["Qwen2ForCausalLM"] and configs[LANGUAGE]["rope_theta"] > 0
    assert configs[TOWER]["architectures"] == ["SiglipVisionModel"]
    assert (parts / LANGUAGE / "tokenizer.json").exists()


def test_the_reader_without_a_library_reads_the_same(parts: Path) -> None:
    file = parts / LANGUAGE / "model.safetensors"
    expected = load_file(file)
    found = dict(read_safetensors(file))
    assert set(found) == set(expected)
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name].numpy())


def test_every_tensor_has_a_name_in_gguf(parts: Path) -> None:
    names = [gguf_name(name) for name, _ in read_safetensors(parts / LANGUAGE / "model.safetensors")]
    assert len(set(names)) == len(names)
    assert {"token_embd.weight", "output_norm.weight", "blk.0.attn_q.bias", "blk.0.ffn_norm.weight"} <= set(names)


def test_a_bundle_older_than_what_builds_it_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, source = tmp_path / "manifest.json", tmp_path / "code" / "graph.py"
    source.parent.mkdir()
    monkeypatch.setattr(bundles, "ROOT", tmp_path)
    monkeypatch.setattr(bundles, "BUILDING", ("code",))
    assert not bundles.is_current(manifest)
    for file, age_s in ((source, 100), (manifest, 50)):
        file.write_text("")
        os.utime(file, (1e9 - age_s, 1e9 - age_s))
    assert bundles.is_current(manifest)
    os.utime(source, (1e9, 1e9))
    assert not bundles.is_current(manifest)
