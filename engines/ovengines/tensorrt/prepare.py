"""From a graph of a bundle to a loaded stage: the stored engine where one fits, else a new one that passed the gate."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ovengines.bundle.hashing import file_sha256
from ovengines.bundle.manifest import GraphSpec
from ovengines.bundle.reader import Bundle
from ovengines.errors import OVError
from ovengines.tensorrt.backend import Backend, BuildRequest, Progress
from ovengines.tensorrt.decoder import Decoder
from ovengines.tensorrt.delta import decoder_spec
from ovengines.tensorrt.fingerprint import Fingerprint, device_name, fingerprint
from ovengines.tensorrt.gate import Finding, as_details, check_engine
from ovengines.tensorrt.presence import find_plugin
from ovengines.tensorrt.profiles import Bounds, Profile, bounds_of, profiles_for
from ovengines.tensorrt.projector import Projector
from ovengines.tensorrt.recipe import Recipe
from ovengines.tensorrt.reference import Reference, load_reference
from ovengines.tensorrt.store import (
    NewEngine,
    add_gated,
    cannot_load,
    engines_dir,
    explain_absence,
    find_engine,
    remove_superseded,
)
from ovengines.tensorrt.tower import Tower

TARGET = "trt"
ROLES = ("vision", "projector", "decoder")
_WITH_PLUGIN = ("projector",)
Stage = Tower | Projector | Decoder


@dataclass(frozen=True, kw_only=True)
class _Order:
    """One engine: what it is made from."""

    graph: GraphSpec
    profiles: tuple[Profile, ...]
    plugin: Path | None
    wanted: Fingerprint


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """A bundle, a device and a recipe: all that the engines of a bundle are made from.

    `elsewhere` has the engine of a role built and stored by another process; None: they are built in this one.
    """

    bundle: Bundle
    backend: Backend
    recipe: Recipe
    may_build: bool = True
    force: bool = False  # build even what is there
    elsewhere: Callable[[str, Progress], None] | None = None

    @property
    def bounds(self) -> Bounds:
        return bounds_of(self.bundle.manifest.model, self.recipe)

    @property
    def command(self) -> str:
        """What builds the engines of this bundle here."""
        return f"python -m ovengines.tensorrt {shlex.quote(str(self.bundle.path))}"

    def provide(self, roles: Sequence[str], progress: Progress) -> None:
        """Have the engines of these roles built and stored where none fits; none is loaded when this returns.

        Raises:
            OVError: BUNDLE_INVALID, saying why no stored engine fits, or why the graph can't be built; PARITY_FAILED
                if a new engine is wrong, which is then removed; MISSING_DEPENDENCY without the plugin.
        """
        orders = [self._order(role) for role in roles]  # a plugin that is missing shows before the minutes of a build
        for order in orders:
            stored = find_engine(order.wanted)
            if stored and not self.force:
                continue
            role = order.graph.role
            reason = f"the {role} engine is asked for anew" if stored else explain_absence(order.wanted)
            if not self.may_build:
                raise cannot_load(reason, self.command)
            if self.elsewhere:
                self.elsewhere(role, progress)
                continue
            progress(reason, 0, 1)
            self._build(order, progress)

    def open_stage(self, role: str, progress: Progress) -> Stage:
        """The stage of a role, from its stored engine, which passes the gate if it is new to this device.

        Raises:
            OVError: BUNDLE_INVALID if there is none that fits; PARITY_FAILED if it is wrong on this device.
        """
        order = self._order(role)
        stored = find_engine(order.wanted)
        if stored is None:
            raise cannot_load(explain_absence(order.wanted), self.command)
        stage = self._stage(order.graph, stored.plan, order.plugin)
        here = device_name(self.backend.device.info)
        if here not in stored.sidecar.gated:
            self._check(stage, order, load_reference(self.bundle), progress)
            add_gated(stored, here)
        return stage

    def _order(self, role: str) -> _Order:
        graph = self.bundle.manifest.graph(role, TARGET)
        backend, profiles = self.backend, profiles_for(graph, self.bounds)
        major = int(backend.version.split(".")[0])
        plugin = find_plugin(major, backend.cuda_major) if role in _WITH_PLUGIN else None
        wanted = fingerprint(
            self.bundle.manifest,
            graph,
            tensorrt_version=backend.version,
            info=backend.device.info,
            recipe=self.recipe,
            profiles=profiles,
            plugin_sha256=file_sha256(plugin) if plugin else "",
        )
        return _Order(graph=graph, profiles=profiles, plugin=plugin, wanted=wanted)

    def _build(self, order: _Order, progress: Progress) -> None:
        reference = load_reference(self.bundle)  # before the minutes that a build takes
        manifest, started = self.bundle.manifest, time.monotonic()
        with NewEngine(order.wanted) as engine:
            # Nobody keeps what was built: it is as large as the weights.
            engine.write(self.backend.build(self._request(order), progress))
            build_s = round(time.monotonic() - started, 1)
            findings = self._check(self._stage(order.graph, engine.plan, order.plugin), order, reference, progress)
            details = {
                "bundle": str(self.bundle.path.resolve()),
                "source": manifest.source,
                "precision": manifest.precision,
                "recipe": self.recipe.name,
                "build_s": build_s,
                "gate": as_details(findings),
            }
            engine.seal(device_name(self.backend.device.info), details)
            engine.publish()
        for removed in remove_superseded(order.wanted):
            progress(removed, 1, 1)

    def _check(self, stage: Stage, order: _Order, reference: Reference, progress: Progress) -> list[Finding]:
        role, version = order.graph.role, self.backend.version
        progress(f"checking the {role} engine", 0, 1)
        built = f"the {role} engine of TensorRT {version} on {device_name(self.backend.device.info)}"
        return check_engine(stage, reference, self.bundle.manifest.precision, built)

    def _request(self, order: _Order) -> BuildRequest:
        timings = f"timing-{self.backend.version}-{self.backend.device.info.sm}.cache"
        return BuildRequest(
            role=order.graph.role,
            graph_file=self.bundle.graph_file(order.graph),
            profiles=order.profiles,
            recipe=self.recipe,
            exact_float32=self.bundle.manifest.precision == "fp32",
            plugin=order.plugin,
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
