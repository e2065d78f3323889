"""Where graphs keep their weights, as the onnx package sees it; and that no bundle can point elsewhere."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from ovengines import open_bundle
from ovengines.bundle.external_data import external_locations
from ovengines.bundle.hashing import file_sha256
from ovengines.bundle.manifest import with_checksum
from ovengines.errors import ExitCode, OVError


def external_tensor(name: str, location: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("offset", "0"), ("location", location), ("length", "8")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def test_tensors_are_found_wherever_they_can_be(tmp_path: Path) -> None:
    inner = helper.make_graph([], "inner", [], [], [external_tensor("b", "of branch")])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    node.attribute.append(helper.make_attribute("value", external_tensor("d", "of attribute")))
    constant = helper.make_node("Constant", [], ["k"], value=external_tensor("e", "of function"))
    function = helper.make_function("d", "f", [], ["k"], [constant], [helper.make_opsetid("", 21)])
    graph = helper.make_graph([node], "outer", [], [], [external_tensor("a", "ümlaut.data")])
    model = helper.make_model(graph, functions=[function])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert external_locations(tmp_path / "m.onnx") == {"of branch", "of attribute", "of function", "ümlaut.data"}


@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_every_graph_of_a_bundle_names_its_own_data(build_tiny: Callable[[str], Path], precision: str) -> None:
    bundle = open_bundle(build_tiny(precision))
    for graph in bundle.manifest.graphs:
        assert external_locations(bundle.graph_file(graph)) == set(graph.data_files)


def test_damaged_files_are_refused_or_read_but_never_crash(tiny_bundle: Path, tmp_path: Path) -> None:
    content = (tiny_bundle / "projector.onnx").read_bytes()
    for seed in range(300):
        generator = random.Random(seed)
        damaged = bytearray(content[: generator.randint(1, len(content))])
        for _ in range(generator.randint(0, 5)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        try:
            (tmp_path / "damaged.onnx").write_bytes(damaged)
            external_locations(tmp_path / "damaged.onnx")
        except OVError as err:
            assert err.code == ExitCode.BUNDLE_INVALID, f"seed {seed}"


@pytest.mark.parametrize("location", ["../outside.data", "/etc/passwd", "unlisted.data"])
def test_a_graph_that_points_out_of_its_bundle_is_refused(tiny_bundle: Path, tmp_path: Path, location: str) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "b"))
    shutil.copy(bundle / "projector.onnx.data", bundle / "unlisted.data")
    model = onnx.load(str(bundle / "projector.onnx"), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (bundle / "projector.onnx").write_bytes(model.SerializeToString())
    manifest = json.loads((bundle / "manifest.json").read_text())
    spec = next(file for file in manifest["files"] if file["name"] == "projector.onnx")
    spec["sha256"] = file_sha256(bundle / "projector.onnx")
    spec["size_bytes"] = (bundle / "projector.onnx").stat().st_size
    (bundle / "manifest.json").write_text(json.dumps(with_checksum(manifest)))
    with pytest.raises(OVError, match="outside of its files") as caught:
        open_bundle(bundle)
    assert caught.value.code == ExitCode.BUNDLE_INVALID
