"""Sound bundles pass in every precision, defects of every kind do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import graph_defects as defects
import numpy as np
import pytest
import torch
from verify_bundles import RandomCheckpoint, make_bundle, random_checkpoint, small_config

from ovengines.errors import ExitCode, OVError
from ovexport.precision.policy import PRECISIONS
from ovexport.verify.compare import equal_lead, verify_bundle
from ovexport.verify.reference import Reference, make_reference

TESTED = ("fp32", "fp16", "int8", "int4")
EXACT = ("fp32", "fp16")

WEIGHT_DEFECTS = (
    (defects.double_one_matrix, "decoder"),
    (defects.swap_decoder_layers, "decoder"),
    (defects.swap_tower_layers, "vision"),
    (defects.shift_embedding_rows, "decoder"),
    (defects.forget_newline, "projector"),
    (defects.poison_with_nan, "projector"),
)
# (what, graph, precisions in which it is more than rounding)
GRAPH_DEFECTS = (
    (defects.apply_post_layernorm, "vision", TESTED),
    (defects.swap_colours, "vision", TESTED),
    (defects.wrong_gelu, "vision", ("fp32",)),
    (defects.swap_pooling_weights, "projector", TESTED),
    (defects.shift_late_positions, "decoder", TESTED),
    (defects.forget_rotation, "decoder", TESTED),
    (defects.shift_visual_rows, "decoder", TESTED),
    (defects.shift_logits_rows, "decoder", TESTED),
)
STAGES = {
    "vision": {"vision", "seen", "pipeline"},
    "projector": {"projector", "seen", "pipeline"},
    "decoder": {"decoder", "rounded", "pipeline"},
}


@pytest.mark.parametrize("precision", TESTED)
@pytest.mark.parametrize("seed", range(5))
def test_a_sound_bundle_passes(
    seed: int,
    precision: str,
    bundle_folder: Path,
    checkpoints: Callable[[int], RandomCheckpoint],
    references: Callable[[int, str], Reference],
) -> None:
    reference = references(seed, precision)
    report = verify_bundle(make_bundle(checkpoints(seed), bundle_folder, precision), reference, threads=1)
    assert report.passed, f"seed {seed}\n{report.table()}"
    assert [row.graph for row in report.rows if row.graph == "rounded"] == ["rounded"] * 2 * (precision not in EXACT)
    for row in report.rows:
        assert row.metrics.max_error is not None
        assert sum(row.metrics.histogram) == row.metrics.values > 0
        assert (row.metrics.argmax_agreement is None) == (row.quantity != "logits")
    if precision == "fp32":
        assert all(row.greedy_equal == row.greedy_total for row in report.rows), f"seed {seed}\n{report.table()}"
    assert min(r.metrics.max_error or 0 for r in report.rows) > 0, "compared with itself?"


@pytest.mark.parametrize("precision", TESTED)
def test_a_deep_bundle_of_bfloat16_weights_passes(precision: str, bundle_folder: Path) -> None:
    checkpoint = random_checkpoint(small_config(layers=8, hidden=128, tied=False), 11, dtype=torch.bfloat16)
    reference = make_reference(checkpoint, seed=11, policies={"ort": PRECISIONS["ort"][precision]})
    report = verify_bundle(make_bundle(checkpoint, bundle_folder, precision), reference, threads=1)
    assert report.passed, f"seed 11\n{report.table()}"


@pytest.mark.parametrize("precision", TESTED)
@pytest.mark.parametrize(("spoil", "graph"), WEIGHT_DEFECTS, ids=lambda value: getattr(value, "__name__", value))
def test_wrong_weights_fail(
    spoil: Callable[[RandomCheckpoint], None],
    graph: str,
    precision: str,
    bundle_folder: Path,
    checkpoints: Callable[[int], RandomCheckpoint],
    references: Callable[[int, str], Reference],
) -> None:
    spoiled = checkpoints(0).copy()
    spoil(spoiled)
    report = verify_bundle(make_bundle(spoiled, bundle_folder, precision), references(0, precision), threads=1)
    failed = {row.graph for row in report.rows if not row.passed}
    assert graph in failed or "rounded" in failed, report.table()
    assert failed <= STAGES[graph], f"the error should show only from {graph} on\n{report.table()}"
    with pytest.raises(OVError, match=precision) as caught:
        report.raise_if_failed()
    assert caught.value.code == ExitCode.PARITY_FAILED


@pytest.mark.parametrize(
    ("edit", "graph", "precision"),
    [(edit, graph, precision) for edit, graph, precisions in GRAPH_DEFECTS for precision in precisions],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_wrong_graphs_fail(
    edit: defects.Edit,
    graph: str,
    precision: str,
    bundle_folder: Path,
    checkpoints: Callable[[int], RandomCheckpoint],
    references: Callable[[int, str], Reference],
) -> None:
    bundle = make_bundle(checkpoints(0), bundle_folder, precision)
    defects.edit_graph(bundle, graph, checkpoints(0), edit)
    report = verify_bundle(bundle, references(0, precision), threads=1)
    failed = {row.graph for row in report.rows if not row.passed}
    assert graph in failed or "rounded" in failed, report.table()
    assert failed <= STAGES[graph], f"the error should show only from {graph} on\n{report.table()}"


def test_a_loaded_reference_gives_the_same_report(
    tmp_path: Path,
    bundle_folder: Path,
    checkpoints: Callable[[int], RandomCheckpoint],
    references: Callable[[int, str], Reference],
) -> None:
    bundle = make_bundle(checkpoints(0), bundle_folder, "int4")
    references(0, "int4").save(tmp_path / "reference.npz")
    steps: list[tuple[str, int, int]] = []
    loaded = Reference.load(tmp_path / "reference.npz")
    again = verify_bundle(bundle, loaded, threads=1, progress=lambda *step: steps.append(step))
    assert again.rows == verify_bundle(bundle, references(0, "int4"), threads=1).rows
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)
    assert steps[-1][1] == steps[-1][2]


def test_a_reference_of_another_model_is_refused(
    bundle_folder: Path, checkpoints: Callable[[int], RandomCheckpoint]
) -> None:
    other = make_reference(random_checkpoint(small_config(vocabulary=640), 0))
    with pytest.raises(OVError, match="vocab_size is 640") as caught:
        verify_bundle(make_bundle(checkpoints(0), bundle_folder, "fp32"), other, threads=1)
    assert caught.value.code == ExitCode.BUNDLE_INVALID


def test_equal_lead_counts_up_to_the_first_difference() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        ids = rng.integers(0, 3, 8).tolist()
        other = rng.integers(0, 3, int(rng.integers(0, 9))).tolist()
        wanted = max(n for n in range(min(len(ids), len(other)) + 1) if ids[:n] == other[:n])
        assert equal_lead(ids, other) == wanted, (ids, other)
