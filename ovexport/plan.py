"""What a build will do, before it does it: files with their sizes, and the memory and disk that it needs.

The graphs are built as promises (no weight is read), so that sizes are exact and a plan takes a second.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ovengines.bundle.manifest import ModelSpec
from ovengines.errors import ExitCode, OVError
from ovexport.checkpoint import Checkpoint
from ovexport.graphs.builder import GraphBuilder
from ovexport.graphs.table import GraphRow, build_graph, rows_for
from ovexport.graphs.trt_support import check_parsers
from ovexport.model.config import OneVisionConfig
from ovexport.precision.policy import Policy, policy_for

IMPORTS_BYTES = 600 << 20  # torch, onnx and onnxruntime themselves, measured
HEAD_DIM_STEP = 16  # of GroupQueryAttention
SMALL_FILES_BYTES = 32 << 20  # tokenizer, reference outputs, reports
TARGETS = {"ort": ("ort",), "tensorrt": ("trt",), "all": ("ort", "trt")}  # of --target, as the manifest names them
PARTS = ("vision", "projector", "decoder", "table")


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """Everything decided before the first weight is read."""

    name: str
    precision: str
    policies: Mapping[str, Policy]  # by target
    model: ModelSpec
    graphs: tuple[tuple[GraphRow, GraphBuilder], ...]
    source_bytes: int
    peak_memory_bytes: int

    @property
    def weights_bytes(self) -> int:
        return sum(size for _, size in self.file_sizes())

    def file_sizes(self) -> list[tuple[str, int]]:
        """Bytes of weights by graph file; a graph that shares another's has none of its own."""
        return [(row.file, 0 if row.weights_in else graph.weights_bytes) for row, graph in self.graphs]

    def as_json(self) -> dict[str, object]:
        return {
            "model": self.name,
            "precision": self.precision,
            "targets": {
                target: {
                    "why": policy.why,
                    "weights": {part: getattr(policy, part) for part in PARTS},
                    "activations": policy.activations,
                }
                for target, policy in self.policies.items()
            },
            "files_bytes": dict(self.file_sizes()),
            "source_bytes": self.source_bytes,
            "disk_bytes": self.weights_bytes + SMALL_FILES_BYTES,
            "peak_memory_bytes": self.peak_memory_bytes,
        }


def policies_for(precision: str, target: str) -> dict[str, Policy]:
    """What a precision means for each of the targets that `--target` names. Raises OVError (USAGE)."""
    return {name: policy_for(precision, name) for name in TARGETS[target]}


def plan_build(checkpoint: Checkpoint, precision: str, target: str) -> BuildPlan:
    """Decide graphs and sizes.

    Raises:
        OVError: USAGE for a precision that a target doesn't have; BAD_INPUT for a model that ONNX Runtime can't run;
            UNEXPECTED, naming node, operator and reason, for a graph that a TensorRT parser would refuse.
    """
    policies = policies_for(precision, target)
    if "ort" in policies:
        _check_head_dim(checkpoint.config.language.head_dim)
    graphs = tuple(
        (row, build_graph(row, checkpoint.config, policy, checkpoint.tensor))
        for name, policy in policies.items()
        for row in rows_for(name, policy)
    )
    for row, graph in graphs:
        if row.target == "trt":
            check_parsers(graph.model_with_weights(), row.file)
    largest_graph = max(graph.weights_bytes for _, graph in graphs)
    return BuildPlan(
        name=checkpoint.name,
        precision=precision,
        policies=policies,
        model=model_spec(checkpoint.name, checkpoint.config),
        graphs=graphs,
        source_bytes=checkpoint.tensor_bytes,
        # Either the mapped checkpoint with one part's reference running over it, or one graph in its engine.
        peak_memory_bytes=IMPORTS_BYTES + max(checkpoint.tensor_bytes * 5 // 4, largest_graph * 5 // 4),
    )


def _check_head_dim(head_dim: int) -> None:
    if head_dim % HEAD_DIM_STEP:
        raise OVError(
            ExitCode.BAD_INPUT,
            f"attention heads are {head_dim} wide, and ONNX Runtime takes multiples of {HEAD_DIM_STEP}",
            "the published checkpoints have 64 or 128",
        )


def model_spec(name: str, config: OneVisionConfig) -> ModelSpec:
    language = config.language
    return ModelSpec(
        name=name,
        vision_hidden=config.vision.hidden,
        hidden=language.hidden,
        vocab_size=language.vocab_size,
        num_layers=language.num_layers,
        num_heads=language.num_heads,
        num_kv_heads=language.num_kv_heads,
        head_dim=language.head_dim,
        max_positions=language.max_positions,
        image_token_id=config.image_token_id,
        video_token_id=config.video_token_id,
        pad_token_id=config.pad_token_id,
        eos_token_ids=config.eos_token_ids,
        geometry=config.geometry,
    )


def check_disk(plan: BuildPlan, target: Path) -> None:
    """Raise OVError (LIMIT_EXCEEDED) if the bundle will not fit where it is to go."""
    folder = next(p for p in (target, *target.parents) if p.exists())
    free, needed = shutil.disk_usage(folder).free, plan.weights_bytes + SMALL_FILES_BYTES
    if free < needed:
        raise OVError(
            ExitCode.LIMIT_EXCEEDED,
            f"the bundle needs {needed / 1e9:.2f} GB, and the disk of {folder} has {free / 1e9:.2f} GB left",
            "free some space, choose another disk with -o, or a smaller precision",
        )


def describe(plan: BuildPlan) -> str:
    """The plan as lines for a person."""
    rows = [f"  {name:<22} {size / 1e6:10.2f} MB" for name, size in plan.file_sizes() if size]
    return "\n".join(
        [
            f"{plan.name} in {plan.precision}",
            *(_describe_policy(target, policy) for target, policy in plan.policies.items()),
            *rows,
            f"  {'source weights':<22} {plan.source_bytes / 1e6:10.2f} MB",
            f"  {'disk needed':<22} {(plan.weights_bytes + SMALL_FILES_BYTES) / 1e6:10.2f} MB, reports included",
            f"  {'peak memory, about':<22} {plan.peak_memory_bytes / 1e6:10.2f} MB",
        ]
    )


def _describe_policy(target: str, policy: Policy) -> str:
    weights = ", ".join(f"{part} {getattr(policy, part)}" for part in PARTS)
    return f"{target}: {policy.why}\n     activations {policy.activations}; weights: {weights}"
