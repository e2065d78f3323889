"""What a decoder says of the next token: all logits, and what a greedy answer needs of them.

From a GPU a greedy answer then copies eight bytes a token, and not the vocabulary. On a CPU nothing is copied, and ONNX
Runtime would compute them whether they are asked for or not, so graphs for CPUs give logits alone (docs/log.md).
"""

from __future__ import annotations

from ovexport.graphs.builder import ONNX_TYPES, GraphBuilder


def declare_logits(b: GraphBuilder, logits_BKV: str, vocab: int) -> None:
    """Outputs `logits [B, K, V]`, `greedy_ids [B, K]`, and `logits_sum [B, K]`, finite only if all logits are: which
    token an engine takes for the largest when some are NaN is nobody's promise."""
    b.output(logits_BKV, "logits", "float32", ["batch", "rows", vocab])
    best_BK = b.op("ArgMax", ["logits"], axis=-1, keepdims=0)  # int64 on paper, int32 in some TensorRTs: cast says
    b.output(b.op("Cast", [best_BK], to=ONNX_TYPES["int32"]), "greedy_ids", "int32", ["batch", "rows"])
    sum_BK = b.op("ReduceSum", ["logits", b.const([-1])], keepdims=0)
    b.output(sum_BK, "logits_sum", "float32", ["batch", "rows"])
