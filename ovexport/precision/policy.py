"""What each `--precision` means: the type of activations, and how the weights of each part are stored.

A table per target, with the reason for each row; nothing else in the exporter asks what a precision is called.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovengines.errors import ExitCode, OVError
from ovexport.precision.blocks import BlockForm

BLOCK_FORMS = {
    # Activations are rounded by the same blocks, so small ones where they have outliers.
    "int8/32": BlockForm(bits=8, block_size=32),
    # A table's scales are read with it for each token; what comes to the head is normed.
    "int8/128": BlockForm(bits=8, block_size=128),
    # Products over many rows 1.3 times as fast as in blocks of 32, at the error of plain rounding in 32 (adr/0007).
    "int4/128+zero": BlockForm(bits=4, block_size=128, zero_points=True),
    # What TensorRT's parser takes: no padding, no zero points.
    "int4/128": BlockForm(bits=4, block_size=128, least_block_size=64, pads=False),
}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Weight forms are "dense" (in the activations' type) or rows of BLOCK_FORMS."""

    activations: str
    vision: str
    projector: str
    decoder: str
    table: str  # the embedding, and with it a tied head
    why: str


def _dense(activations: str, why: str) -> Policy:
    return Policy(activations=activations, vision="dense", projector="dense", decoder="dense", table="dense", why=why)


PRECISIONS = {
    "ort": {
        "fp32": _dense("float32", "the reference: every number as PyTorch has it"),
        "fp16": _dense("float16", "half the size; for GPUs. On a CPU it runs correctly, at fp32's speed and memory"),
        "bf16": _dense("bfloat16", "float32's range where float16's 65,504 is not enough; for GPUs, Ampere and newer"),
        "int8": Policy(
            activations="float32",
            vision="int8/32",
            projector="int8/32",
            decoder="int8/32",
            table="int8/128",
            why="8-bit blocks of 32 cost half a percent of a matrix's product; the default on a CPU",
        ),
        "int4": Policy(
            activations="float32",
            vision="int8/32",
            projector="int8/32",
            decoder="int4/128+zero",
            table="int8/128",
            why="4-bit blocks of 128 where the bytes are read once per token; tower, projector and the table stay at "
            "8 bits, because a wrong feature or a wrong logit is paid for in every answer",
        ),
    },
    "trt": {
        "fp32": _dense("float32", "the reference: slow on a GPU, to look for the cause of a difference"),
        "fp16": _dense("float16", "norms, softmax and the residual stream stay in float32"),
        "bf16": _dense("bfloat16", "float32's range where float16's 65,504 is not enough; Ampere and newer"),
        "int4": Policy(
            activations="float16",
            vision="dense",
            projector="dense",
            decoder="int4/128",
            table="dense",
            why="4-bit blocks of 128 in the decoder's matrices, the rest in float16",
        ),
    },
}
REFUSED = {
    ("trt", "int8"): "TensorRT has no 8-bit weights without 8-bit activations, which need calibration data",
}
NAMES = ("fp32", "fp16", "bf16", "int8", "int4")


def policy_for(precision: str, target: str) -> Policy:
    """The row for a precision on a target. Raises OVError (USAGE) with the reason where there is none."""
    if precision not in NAMES:
        raise OVError(ExitCode.USAGE, f"unknown precision {precision!r}", f"one of: {', '.join(NAMES)}")
    if policy := PRECISIONS[target].get(precision):
        return policy
    raise OVError(
        ExitCode.USAGE,
        f"precision {precision} is not available for target {target}: {REFUSED[target, precision]}",
        f"for {target}: {', '.join(PRECISIONS[target])}",
    )
