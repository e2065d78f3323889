"""Weights for peers: parts of a checkpoint, GGUF's names and the reader that needs no library, and stale bundles."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks import bundles
from benchmarks.parts import LANGUAGE, TOWER, write_parts
from benchmarks.peers.llama_cpp import gguf_name, read_safetensors
from ovexport.checkpoint import open_checkpoint
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
