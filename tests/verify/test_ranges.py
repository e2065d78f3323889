"""Activations beyond float16 are found, named, and only judged where a graph holds them in float16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from verify_bundles import RandomCheckpoint, make_bundle, random_checkpoint, small_config

from ovengines.errors import ExitCode, OVError
from ovexport.model import OneVision
from ovexport.model.attention import rotate, split_heads
from ovexport.precision.policy import PRECISIONS
from ovexport.verify.compare import verify_bundle
from ovexport.verify.ranges import FLOAT16_MAX, QUERIES, SCORES, STREAM, Peaks, range_rows, watched
from ovexport.verify.reference import Reference, make_reference

DOWN = "language_model.layers.1.mlp.down_proj"


def hot_checkpoint() -> RandomCheckpoint:
    """The product of gate and up becomes huge, and down makes it small again: only one activation is too large."""
    checkpoint = random_checkpoint(small_config(hidden=128, intermediate=192), 2)
    for name, factor in (("gate_proj", 1e3), ("up_proj", 1e3), ("down_proj", 1e-6)):
        key = DOWN.replace("down_proj", name) + ".weight"
        checkpoint.set(key, checkpoint.tensor(key) * factor)
    return checkpoint


def test_peaks_are_those_of_the_activations() -> None:
    torch.manual_seed(0)
    model = OneVision(small_config()).eval()
    seen: dict[str, float] = {}
    leaf = model.projector.linear_2
    leaf.register_forward_hook(lambda _, inputs, output: seen.update(i=inputs[0].abs().max(), o=output.abs().max()))
    peaks: Peaks = {}
    with torch.no_grad(), watched(model.projector, "projector", peaks):
        for scale in (1.0, 3.0, 2.0):
            model.projector(scale * torch.randn(1, 49, 96))
            top = max(peaks["projector.linear_2 output"], float(seen["o"]))
            assert peaks["projector.linear_2 output"] == pytest.approx(top)
    assert set(peaks) == {f"projector.linear_{n} {end}" for n in (1, 2) for end in ("input", "output", "product")}
    before = dict(peaks)
    model.projector(100 * torch.randn(1, 49, 96))
    assert peaks == before, "watching has ended"


def test_a_product_is_seen_before_its_bias() -> None:
    model = OneVision(small_config()).eval()
    leaf, peaks = model.projector.linear_1, Peaks()
    with torch.no_grad(), watched(model.projector, "projector", peaks):
        leaf.weight.fill_(1)
        leaf.bias.fill_(-96 * 1000)
        model.projector(torch.full((1, 1, 96), 1000.0))
    assert peaks["projector.linear_1 output"] < 1 and peaks["projector.linear_1 product"] == pytest.approx(96000)


def test_scores_are_of_scaled_queries_and_all_keys() -> None:
    torch.manual_seed(0)
    model = OneVision(small_config()).eval()
    layer, seen, peaks = model.language_model.layers[1].self_attn, {}, Peaks()
    model.requires_grad_(False)
    with watched(model.language_model, "language_model", peaks):
        embeds_1SD = 9 * torch.randn(1, 12, 96)
        layer.o_proj.register_forward_hook(lambda _, inputs, output: seen.update(attended=inputs[0]))
        layer.register_forward_hook(
            lambda _, inputs, output: seen.update(x=inputs[0], cos_sin=inputs[1], keys=output[1])
        )
        model.language_model(embeds_1SD)
    q_BHSE = rotate(split_heads(layer.q_proj(seen["x"]), 6), *seen["cos_sin"])
    k_BHSE = seen["keys"][0].repeat_interleave(3, dim=1)
    path = "language_model.layers.1.self_attn"
    assert peaks[f"{path}{SCORES}"] == pytest.approx(float((q_BHSE @ k_BHSE.mT / 4).abs().max()), rel=1e-5)
    assert peaks[f"{path}{QUERIES}"] == pytest.approx(float(q_BHSE.abs().max()), rel=1e-5)
    assert peaks[f"{path} keys"] == pytest.approx(float(k_BHSE.abs().max()))
    assert peaks[f"{path}.o_proj input"] == pytest.approx(float(seen["attended"].abs().max())), "weights times values"


def test_the_scan_covers_every_layer_and_the_head() -> None:
    peaks = make_reference(random_checkpoint(small_config(), 0)).peaks
    for part in ("vision_tower", "language_model"):
        kinds = (f"{part}.layers.{layer}.self_attn{kind}" for layer in range(2) for kind in (QUERIES, " keys", SCORES))
        assert set(kinds) <= peaks.keys()
    assert {"language_model.head input", "language_model.head output"} <= peaks.keys()


def with_large_biases() -> RandomCheckpoint:
    """Queries and keys of a few hundred, as Qwen2's biases make them: only their products are too large."""
    checkpoint = random_checkpoint(small_config(), 2)
    for kind in "qk":
        key = f"language_model.layers.1.self_attn.{kind}_proj.bias"
        checkpoint.set(key, torch.full_like(checkpoint.tensor(key), 700.0))
    return checkpoint


def with_large_logits() -> RandomCheckpoint:
    checkpoint = random_checkpoint(small_config(tied=False), 2)
    checkpoint.set("language_model.lm_head.weight", 1e5 * checkpoint.tensor("language_model.lm_head.weight"))
    return checkpoint


@pytest.mark.parametrize(
    ("make", "largest", "fails_for"),
    [
        (with_large_biases, f"language_model.layers.1.self_attn{SCORES}", {"trt"}),
        (with_large_logits, "language_model.head output", {"trt", "ort"}),
    ],
)
@pytest.mark.parametrize("target", ["trt", "ort"])
def test_products_of_activations_and_logits_fail_by_name(
    target: str, make: Callable[[], RandomCheckpoint], largest: str, fails_for: set[str], bundle_folder: Path
) -> None:
    checkpoint = make()
    reference = make_reference(checkpoint, seed=2)
    report = verify_bundle(make_bundle(checkpoint, bundle_folder, "fp16", target), reference, threads=1)
    row = next(row for row in report.ranges if row.part == "language model")
    assert row.judged and row.passed is (target not in fails_for)
    assert row.beyond == ((largest,) if target in fails_for else ())


@pytest.mark.parametrize(("precision", "passes"), [("fp16", False), ("int4", False), ("bf16", True), ("fp32", True)])
def test_what_float16_cannot_hold_fails_by_name(precision: str, passes: bool, bundle_folder: Path) -> None:
    checkpoint = hot_checkpoint()
    reference = make_reference(checkpoint, seed=2, policies={"trt": PRECISIONS["trt"][precision]})
    report = verify_bundle(make_bundle(checkpoint, bundle_folder, precision, "trt"), reference, threads=1)
    row = next(row for row in report.ranges if row.part == "language model")
    assert row.largest == f"{DOWN} input" and row.peak > FLOAT16_MAX and row.beyond == (row.largest,)
    assert row.passed is passes
    if not passes:
        assert f"{DOWN} input" in row.finding
        with pytest.raises(OVError) as caught:
            report.raise_if_failed()
        assert caught.value.code is ExitCode.PARITY_FAILED
    assert (row.largest in report.table()) is row.judged is not passes


ATTENTION = "language_model.layers.0.self_attn"


@pytest.mark.parametrize(
    ("name", "target"),
    [(f"{STREAM}language_model.norm", "ort"), (f"{ATTENTION}{QUERIES}", "ort"), (f"{ATTENTION}{SCORES}", "trt")],
)
def test_what_is_float16_in_one_target_is_judged_there(name: str, target: str) -> None:
    peaks = {name: 1e5, "language_model.layers.0.mlp.up_proj input": 10.0}
    for held in ({"ort"}, {"trt"}, {"ort", "trt"}):
        (row,) = range_rows(peaks, held)
        assert row.passed is (target not in held)
        assert row.passed or name in row.finding
    (row,) = range_rows(peaks, set())
    assert row.passed and not row.judged


def test_a_reference_of_before_has_no_ranges(tmp_path: Path) -> None:
    import numpy as np

    reference = make_reference(random_checkpoint(small_config(), 0))
    reference.save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as arrays:
        new = ("rounded_logits_trt_KV", "range_names", "range_peaks")
        np.savez(tmp_path / "old.npz", **{name: arrays[name] for name in arrays.files if name not in new})
    assert Reference.load(tmp_path / "old.npz").peaks == {}
    assert Reference.load(tmp_path / "new.npz").peaks == reference.peaks != {}
