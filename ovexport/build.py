"""CHECKPOINT -> BUNDLE in one screenful: plan, write the graphs, compute PyTorch's answers, compare, publish.

The bundle appears under its name only if it passed; peak memory is kept low by never holding a part twice
(the weights are streamed, PyTorch's side is computed and dropped before an engine is opened).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ovexport
from ovengines.bundle.manifest import LAYOUT_VERSION, SEMANTICS_VERSION, Manifest
from ovengines.bundle.reader import open_bundle
from ovengines.bundle.writer import DISK_HINT, BundleWriter
from ovengines.errors import ExitCode, OVError
from ovengines.home import bundles_dir
from ovengines.replacement import disk_errors
from ovexport.checkpoint import Checkpoint
from ovexport.graphs.table import graph_spec
from ovexport.graphs.write import write_graph
from ovexport.plan import BuildPlan, check_disk
from ovexport.progress import Bars
from ovexport.verify.compare import verify_bundle
from ovexport.verify.full import drawn_samples, full_check
from ovexport.verify.reference import Progress, Reference, make_reference
from ovexport.verify.report import Report, write_report
from ovrun.log import logger

REFERENCE_FILE = "reference.npz"


@dataclass(frozen=True, kw_only=True)
class Built:
    """Where the bundle is, and how it compared (None with --verify off)."""

    path: Path
    report: Report | None


def default_target(checkpoint_name: str, precision: str) -> Path:
    """`$OV_HOME/bundles/<last part of the name>-<precision>`."""
    return bundles_dir() / f"{checkpoint_name.rstrip('/').rsplit('/', 1)[-1]}-{precision}"


def build_bundle(
    checkpoint: Checkpoint, plan: BuildPlan, target: Path, *, verify: str, force: bool, bars: Bars
) -> Built:
    """Write, verify (off, quick or full) and publish a bundle.

    The checkpoint is closed as soon as it is not needed any more, to give its memory back.

    Raises:
        OVError: LIMIT_EXCEEDED (disk), USAGE (target exists), PARITY_FAILED (nothing is published then).
    """
    with BundleWriter(target, force=force) as writer:
        check_disk(plan, writer.target)
        _write_graphs(plan, writer, bars)
        writer.add_bytes("tokenizer.json", checkpoint.tokenizer_json)
        writer.add_bytes("chat_template.jinja", checkpoint.chat_template.encode())
        reference = _write_reference(checkpoint, plan, writer, bars) if verify != "off" else None
        writer.seal(_manifest(checkpoint, plan, writer, bars))
        if verify != "full":
            checkpoint.close()
        report = _verify(writer.folder, reference, checkpoint, verify, bars) if reference else None
        return Built(path=writer.publish(), report=report)


def _write_graphs(plan: BuildPlan, writer: BundleWriter, bars: Bars) -> None:
    for row, graph in plan.graphs:
        own_bytes = 0 if row.weights_in else graph.weights_bytes
        with bars.bytes(f"writing {row.file}", own_bytes) as advance, disk_errors(writer.folder, DISK_HINT):
            write_graph(graph, writer.folder, row.file, weights_in=row.weights_in, progress=advance)


def _write_reference(checkpoint: Checkpoint, plan: BuildPlan, writer: BundleWriter, bars: Bars) -> Reference:
    with bars.steps("computing PyTorch's outputs") as progress:
        reference = make_reference(checkpoint, policies=plan.policies, progress=progress)
    with disk_errors(writer.folder, DISK_HINT):
        reference.save(writer.folder / REFERENCE_FILE)
    return reference


def _verify(folder: Path, reference: Reference, checkpoint: Checkpoint, level: str, bars: Bars) -> Report:
    with bars.steps("comparing with PyTorch") as progress:
        report = verify_folder(folder, reference, checkpoint if level == "full" else None, progress=progress)
    if not report.passed:
        logger.error("this build does not match PyTorch\n%s", report.table())
    report.raise_if_failed()
    with disk_errors(folder, DISK_HINT):
        write_report(report, folder)
    return report


def verify_folder(
    folder: Path, reference: Reference, checkpoint: Checkpoint | None, *, progress: Progress | None = None
) -> Report:
    """Compare the bundle in `folder` with PyTorch; whole answers too if a checkpoint is given.

    Raises:
        OVError: BAD_INPUT for a checkpoint that the bundle was not made from.
    """
    bundle = open_bundle(folder)
    if checkpoint and checkpoint.sha256() != bundle.manifest.source_sha256:
        raise OVError(
            ExitCode.BAD_INPUT,
            f"{checkpoint.name} is not what the bundle was made from ({bundle.manifest.source})",
            "give the same checkpoint, or leave --checkpoint out",
        )
    report = verify_bundle(bundle, reference, progress=progress)
    if checkpoint:
        samples = drawn_samples(bundle.manifest.model.geometry)
        report = report.with_answers(full_check(folder, checkpoint, samples, progress=progress))
    return report


def _manifest(checkpoint: Checkpoint, plan: BuildPlan, writer: BundleWriter, bars: Bars) -> Manifest:
    with bars.bytes("hashing", plan.weights_bytes) as advance:
        files = writer.file_specs(advance)
    return Manifest(
        layout_version=LAYOUT_VERSION,
        semantics_version=SEMANTICS_VERSION,
        created_by=f"ovexport {ovexport.__version__}",
        source=checkpoint.name,
        source_revision=checkpoint.revision,
        source_sha256=checkpoint.sha256(),
        precision=plan.precision,
        model=plan.model,
        graphs=tuple(graph_spec(row, graph) for row, graph in plan.graphs),
        files=files,
    )
