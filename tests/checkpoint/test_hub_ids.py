"""Hub ids through huggingface_hub itself, in a process of its own, against a small local server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_server import COMMIT, HubServer
from tiny_checkpoint import write_hf

# Opens each [id, revision] given and prints what came of it; the endpoint is read when huggingface_hub is imported.
SCRIPT = """
import json, sys
from ovengines.errors import OVError
from ovexport.checkpoint import open_checkpoint
for hub_id, revision in json.loads(sys.argv[1]):
    try:
        with open_checkpoint(hub_id, revision) as checkpoint:
            result = dict(name=checkpoint.name, revision=checkpoint.revision, sha256=checkpoint.sha256())
    except OVError as err:
        result = dict(code=int(err.code), message=err.message, hint=err.hint)
    print("RESULT " + json.dumps(result))
"""


def open_each(
    asked: list[tuple[str, str | None]], home: Path, endpoint: str, offline: bool = False
) -> list[dict[str, Any]]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "no_proxy": "*"} | ({"HF_HUB_OFFLINE": "1"} if offline else {})
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(asked)],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return [json.loads(line.removeprefix("RESULT ")) for line in lines]


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("hub")
    write_hf(root / "single", 0)
    write_hf(root / "sharded", 1, max_shard_size="20KB")
    write_hf(root / "pickled", 2)
    (root / "pickled" / "model.safetensors").rename(root / "pickled" / "pytorch_model.bin")
    for name in ("README.md", "pytorch_model.bin", "consolidated.safetensors", "training_args.bin"):
        (root / "single" / name).write_bytes(b"must not be downloaded")
    return {f"org/{name}": root / name for name in ("single", "sharded", "pickled")}


def test_online_then_offline(repositories: dict[str, Path], tmp_path: Path) -> None:
    home = tmp_path
    with HubServer(repositories, gated=frozenset({"org/gated"})) as hub:
        single, sharded, pickled, absent, gated, branch, no_branch, no_id = open_each(
            [
                ("org/single", None),
                ("org/sharded", "v1"),
                ("org/pickled", None),
                ("org/absent", None),
                ("org/gated", None),
                ("org/single", "v1"),
                ("org/single", "nowhere"),
                ("org/..", None),
            ],
            home,
            hub.url,
        )
        shards = {path.name for path in repositories["org/sharded"].glob("*.safetensors")}
        assert len(shards) > 2 and shards <= hub.downloaded()
        unwanted = {"README.md", "pytorch_model.bin", "consolidated.safetensors", "training_args.bin"}
        assert not unwanted & hub.downloaded()
    assert single["name"] == "org/single" and single["revision"] == COMMIT
    assert sharded["revision"] == COMMIT and branch["sha256"] == single["sha256"] != sharded["sha256"]
    assert pickled["code"] == 3 and "model.safetensors" in pickled["message"] and "safetensors" in pickled["hint"]
    assert absent["code"] == 3 and "org/absent" in absent["message"]
    assert gated["code"] == 3 and "org/gated" in gated["message"] and "terms" in gated["hint"]
    assert no_branch["code"] == 3 and "nowhere" in no_branch["message"]
    assert no_id["code"] == 3 and "no folder" in no_id["message"]

    cached, never = open_each([("org/single", None), ("org/never", None)], home, hub.url, offline=True)
    assert cached == single
    assert never["code"] == 3 and "offline" in never["message"] and "HF_HUB_OFFLINE" in never["hint"]


def test_hub_that_cannot_be_reached(tmp_path: Path) -> None:
    (result,) = open_each([("org/single", None)], tmp_path, "http://127.0.0.1:9")
    assert result["code"] == 3 and "cannot be reached" in result["message"]


def test_connection_that_ends_in_the_midst_of_a_file(repositories: dict[str, Path], tmp_path: Path) -> None:
    file = "model.safetensors"
    with HubServer(repositories, cut=frozenset({file})) as hub:
        (result,) = open_each([("org/single", None)], tmp_path, hub.url)
        assert file in hub.downloaded()
    assert result["code"] == 3 and "org/single could not be downloaded" in result["message"], result
    assert "network" in result["hint"] and "\n" not in result["message"]
    with HubServer(repositories) as hub:
        (again,) = open_each([("org/single", None)], tmp_path, hub.url)
    assert again["revision"] == COMMIT, again
