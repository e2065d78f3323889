"""Held-out questions of the embedded model, in PyTorch and in a bundle of every precision: the README's table.

    python -m benchmarks.precisions --per-family 100

Exact match by family and by level of the taxonomy, and the share of answers that are PyTorch's token for token.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bundles import build
from ovexport.embedded import EMBEDDED_MODEL
from ovexport.evaluate.answerer import How
from ovexport.evaluate.drawn import drawn_suite
from ovexport.evaluate.evaluate import evaluate
from ovexport.evaluate.report import Evaluation
from ovexport.progress import Bars
from ovexport.train.drawn.kinds import KINDS

PRECISIONS = ("fp32", "fp16", "int8", "int4")
MAX_NEW_TOKENS = 128


def compare(bundles: Sequence[Path], *, per_family: int, seed: int = 0, threads: int | None = None) -> Evaluation:
    """The embedded model in PyTorch, then its bundles."""
    bars, how = Bars(), How(threads=threads)
    with bars.steps("drawing") as progress:
        suite = drawn_suite(KINDS, per_family, seed, progress)
    targets = [str(EMBEDDED_MODEL), *map(str, bundles)]
    evaluation = evaluate(targets, suite, how, max_new_tokens=MAX_NEW_TOKENS, bars=bars)
    first, *others = evaluation.columns
    return dataclasses.replace(evaluation, columns=(dataclasses.replace(first, name="PyTorch"), *others))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-family", type=int, default=100, metavar="N")
    parser.add_argument("--threads", type=int, metavar="N")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundles = [build(None, Path(folder) / precision, precision) for precision in PRECISIONS]
        evaluation = compare(bundles, per_family=args.per_family, threads=args.threads)
    print(evaluation.as_markdown(), end="")


if __name__ == "__main__":
    main()
