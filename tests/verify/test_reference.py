"""The reference: against a plain float32 OneVision, its file, its size at the real shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from verify_bundles import RandomCheckpoint, random_checkpoint, small_config

from ovengines.bundle.manifest import Geometry
from ovengines.errors import ExitCode, OVError
from ovexport.model import LanguageConfig, OneVision, OneVisionConfig, VisionConfig
from ovexport.precision.policy import BLOCK_FORMS, PRECISIONS
from ovexport.verify.probe import Probe, chunk_bounds, make_probe
from ovexport.verify.reference import Reference, make_reference
from ovexport.verify.rounded import rounded

REAL_SIDE_PX = 384


def real_config(hidden: int, vocabulary: int) -> OneVisionConfig:
    pinpoints = tuple((REAL_SIDE_PX * r, REAL_SIDE_PX * c) for r in range(1, 7) for c in range(1, 7))
    return OneVisionConfig(
        vision=VisionConfig(
            hidden=1152, intermediate=4304, num_layers=26, num_heads=16, image_size_px=384, patch_size_px=14
        ),
        language=LanguageConfig(
            vocab_size=vocabulary,
            hidden=hidden,
            intermediate=4864,
            num_layers=24,
            num_heads=14,
            num_kv_heads=2,
            head_dim=64,
            max_positions=32768,
            tie_word_embeddings=True,
        ),
        geometry=Geometry(
            image_size_px=384, patch_size_px=14, grid_pinpoints=pinpoints, max_tiles=9, unpad_rounding="hf"
        ),
        image_token_id=151646,
        video_token_id=151647,
        pad_token_id=151643,
        eos_token_ids=(151645,),
    )


def plain_model(checkpoint: RandomCheckpoint) -> OneVision:
    """The same weights in float32, in an ordinary module."""
    model = OneVision(checkpoint.config).eval()
    model.load_state_dict({name: checkpoint.tensor(name).float() for name in checkpoint.names()})
    return model


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_reference_is_what_the_whole_model_computes_in_float32(dtype: torch.dtype) -> None:
    checkpoint = random_checkpoint(small_config(tied=False), 7, dtype=dtype)
    reference = make_reference(checkpoint, seed=7)
    model = plain_model(checkpoint)
    probe = make_probe(checkpoint.config, 7)
    features_NPD = model.vision_tower(torch.from_numpy(probe.pixels_NCHW))
    embeds_TD = model.pool(features_NPD, probe.plan)
    output = model(
        torch.from_numpy(np.where(probe.embed_index_S >= 0, checkpoint.config.image_token_id, probe.input_ids_S))[None],
        torch.from_numpy(probe.pixels_NCHW),
        [probe.plan],
        logits_index_BK=torch.from_numpy(probe.logits_positions_K)[None],
    )
    kept_FD = features_NPD.flatten(0, 1)[torch.from_numpy(reference.features_rows_F)]
    assert output.logits_BKV is not None
    wanted = (kept_FD, embeds_TD, output.logits_BKV[0])
    for actual, expected in zip(
        (reference.features_FD, reference.image_embeds_TD, reference.logits_KV), wanted, strict=True
    ):
        assert actual.dtype == np.float32
        torch.testing.assert_close(torch.from_numpy(actual), expected, rtol=1e-4, atol=1e-5)
    generated = model.generate(
        torch.from_numpy(np.where(probe.embed_index_S >= 0, 5, probe.input_ids_S))[: probe.prompt_tokens],
        torch.from_numpy(probe.pixels_NCHW),
        [probe.plan],
        max_new_tokens=16,
        eos_token_ids=(),
    )
    assert reference.greedy_ids_G.tolist() == generated


@torch.no_grad()
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_rounded_logits_are_those_of_a_model_with_rounded_weights(precision: str) -> None:
    checkpoint = random_checkpoint(small_config(tied=precision == "int4"), 3, dtype=torch.bfloat16)
    policy = PRECISIONS["ort"][precision]
    reference = make_reference(checkpoint, seed=3, policies={"ort": policy})
    model = plain_model(checkpoint)
    for name, parameter in model.language_model.named_parameters():
        if parameter.ndim == 2:
            is_table = "embed_tokens" in name or "lm_head" in name
            parameter.copy_(rounded(parameter, BLOCK_FORMS[policy.table if is_table else policy.decoder]))
    ids_1S, index_1S = torch.from_numpy(reference.input_ids_S)[None], torch.from_numpy(reference.embed_index_S)[None]
    embeds_1SD = model.merge(ids_1S, torch.from_numpy(reference.image_embeds_TD), index_1S)
    hidden_SD = model.language_model(embeds_1SD)[0]
    logits_KV = model.language_model.logits(hidden_SD[torch.from_numpy(reference.logits_positions_K)])
    torch.testing.assert_close(torch.from_numpy(reference.rounded_logits_KV), logits_KV, rtol=1e-4, atol=1e-5)
    assert np.abs(reference.rounded_logits_KV - reference.logits_KV).max() > 1e-3


def test_parts_are_asked_for_one_after_the_other_and_once() -> None:
    """So that of a mapped checkpoint one part at a time is in memory, and no page is read for nothing."""
    checkpoint = random_checkpoint(small_config(tied=False), 2, dtype=torch.bfloat16)
    asked: list[str] = []

    class Recorded:
        config, names = checkpoint.config, staticmethod(checkpoint.names)

        def tensor(self, name: str) -> torch.Tensor:
            asked.append(name)
            return checkpoint.tensor(name)

    steps: list[tuple[str, int]] = []
    make_reference(Recorded(), progress=lambda step, done, total: steps.append((step, len(asked))))
    assert sorted(asked) == sorted(checkpoint.names())
    before = {step: asked[:count] for step, count in reversed(steps)}
    assert not before["vision tower"]
    assert {name.split(".")[0] for name in before["projector"]} == {"vision_tower"}
    middle = before["language model"][len(before["projector"]) :]
    assert {name.split(".")[0] for name in middle} == {"projector", "image_newline"}
    assert {name.split(".")[0] for name in asked[len(before["language model"]) :]} == {"language_model"}


def test_no_rounded_logits_without_quantised_weights(references: Callable[[int, str], Reference]) -> None:
    assert len(references(0, "fp16").rounded_logits_KV) == 0
    assert len(references(0, "int8").rounded_logits_KV) == len(references(0, "int8").logits_KV)


def test_same_seed_same_file_and_other_seed_other_inputs(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(small_config(), 1)
    one, same, other = (make_reference(checkpoint, seed=seed) for seed in (4, 4, 5))
    for name, reference in (("one", one), ("same", same), ("other", other)):
        reference.save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "same").read_bytes()
    assert (one.pixels_NCHW != other.pixels_NCHW).any()
    assert (one.input_ids_S[:13] != other.input_ids_S[:13]).any()


def test_saved_and_loaded_again_is_equal(tmp_path: Path, references: Callable[[int, str], Reference]) -> None:
    reference = references(0, "int4")
    reference.save(tmp_path / "reference.npz")
    loaded = Reference.load(tmp_path / "reference.npz")
    for field in dataclasses.fields(Reference):
        wanted = getattr(reference, field.name)
        actual = getattr(loaded, field.name)
        assert actual.dtype == wanted.dtype, field.name
        np.testing.assert_array_equal(actual, wanted, err_msg=field.name)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "lacks", "flipped", "other"])
def test_a_damaged_file_is_named(tmp_path: Path, references: Callable[[int, str], Reference], damage: str) -> None:
    file = tmp_path / "reference.npz"
    references(0, "fp32").save(file)
    whole = file.read_bytes()
    if damage == "lacks":
        with open(file, "wb") as stream:
            np.savez(stream, seed=np.array(0))
    elif damage == "other":
        with open(file, "wb") as stream:
            np.save(stream, np.arange(3))
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
        file.write_bytes({"empty": b"", "text": b"hello", "cut": whole[:middle], "flipped": flipped}[damage])
    with pytest.raises(OVError, match=r"reference\.npz") as caught:
        Reference.load(file)
    assert caught.value.code == ExitCode.BUNDLE_INVALID


def test_pickles_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "reference.npz"
    with open(file, "wb") as stream:
        names = [field.name for field in dataclasses.fields(Reference)]
        np.savez(stream, **{name: np.array({"a": 1}, dtype=object) for name in names})
    with pytest.raises(OVError):
        Reference.load(file)


@pytest.mark.parametrize(("hidden", "vocabulary"), [(896, 152000), (3584, 152128)])
def test_file_is_below_15_mb_at_the_real_shapes(tmp_path: Path, hidden: int, vocabulary: int) -> None:
    """Outputs are noise here, which compresses worst."""
    probe = make_probe(real_config(hidden, vocabulary), 0)
    noise = np.random.default_rng(0)
    num_features = len(np.unique(probe.plan.indices_T4))
    kept = len(probe.logits_positions_K)
    logits_KV = noise.standard_normal((kept, vocabulary), np.float32)
    Reference(
        pixels_NCHW=probe.pixels_NCHW,
        indices_T4=probe.plan.indices_T4,
        weights_T4=probe.plan.weights_T4,
        input_ids_S=probe.input_ids_S,
        embed_index_S=probe.embed_index_S,
        prompt_tokens=np.array(probe.prompt_tokens),
        logits_positions_K=probe.logits_positions_K,
        seed=np.array(0),
        features_rows_F=np.arange(num_features),
        features_FD=noise.standard_normal((num_features, 1152), np.float32),
        patches=np.array(729),
        image_embeds_TD=noise.standard_normal((probe.plan.num_tokens, hidden), np.float32),
        logits_KV=logits_KV,
        rounded_logits_KV=logits_KV[::-1],
        rounded_logits_trt_KV=logits_KV[1::-1],
        range_names=np.array([f"language_model.layers.{i}.self_attn.q_proj output" for i in range(400)]),
        range_peaks=noise.standard_normal(400, np.float32),
        greedy_ids_G=np.arange(16),
        torch_version=np.array("0"),
    ).save(tmp_path / "reference.npz")
    assert (tmp_path / "reference.npz").stat().st_size < 15e6


@pytest.mark.parametrize("config", [small_config(), real_config(896, 152000), real_config(3584, 152128)])
def test_probe_covers_what_it_is_for(config: OneVisionConfig) -> None:
    probe: Probe = make_probe(config, 0)
    plan, patches = probe.plan, probe.plan.patches_per_tile
    assert len(probe.pixels_NCHW) == plan.num_tiles == 3
    tiles_named = set((plan.indices_T4[plan.weights_T4 != 0] // patches).tolist())
    assert tiles_named == {0, 1, 2, 3}, "every tile, and the newline's row after them"
    assert ((plan.weights_T4 > 0) & (plan.weights_T4 < 1)).any(), "bilinear weights"
    assert (np.count_nonzero(plan.weights_T4, axis=1) == 1).any(), "plain rows"
    visual_S = np.flatnonzero(probe.embed_index_S >= 0)
    np.testing.assert_array_equal(probe.embed_index_S[visual_S], np.arange(plan.num_tokens))
    bounds = chunk_bounds(probe.prompt_tokens)
    assert visual_S[0] < bounds[1] < visual_S[-1] < bounds[2] < bounds[3] == probe.prompt_tokens
    kept = set(probe.logits_positions_K.tolist())
    assert {bounds[1] - 1, bounds[1], probe.prompt_tokens - 1} <= kept
    assert set(range(probe.prompt_tokens, len(probe.input_ids_S))) <= kept
    assert len(probe.input_ids_S) + 16 <= config.language.max_positions
    words = probe.input_ids_S[probe.embed_index_S < 0]
    assert words.min() >= 0 and words.max() < config.language.vocab_size
    assert not np.isin(words, [config.image_token_id, config.video_token_id, *config.eos_token_ids]).any()
