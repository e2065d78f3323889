"""From a graph of a bundle to a loaded stage: the stored engine where one fits, else a new one that passed the gate."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from ovengines.bundle.hashing import file_sha256
from ovengines.bundle.manifest import GraphSpec
from ovengines.bundle.reader import Bundle
from ovengines.errors import OVError
from ovengines.tensorrt.backend import Backend, BuildRequest, Progress
from ovengines.tensorrt.decoder import Decoder
from ovengines.tensorrt.delta import decoder_spec
from ovengines.tensorrt.fingerprint import Fingerprint, fingerprint
from ovengines.tensorrt.gate import as_details, check_engine
from ovengines.tensorrt.presence import find_plugin
from ovengines.tensorrt.profiles import Bounds, Profile, bounds_of, profiles_for
from ovengines.tensorrt.projector import Projector
from ovengines.tensorrt.recipe import Recipe
from ovengines.tensorrt.reference import load_reference
from ovengines.tensorrt.store import NewEngine, cannot_load, engines_dir, explain_absence, find_plan
from ovengines.tensorrt.tower import Tower

TARGET = "trt"
ROLES = ("vision", "projector", "decoder")
_WITH_PLUGIN = ("projector",)
Stage = Tower | Projector | Decoder


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """A bundle, a device and a recipe: all that the engines of a bundle are made from."""

    bundle: Bundle
    backend: Backend
    recipe: Recipe
    force: bool = False  # build even what is there

    @property
    def bounds(self) -> Bounds:
        return bounds_of(self.bundle.manifest.model, self.recipe)

    @property
    def command(self) -> str:
        """What builds the engines of this bundle here."""
        return f"python -m ovengines.tensorrt {shlex.quote(str(self.bundle.path))}"

    def open_stage(self, role: str, *, build: bool, progress: Progress) -> Stage:
        """The stage of a role, from a stored engine, or from a new one if `build`.

        Raises:
            OVError: BUNDLE_INVALID, saying why no stored engine fits, or why the graph can't be built; PARITY_FAILED
                if the new engine is wrong, which is then removed; MISSING_DEPENDENCY without the plugin.
        """
        graph = self.bundle.manifest.graph(role, TARGET)
        plugin = find_plugin(_major(self.backend.version)) if role in _WITH_PLUGIN else None
        profiles = profiles_for(graph, self.bounds)
        wanted = self._fingerprint(graph, profiles, plugin)
        plan = find_plan(wanted)
        if plan and not self.force:
            return self._stage(graph, plan, plugin)
        reason = f"the {role} engine is asked for anew" if plan else explain_absence(wanted)
        if not build:
            raise cannot_load(reason, self.command)
        progress(reason, 0, 1)
        return self._build(self._request(graph, profiles, plugin), graph, wanted, progress)

    def _fingerprint(self, graph: GraphSpec, profiles: tuple[Profile, ...], plugin: Path | None) -> Fingerprint:
        return fingerprint(
            self.bundle.manifest,
            graph,
            tensorrt_version=self.backend.version,
            info=self.backend.device.info,
            recipe=self.recipe,
            profiles=profiles,
            plugin_sha256=file_sha256(plugin) if plugin else "",
        )

    def _build(self, request: BuildRequest, graph: GraphSpec, wanted: Fingerprint, progress: Progress) -> Stage:
        reference = load_reference(self.bundle)  # before the minutes that a build takes
        manifest, started = self.bundle.manifest, time.monotonic()
        with NewEngine(wanted) as engine:
            engine.write(self.backend.build(request, progress))  # and let go of it: it is as large as the weights
            build_s = round(time.monotonic() - started, 1)
            progress(f"checking the {graph.role} engine", 0, 1)
            stage = self._stage(graph, engine.plan, request.plugin)
            built = f"the {graph.role} engine of TensorRT {wanted.tensorrt} on {wanted.gpu}"
            findings = check_engine(stage, reference, manifest.precision, built)
            engine.seal(
                {
                    "bundle": str(self.bundle.path.resolve()),
                    "source": manifest.source,
                    "precision": manifest.precision,
                    "recipe": self.recipe.name,
                    "build_s": build_s,
                    "gate": as_details(findings),
                }
            )
            engine.publish()
        return stage

    def _request(self, graph: GraphSpec, profiles: tuple[Profile, ...], plugin: Path | None) -> BuildRequest:
        timings = f"timing-{self.backend.version}-{self.backend.device.info.sm}.cache"
        return BuildRequest(
            role=graph.role,
            graph_file=self.bundle.graph_file(graph),
            profiles=profiles,
            recipe=self.recipe,
            exact_float32=self.bundle.manifest.precision == "fp32",
            plugin=plugin,
            timing_cache=engines_dir() / timings,
        )

    def _stage(self, graph: GraphSpec, plan_file: Path, plugin: Path | None) -> Stage:
        device, model, bounds = self.backend.device, self.bundle.manifest.model, self.bounds
        try:
            plan = self.backend.load(plan_file, self.recipe, plugin)
        except OVError as err:
            raise OVError(err.code, err.message, err.hint or f"build it again with: {self.command} --force") from err
        if graph.role == "vision":
            return Tower(device, plan, model, bounds.tower_tiles)
        if graph.role == "projector":
            return Projector(device, plan, model, bounds)
        graphs = self.recipe.cuda_graphs and not self.recipe.streams_weights  # streamed weights come and go
        return Decoder(device, plan, decoder_spec(graph, model, bounds), cuda_graphs=graphs)


def _major(version: str) -> int:
    return int(version.split(".")[0])
