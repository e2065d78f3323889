"""What each `--precision` means: the type of activations, and how the weights of each part are stored.

A table, with the reason for each row; nothing else in the exporter asks what a precision is called.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovengines.errors import ExitCode, OVError


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Weight forms are rows of the emitter's table: dense (in the activations' type), int8 or int4 blocks."""

    activations: str
    vision: str
    projector: str
    decoder: str
    table: str  # the embedding, and with it a tied head
    targets: tuple[str, ...]
    why: str


PRECISIONS = {
    "fp32": Policy(
        activations="float32",
        vision="dense",
        projector="dense",
        decoder="dense",
        table="dense",
        targets=("ort",),
        why="the reference: every number as PyTorch has it",
    ),
    "fp16": Policy(
        activations="float16",
        vision="dense",
        projector="dense",
        decoder="dense",
        table="dense",
        targets=("ort",),
        why="half the size; for GPUs. On a CPU it runs correctly, at fp32's speed and memory",
    ),
    "bf16": Policy(
        activations="bfloat16",
        vision="dense",
        projector="dense",
        decoder="dense",
        table="dense",
        targets=(),
        why="ONNX Runtime's CPU kernels cover no bfloat16 MatMul, so the build could not be verified or run there",
    ),
    "int8": Policy(
        activations="float32",
        vision="int8",
        projector="int8",
        decoder="int8",
        table="int8",
        targets=("ort",),
        why="8-bit blocks of 32 cost half a percent of a matrix's product; the default on a CPU",
    ),
    "int4": Policy(
        activations="float32",
        vision="int8",
        projector="int8",
        decoder="int4",
        table="int8",
        targets=("ort",),
        why="4-bit blocks where the bytes are read once per token; tower, projector and the table stay at 8 bits, "
        "because a wrong feature or a wrong logit is paid for in every answer",
    ),
}


def policy_for(precision: str, target: str) -> Policy:
    """The row for a precision on a target. Raises OVError (USAGE) with the reason where there is none."""
    if precision not in PRECISIONS:
        raise OVError(ExitCode.USAGE, f"unknown precision {precision!r}", f"one of: {', '.join(PRECISIONS)}")
    policy = PRECISIONS[precision]
    if target not in policy.targets:
        raise OVError(
            ExitCode.USAGE,
            f"precision {precision} is not available for target {target}: {policy.why}",
            f"for {target}: {', '.join(p for p, row in PRECISIONS.items() if target in row.targets) or 'none'}",
        )
    return policy
