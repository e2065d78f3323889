"""Activations beyond float16 are found, named, and only judged where a graph holds them in float16."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from verify_bundles import RandomCheckpoint, make_bundle, random_checkpoint, small_config

from ovengines.errors import ExitCode, OVError
from ovexport.model import OneVision
from ovexport.precision.policy import PRECISIONS
from ovexport.verify.compare import verify_bundle
from ovexport.verify.ranges import FLOAT16_MAX, STREAM, Peaks, range_rows, watched
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
    assert set(peaks) == {f"projector.linear_{n} {end}" for n in (1, 2) for end in ("input", "output")}
    before = dict(peaks)
    model.projector(100 * torch.randn(1, 49, 96))
    assert peaks == before, "watching has ended"


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


def test_the_stream_is_judged_only_where_it_is_float16() -> None:
    peaks = {f"{STREAM}language_model.norm": 1e5, "language_model.layers.0.mlp.up_proj input": 10.0}
    (wide,) = range_rows(peaks, float16=True, float16_stream=False)
    (narrow,) = range_rows(peaks, float16=True, float16_stream=True)
    assert (wide.passed, narrow.passed) == (True, False) and "stream" in narrow.finding


def test_a_reference_of_before_has_no_ranges(tmp_path: Path) -> None:
    import numpy as np

    reference = make_reference(random_checkpoint(small_config(), 0))
    reference.save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as arrays:
        new = ("rounded_logits_trt_KV", "range_names", "range_peaks")
        np.savez(tmp_path / "old.npz", **{name: arrays[name] for name in arrays.files if name not in new})
    assert Reference.load(tmp_path / "old.npz").peaks == {}
    assert Reference.load(tmp_path / "new.npz").peaks == reference.peaks != {}
