"""The graph files for TensorRT on ONNX Runtime's CPU provider: sound ones pass in every precision, defects do not."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import graph_defects as defects
import onnx
import pytest
import torch
from onnx import TensorProto
from verify_bundles import RandomCheckpoint, make_bundle, random_checkpoint, small_config

from ovengines.bundle.reader import Bundle
from ovexport.precision.policy import PRECISIONS
from ovexport.verify.compare import verify_bundle
from ovexport.verify.reference import Reference, make_reference

TESTED = tuple(PRECISIONS["trt"])
WIDE = {"hidden": 128, "intermediate": 192}  # whole blocks of 128 and of 64


@cache
def checkpoint(seed: int) -> RandomCheckpoint:
    return random_checkpoint(small_config(**WIDE, tied=seed % 2 == 0), seed, dtype=torch.bfloat16)


@cache
def reference(seed: int, precision: str) -> Reference:
    return make_reference(checkpoint(seed), seed=seed, policies={"trt": PRECISIONS["trt"][precision]})


def make(seed: int, folder: Path, precision: str) -> Bundle:
    return make_bundle(checkpoint(seed), folder, precision, "trt")


@pytest.mark.parametrize("precision", TESTED)
@pytest.mark.parametrize("seed", range(4))
def test_sound_files_pass(seed: int, precision: str, bundle_folder: Path) -> None:
    report = verify_bundle(make(seed, bundle_folder, precision), reference(seed, precision), threads=1)
    assert report.passed, f"seed {seed}\n{report.table()}"
    assert all(row.stage.startswith("tensorrt: ") for row in report.rows)
    assert [row.graph for row in report.rows].count("rounded") == (precision == "int4")
    if precision == "fp32":
        assert all(row.greedy_equal == row.greedy_total for row in report.rows), f"seed {seed}\n{report.table()}"
    assert min(r.metrics.max_error or 0 for r in report.rows) > 0, "compared with itself?"


def test_seven_heads_to_a_key_and_a_matrix_that_blocks_do_not_divide(bundle_folder: Path) -> None:
    """Qwen2-0.5B has 14 heads over 2; 160 is no multiple of 64, so that matrix stays wide."""
    odd = random_checkpoint(small_config(heads=14, intermediate=160, hidden=128), 5)
    policies = {"trt": PRECISIONS["trt"]["int4"]}
    bundle = make_bundle(odd, bundle_folder, "int4", "trt")
    report = verify_bundle(bundle, make_reference(odd, seed=5, policies=policies), threads=1)
    assert report.passed, report.table()
    model = onnx.load(str(bundle.path / "decoder.trt.onnx"), load_external_data=False)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types["language_model.layers.0.mlp.down_proj.weight"] == TensorProto.FLOAT16
    assert types["language_model.layers.0.mlp.gate_proj+up_proj.weight.codes"] == TensorProto.INT4


@pytest.mark.parametrize("precision", TESTED)
@pytest.mark.parametrize(
    ("spoil", "graph"),
    [
        (defects.double_one_matrix, "decoder"),
        (defects.swap_tower_layers, "vision"),
        (defects.shift_embedding_rows, "decoder"),
        (defects.forget_newline, "projector"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_wrong_weights_fail(
    spoil: Callable[[RandomCheckpoint], None], graph: str, precision: str, bundle_folder: Path
) -> None:
    spoiled = checkpoint(0).copy()
    spoil(spoiled)
    report = verify_bundle(make_bundle(spoiled, bundle_folder, precision, "trt"), reference(0, precision), threads=1)
    failed = {row.graph for row in report.rows if not row.passed}
    assert graph in failed or "rounded" in failed, report.table()


@pytest.mark.parametrize("precision", TESTED)
@pytest.mark.parametrize(
    ("edit", "graph"),
    [
        (defects.apply_post_layernorm, "vision"),
        (defects.swap_colours, "vision"),
        (defects.swap_pooling_weights, "projector"),
        (defects.shift_late_positions, "decoder"),
        (defects.forget_mask, "decoder"),
        (defects.wrong_visual_rows, "decoder"),
        (defects.swap_new_keys_and_values, "decoder"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_wrong_graphs_fail(edit: defects.Edit, graph: str, precision: str, bundle_folder: Path) -> None:
    bundle = make(0, bundle_folder, precision)
    defects.edit_graph(bundle, graph, checkpoint(0), edit)
    report = verify_bundle(bundle, reference(0, precision), threads=1)
    failed = {row.graph for row in report.rows if not row.passed}
    assert graph in failed or "rounded" in failed, report.table()
