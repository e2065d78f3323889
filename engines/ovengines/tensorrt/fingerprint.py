"""What a serialized engine depends on: the key of the cache, and the reason why one cannot be loaded.

An engine is used only where everything is as it was when it was built. Knows no files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from ovengines.bundle.manifest import FileSpec, GraphSpec, Manifest
from ovengines.cuda.info import DeviceInfo
from ovengines.tensorrt.profiles import Profile
from ovengines.tensorrt.recipe import Recipe

_SCHEME = "1"  # changes with what a build does with the same ingredients


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """Every ingredient as short text, in the order in which a difference is told."""

    role: str
    graph: str  # hash over the graph's files
    tensorrt: str
    gpu: str
    driver: str
    profiles: str
    options: str
    plugin: str
    scheme: str = _SCHEME

    @property
    def digest(self) -> str:
        """The name of the engine's folder."""
        canonical = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:32]


# How a difference is told: what the engine was built with, and what is here.
_TOLD = {
    "graph": "for another bundle (graph {then}, here {now})",
    "tensorrt": "by TensorRT {then} (here {now})",
    "gpu": "on {then} (here {now})",
    "driver": "under the driver {then} (here {now})",
    "profiles": "for other sizes ({then}, here {now})",
    "options": "with other options ({then}, here {now})",
    "plugin": "with another plugin library ({then}, here {now})",
    "scheme": "by another version of ovexport ({then}, here {now})",
}


def fingerprint(
    manifest: Manifest,
    graph: GraphSpec,
    *,
    tensorrt_version: str,
    info: DeviceInfo,
    recipe: Recipe,
    profiles: tuple[Profile, ...],
    plugin_sha256: str,
) -> Fingerprint:
    """`plugin_sha256` is "" for a graph without a plugin."""
    return Fingerprint(
        role=graph.role,
        graph=_graph_hash(graph, manifest.files)[:16],
        tensorrt=tensorrt_version,
        gpu=_gpu(info, recipe),
        driver=info.driver,
        profiles=_short([dataclasses.asdict(profile) for profile in profiles]),
        options=_options(recipe),
        plugin=plugin_sha256[:16],
    )


def device_name(info: DeviceInfo) -> str:
    return f"{info.name} ({info.sm})"


def differences(built: Mapping[str, str], wanted: Fingerprint) -> list[tuple[str, str, str]]:
    """(ingredient, value when built, value here) of all that differ, in the order of the fields."""
    here = dataclasses.asdict(wanted)
    return [(name, built.get(name, "?"), here[name]) for name in here if built.get(name, "?") != here[name]]


def why_not(built: Mapping[str, str], wanted: Fingerprint) -> str:
    """One sentence: "the decoder engine was built by TensorRT 10.3.0 (here 10.13.3), ...". Empty if nothing differs."""
    changed = differences(built, wanted)
    told = [_TOLD[name].format(then=then, now=now) for name, then, now in changed if name in _TOLD]
    return f"the {wanted.role} engine was built {', '.join(told)}" if told else ""


def _graph_hash(graph: GraphSpec, files: tuple[FileSpec, ...]) -> str:
    hashes = {file.name: file.sha256 for file in files}
    return hashlib.sha256("".join(hashes[name] for name in (graph.file, *graph.data_files)).encode()).hexdigest()


def _gpu(info: DeviceInfo, recipe: Recipe) -> str:
    """What the GPU has to have in common with the one that the engine was built on."""
    if recipe.hardware_compatibility == "ampere_plus" and info.compute_capability >= (8, 0):
        return "a GPU of Ampere or later"
    if recipe.hardware_compatibility == "same_compute_capability":
        return info.sm
    return device_name(info)


def _options(recipe: Recipe) -> str:
    """What the builder is told; the sizes are in the profiles, and the rest concerns running only."""
    level, compatibility = recipe.optimization_level, recipe.hardware_compatibility
    streamed = ", streamed weights" if recipe.streams_weights else ""
    return f"workspace {recipe.workspace_mib} MiB, level {level}, compatibility {compatibility}{streamed}"


def _short(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
