"""The gate: a right engine passes and is stored; a wrong one is refused, named, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from host_device import OrtBackend, OrtExecutor
from tiny_engine import write_recipe
from tiny_model import VOCAB, TinyModel, write_bundle

from ovengines import open_bundle
from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.engine import TensorRTEngine
from ovengines.tensorrt.store import PLAN_FILE, SIDECAR_FILE
from ovengines.tensorrt.tolerance import LIMITS, measure, measure_best


def open_engine(folder: Path, graphs_of: TinyModel | None = None, **changes: str) -> TensorRTEngine:
    bundle = open_bundle(write_bundle(folder / "bundle", TinyModel(), weights_of=graphs_of))
    return TensorRTEngine(bundle, OrtBackend(), recipe=write_recipe(folder, **changes))


def refusal(engine: TensorRTEngine, role: str) -> OVError:
    with pytest.raises(OVError) as caught:
        engine.load(role)
    assert caught.value.code == ExitCode.PARITY_FAILED
    return caught.value


def altered(name: str, scale: float) -> TinyModel:
    model = TinyModel()
    model.weights[name] = model.weights[name] * np.float32(scale)
    return model


def test_what_passes_is_stored_with_what_was_measured(tmp_path: Path, home: Path) -> None:
    open_engine(tmp_path).load("vision", "projector", "decoder")
    sidecars = [json.loads(file.read_text()) for file in sorted((home / "engines").glob(f"*/{SIDECAR_FILE}"))]
    measured = {sidecar["fingerprint"]["role"]: sidecar["details"]["gate"] for sidecar in sidecars}
    assert sorted(measured) == ["decoder", "projector", "vision"]
    runs = ("a prompt in chunks", "steps", "steps over a past of 768 rows")
    assert [finding["what"] for finding in measured["decoder"]] == [
        *(what for run in runs for what in (run, f"the likeliest tokens of {run}", f"the sums of {run}")),
        "a step after 699 tokens",
    ]
    assert all(finding["max_error"] < 1e-4 for findings in measured.values() for finding in findings)


@pytest.mark.parametrize(
    ("role", "weight"), [("vision", "conv"), ("projector", "newline"), ("decoder", "k1"), ("decoder", "position")]
)
def test_a_graph_with_other_weights_is_refused(tmp_path: Path, home: Path, role: str, weight: str) -> None:
    error = refusal(open_engine(tmp_path, altered(weight, 1.01)), role)
    assert error.message.startswith(f"the {role} engine of TensorRT 10.3.0 on Testla (sm_99) is wrong in ")
    assert "max_error is" in error.message and "more than 0.0001" in error.message and error.hint
    assert not list((home / "engines").iterdir()), "nothing stays of a wrong engine"


class WrongHead(OrtExecutor):
    """All logits are right, and what greedy answers see instead of them is not."""

    wrong: Callable[[dict[str, np.ndarray]], None]

    def _run(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        super()._run(shapes, addresses)
        if "logits" in addresses:
            rows = shapes["logits_index"][1]
            ids = self._device.bytes_at(addresses["greedy_ids"], 4 * rows).view(np.int32)
            sums = self._device.bytes_at(addresses["logits_sum"], 4 * rows).view(np.float32)
            type(self).wrong({"ids": ids, "sums": sums})


def shift(values: dict[str, np.ndarray]) -> None:
    values["ids"][...] = (values["ids"] + 1) % VOCAB


def widen(values: dict[str, np.ndarray]) -> None:
    """A cast from int64 that left every other word zero."""
    values["ids"][1::2] = VOCAB


def overflow(values: dict[str, np.ndarray]) -> None:
    values["sums"][-1] = np.inf


def zero(values: dict[str, np.ndarray]) -> None:
    values["sums"][...] = 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (shift, "the likeliest tokens of a prompt in chunks: max_error is "),
        (widen, "the likeliest tokens of a prompt in chunks: max_error is inf"),
        (overflow, "the sums of a prompt in chunks: max_error is inf"),
        (zero, "the sums of a prompt in chunks: max_error is "),
    ],
)
def test_what_greedy_answers_see_is_compared_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Callable[[dict[str, np.ndarray]], None], told: str
) -> None:
    monkeypatch.setattr(WrongHead, "wrong", staticmethod(wrong), raising=False)
    monkeypatch.setattr("host_device.OrtExecutor", WrongHead)
    assert f"is wrong in {told}" in refusal(open_engine(tmp_path), "decoder").message


def test_a_tie_is_no_error() -> None:
    logits_KV = np.array([[5.0, 5.0 - 1e-5, -7.0]], np.float32)
    limit = LIMITS["fp32"]["decoder"]
    for token, is_taken in ((0, True), (1, True), (2, False)):
        assert (not measure_best(np.array([token], np.int32), logits_KV).exceeds(limit)) is is_taken


class StaleStep(OrtExecutor):
    """An engine whose kernels for one token see no more than 512 rows of the past: right in every short test."""

    def _run(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        past, tokens = shapes["past_key_values.0.key"][0], shapes["input_ids"][1]
        if tokens == 1 and past > 512 and past % 256 == 0:
            mask = self._device.bytes_at(addresses["attention_mask"], 4 * (past + 1)).view(np.float32)
            mask[:100] = -1e9
        super()._run(shapes, addresses)


def test_kernels_that_are_wrong_far_out_only_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host_device.OrtExecutor", StaleStep)
    assert "wrong in steps over a past of 768 rows" in refusal(open_engine(tmp_path), "decoder").message


class ForgetfulStep(OrtExecutor):
    """Sees the whole padding, but of more than 300 real rows the first is lost."""

    def _run(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        past, tokens = shapes["past_key_values.0.key"][0], shapes["input_ids"][1]
        if tokens == 1 and past % 256 == 0:
            mask = self._device.bytes_at(addresses["attention_mask"], 4 * (past + 1)).view(np.float32)
            if (mask == 0).sum() > 300:
                mask[:250] = -1e9
        super()._run(shapes, addresses)


def test_a_step_that_disagrees_with_reading_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host_device.OrtExecutor", ForgetfulStep)
    assert "a step after 699 tokens" in refusal(open_engine(tmp_path), "decoder").message


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    assert "max_error is inf" in refusal(open_engine(tmp_path, altered("conv", np.nan)), "vision").message


def test_without_a_reference_nothing_is_built(tmp_path: Path) -> None:
    engine = open_engine(tmp_path)
    files = tuple(spec for spec in engine.bundle.manifest.files if spec.name != "reference.npz")
    object.__setattr__(engine.bundle.manifest, "files", files)
    with pytest.raises(OVError, match=r"no reference.npz") as caught:
        engine.load("decoder")
    assert caught.value.code == ExitCode.BUNDLE_INVALID and "--verify quick" in caught.value.hint


def test_weights_of_4_bits_are_compared_with_their_own_logits(tmp_path: Path) -> None:
    bundle = open_bundle(write_bundle(tmp_path / "bundle", TinyModel(), precision="int4"))
    TensorRTEngine(bundle, OrtBackend(), recipe=write_recipe(tmp_path)).load("decoder")
    dense = open_bundle(write_bundle(tmp_path / "dense", TinyModel(seed=1)))
    object.__setattr__(dense.manifest, "precision", "int4")
    with pytest.raises(OVError, match="it has no logits of 4-bit weights") as caught:
        TensorRTEngine(dense, OrtBackend(), recipe=write_recipe(tmp_path)).load("decoder")
    assert caught.value.code == ExitCode.BUNDLE_INVALID


def test_limits_are_there_for_every_precision_of_the_target() -> None:
    assert {precision: sorted(limits) for precision, limits in LIMITS.items()} == {
        precision: ["decoder", "projector", "vision"] for precision in ("fp32", "fp16", "bf16", "int4")
    }


def test_measures() -> None:
    wanted = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    exact = measure(wanted, wanted)
    assert (exact.max_error, exact.rms_error, exact.cosine_error) == (0, 0, 0)
    off = measure(np.array([[3.0, 2.0], [0.0, 0.0]], np.float32), wanted)
    assert off.max_error == pytest.approx(0.5) and off.rms_error == pytest.approx(0.4)
    assert off.cosine_error == pytest.approx(1 - 17 / (5 * np.sqrt(13)))
    assert measure(-wanted, wanted).cosine_error == pytest.approx(2)
    with pytest.raises(ValueError, match="shapes differ"):
        measure(wanted[:1], wanted)


def test_an_engine_that_passed_is_not_built_again(tmp_path: Path, home: Path) -> None:
    engine = open_engine(tmp_path)
    engine.load("decoder")
    plans = list((home / "engines").glob(f"*/{PLAN_FILE}"))
    again = OrtBackend()
    TensorRTEngine(engine.bundle, again, recipe=str(tmp_path / "test.ini"), build=False).load("decoder")
    assert not again.requests and len(plans) == 1
    forced = OrtBackend()
    TensorRTEngine(engine.bundle, forced, recipe=str(tmp_path / "test.ini"), force=True).load("decoder")
    assert len(forced.requests) == 1 and list((home / "engines").glob(f"*/{PLAN_FILE}")) == plans
