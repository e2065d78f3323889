"""The cache of engines: what an engine depends on, why one that is there is not taken, and atomic writing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_device import INFO, OrtBackend
from tiny_engine import write_recipe
from tiny_model import PATCHES, VISION, TinyModel, write_bundle

from ovengines import Bundle, open_bundle
from ovengines.errors import ExitCode, OVError
from ovengines.tensorrt.engine import TensorRTEngine
from ovengines.tensorrt.prepare import ROLES
from ovengines.tensorrt.presence import PLUGIN_VARIABLE
from ovengines.tensorrt.store import PLAN_FILE, SIDECAR_FILE, stored_engines
from ovengines.tensorrt.tower import Tower


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(write_bundle(tmp_path / "bundle", TinyModel()))


@pytest.fixture
def built(bundle: Bundle, tmp_path: Path) -> Bundle:
    """A bundle all of whose engines are stored."""
    open_on(bundle, tmp_path).load("vision", "projector", "decoder")
    return bundle


def open_on(
    bundle: Bundle,
    folder: Path,
    *,
    version: str = "10.3.0",
    build: bool = True,
    recipe: dict[str, str] | None = None,
    **info: Any,
) -> TensorRTEngine:
    backend = OrtBackend(version)
    backend.device.info = dataclasses.replace(INFO, **info)
    return TensorRTEngine(bundle, backend, recipe=write_recipe(folder, **(recipe or {})), build=build)


def refusal(engine: TensorRTEngine, role: str = "decoder") -> OVError:
    with pytest.raises(OVError) as caught:
        engine.load(role)
    return caught.value


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": "10.16.1.11"}, "by TensorRT 10.3.0 (here 10.16.1.11)"),
        ({"name": "Testla 2"}, "on Testla (sm_99) (here Testla 2 (sm_99))"),
        ({"compute_capability": (8, 7)}, "on Testla (sm_99) (here Testla (sm_87))"),
        ({"driver": "1000.7"}, "under the driver 999.1 (here 1000.7)"),
        ({"recipe": {"context_tokens": "512"}}, "for other sizes ("),
        ({"recipe": {"chunk_tokens": "32"}}, "for other sizes ("),
        (
            {"recipe": {"workspace_mib": "65"}},
            "with other options (workspace 64 MiB, level 3, compatibility none, here",
        ),
        ({"recipe": {"optimization_level": "4"}}, "level 4"),
        ({"recipe": {"resident_weights_percent": "80"}}, "streamed weights"),
        ({"version": "11.4.0", "driver": "1000.7"}, "by TensorRT 10.3.0 (here 11.4.0), under the driver 999.1"),
    ],
)
def test_a_change_of_any_ingredient_is_named(built: Bundle, tmp_path: Path, change: dict[str, Any], told: str) -> None:
    error = refusal(open_on(built, tmp_path, build=False, **change))
    assert error.code == ExitCode.BUNDLE_INVALID
    assert error.message.startswith("the decoder engine was built ") and told in error.message
    assert error.hint == f"build it with: python -m ovengines.tensorrt {built.path}"


@pytest.mark.parametrize("change", [{"cuda_graphs": "no"}])
def test_what_concerns_running_only_builds_nothing_anew(built: Bundle, tmp_path: Path, change: dict[str, str]) -> None:
    open_on(built, tmp_path, build=False, recipe=change).load("vision", "projector", "decoder")


def test_another_bundle_is_named(built: Bundle, tmp_path: Path) -> None:
    other = open_bundle(write_bundle(tmp_path / "other", TinyModel(seed=7)))
    assert "was built for another bundle (graph " in refusal(open_on(other, tmp_path, build=False)).message


def test_nothing_built_yet(bundle: Bundle, tmp_path: Path) -> None:
    error = refusal(open_on(bundle, tmp_path, build=False), "vision")
    assert error.message == "no vision engine has been built on this machine"


def test_the_plugin_concerns_the_projector_alone(
    built: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "libother.so"
    other.write_bytes(b"a newer plugin")
    monkeypatch.setenv(PLUGIN_VARIABLE, str(other))
    engine = open_on(built, tmp_path, build=False)
    engine.load("vision", "decoder")
    assert "with another plugin library (" in refusal(engine, "projector").message


@pytest.mark.parametrize(
    ("compatibility", "change", "is_taken"),
    [
        ("ampere_plus", {"name": "Other", "compute_capability": (8, 6)}, True),
        ("ampere_plus", {"name": "Old", "compute_capability": (7, 5)}, False),
        ("same_compute_capability", {"name": "Sibling"}, True),
        ("same_compute_capability", {"compute_capability": (8, 6)}, False),
    ],
)
def test_engines_for_more_than_one_gpu_pass_the_gate_once_on_each(
    bundle: Bundle, tmp_path: Path, compatibility: str, change: dict[str, Any], is_taken: bool
) -> None:
    recipe = {"hardware_compatibility": compatibility}
    open_on(bundle, tmp_path, recipe=recipe).load("vision")
    for told in (["checking the vision engine"], []):
        engine = open_on(bundle, tmp_path, recipe=recipe, build=False, **change)
        heard: list[str] = []
        engine._progress = lambda what, done, total, heard=heard: heard.append(what)  # type: ignore[misc]
        if not is_taken:
            assert "the vision engine was built on" in refusal(engine, "vision").message
            return
        engine.load("vision")
        assert heard == told
    (stored,) = stored_engines()
    assert stored.sidecar.gated == ("Testla (sm_99)", f"{engine._workshop.backend.device.info.name} (sm_{sm(change)})")


def sm(change: dict[str, Any]) -> str:
    return "".join(map(str, change.get("compute_capability", INFO.compute_capability)))


def test_an_engine_that_is_wrong_on_another_gpu_is_refused_there_only(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"hardware_compatibility": "ampere_plus"}
    open_on(bundle, tmp_path, recipe=recipe).load("vision")
    with monkeypatch.context() as patched:
        patched.setattr(Tower, "encode", lambda self, pixels: np.zeros((len(pixels), PATCHES, VISION), np.float32))
        error = refusal(open_on(bundle, tmp_path, recipe=recipe, name="Other"), "vision")
        assert error.code == ExitCode.PARITY_FAILED and "on Other (sm_99) is wrong in features" in error.message
    open_on(bundle, tmp_path, recipe=recipe, build=False).load("vision")


def test_a_missing_plugin_shows_before_anything_is_built(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PLUGIN_VARIABLE, str(tmp_path / "nowhere.so"))
    engine = open_on(bundle, tmp_path)
    with pytest.raises(OVError, match="no file"):
        engine.load("vision", "projector", "decoder")
    assert not engine._workshop.backend.requests  # type: ignore[attr-defined]


def test_all_are_built_before_one_is_loaded(bundle: Bundle, tmp_path: Path) -> None:
    """What is loaded takes memory that a build would need."""
    engine = open_on(bundle, tmp_path)
    built: list[tuple[str, int]] = []

    def elsewhere(role: str, progress: object) -> None:
        built.append((role, len(engine._stages)))
        open_on(bundle, tmp_path).build(role)

    engine._workshop = dataclasses.replace(engine._workshop, elsewhere=elsewhere)
    engine.load("vision", "projector", "decoder")
    assert built == [("vision", 0), ("projector", 0), ("decoder", 0)]
    assert not engine._workshop.backend.requests  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "change", [{"version": "10.16.0"}, {"driver": "1000.7"}, {"recipe": {"optimization_level": "4"}}]
)
def test_an_engine_takes_the_place_of_the_one_before(built: Bundle, tmp_path: Path, change: dict[str, Any]) -> None:
    engine, told = open_on(built, tmp_path, **change), []
    engine._progress = lambda what, done, total: told.append(what)
    engine.load("decoder")
    assert sorted(stored.sidecar.fingerprint["role"] for stored in stored_engines()) == sorted(ROLES)
    assert told[-1].startswith("removed the one before: the decoder engine was built ")
    open_on(built, tmp_path, build=False, **change).load("decoder")


def test_engines_of_a_bundle_that_was_built_again_are_replaced(built: Bundle, tmp_path: Path) -> None:
    again = open_bundle(write_bundle(built.path, TinyModel(seed=7)))
    open_on(again, tmp_path).load(*ROLES)
    assert sorted(stored.sidecar.fingerprint["role"] for stored in stored_engines()) == sorted(ROLES)


def test_engines_of_other_bundles_and_other_gpus_stay(built: Bundle, tmp_path: Path) -> None:
    other = open_bundle(write_bundle(tmp_path / "other", TinyModel(seed=7)))
    open_on(other, tmp_path).load("decoder")
    open_on(built, tmp_path, name="Testla 2").load("decoder")
    assert len(stored_engines()) == len(ROLES) + 2


def test_an_engine_is_hashed_once(built: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ovengines.tensorrt.stamp.file_sha256", lambda file: pytest.fail("hashed again"))
    open_on(built, tmp_path, build=False).load("decoder")


def test_the_nearest_engine_is_the_one_that_is_told_of(built: Bundle, tmp_path: Path) -> None:
    open_on(built, tmp_path, version="10.9.0", name="Testla 2").load("decoder")
    error = refusal(open_on(built, tmp_path, version="10.16.0", name="Testla 2", build=False))
    assert error.message == "the decoder engine was built by TensorRT 10.9.0 (here 10.16.0)"


def test_why_it_is_built_is_told(built: Bundle, tmp_path: Path) -> None:
    told: list[str] = []
    backend = OrtBackend("10.16.0")
    tell = lambda what, done, total: told.append(what)  # noqa: E731
    TensorRTEngine(built, backend, recipe=write_recipe(tmp_path), progress=tell).load("decoder")
    assert told == [
        "the decoder engine was built by TensorRT 10.3.0 (here 10.16.0)",
        "building the decoder engine",
        "checking the decoder engine",
        "removed the one before: the decoder engine was built by TensorRT 10.3.0 (here 10.16.0)",
    ]


@pytest.mark.parametrize("damage", ["cut off", "a bit", "no sidecar", "no json", "no plan"])
def test_a_damaged_engine_is_not_loaded(built: Bundle, tmp_path: Path, home: Path, damage: str) -> None:
    folder = next(file.parent for file in (home / "engines").glob(f"*/{SIDECAR_FILE}") if "decoder" in file.read_text())
    if damage == "cut off":
        (folder / PLAN_FILE).write_bytes((folder / PLAN_FILE).read_bytes()[:-1])
    elif damage == "a bit":
        content = bytearray((folder / PLAN_FILE).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / PLAN_FILE).write_bytes(content)
    elif damage == "no plan":
        (folder / PLAN_FILE).unlink()
    elif damage == "no json":
        (folder / SIDECAR_FILE).write_text("{")
    else:
        (folder / SIDECAR_FILE).unlink()
    message = refusal(open_on(built, tmp_path, build=False)).message
    assert message in (
        "the file of the decoder engine is damaged",
        "no decoder engine has been built on this machine",
    )
    open_on(built, tmp_path).load("decoder")
    open_on(built, tmp_path, build=False).load("decoder")


def test_an_engine_that_does_not_load_names_the_command(
    built: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OVError(ExitCode.BUNDLE_INVALID, "TensorRT 10.3.0 can't load the engine: no reason")

    monkeypatch.setattr(OrtBackend, "load", refuse)
    error = refusal(open_on(built, tmp_path, build=False))
    assert error.hint == f"build it again with: python -m ovengines.tensorrt {built.path} --force"


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OVError(ExitCode.BUNDLE_INVALID, "no"), OSError(28, "full")])
def test_a_build_that_is_stopped_leaves_nothing(
    bundle: Bundle, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def stop(*_: object) -> None:
        raise failure

    monkeypatch.setattr(OrtBackend, "build", stop)
    with pytest.raises(BaseException):  # noqa: B017
        open_on(bundle, tmp_path).load("decoder")
    assert not list((home / "engines").iterdir()) and not stored_engines()


def test_the_sidecar_says_what_it_was_built_with(built: Bundle, tmp_path: Path, home: Path) -> None:
    raw = next(
        raw
        for file in (home / "engines").glob(f"*/{SIDECAR_FILE}")
        if (raw := json.loads(file.read_text()))["fingerprint"]["role"] == "decoder"
    )
    assert raw["fingerprint"]["tensorrt"] == "10.3.0" and raw["fingerprint"]["gpu"] == "Testla (sm_99)"
    assert raw["details"]["source"] == "tests/tiny" and raw["details"]["recipe"] == "test"
    assert raw["details"]["bundle"] == str(built.path) and raw["details"]["precision"] == "fp32"


def test_a_bundle_for_another_target_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    graphs = tuple(dataclasses.replace(graph, target="ort") for graph in bundle.manifest.graphs)
    other = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, graphs=graphs))
    with pytest.raises(OVError, match="no vision graph for target trt") as caught:
        open_on(other, tmp_path)
    assert "--target tensorrt" in caught.value.hint


def test_a_decoder_of_another_form_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    graphs = tuple(dataclasses.replace(graph, cache_form="shared_buffer") for graph in bundle.manifest.graphs)
    other = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, graphs=graphs))
    assert "'shared_buffer', not 'delta'" in refusal(open_on(other, tmp_path)).message


def test_a_decoder_without_the_best_token_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    graphs = tuple(
        dataclasses.replace(graph, outputs=tuple(o for o in graph.outputs if o.name != "logits_sum"))
        for graph in bundle.manifest.graphs
    )
    other = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, graphs=graphs))
    assert "does not give logits_sum" in refusal(open_on(other, tmp_path)).message
