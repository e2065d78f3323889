"""What drafts by prompt look-up cost and save: `python -m benchmarks.lookup`.

Cost: a step over 1 + k tokens against a step over one, at the real 0.5B shape (it does not depend on what the weights
say). Saving: tokens a step for held-out questions to ov-tiny (it does). Drafts pay where the second is the larger.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.bundles import build
from benchmarks.shapes import random_checkpoint
from ovexport.evaluate.drawn import drawn_suite
from ovexport.train.drawn.kinds import KINDS
from ovrun.session import Session

DRAFTS = (1, 2, 4, 8)
PER_FAMILY = 8


def costs(bundle: Path, threads: int, context: int, rounds: int) -> dict[int, float]:
    """Draft length -> median ratio of interleaved steps."""
    engine = Session.open(bundle, "cpu", threads).engine
    cache = engine.new_cache(context + 64)
    ids = np.random.default_rng(0).integers(10, 900, (1, context))
    engine.decode(cache, ids, logits_index_BK=np.zeros((1, 0), np.int64))

    def step_ms(tokens: int) -> float:
        cache.rewind(0, context)
        started = time.perf_counter()
        engine.decode(cache, ids[:, :tokens], logits_index_BK=np.arange(tokens)[None])
        return (time.perf_counter() - started) * 1e3

    ratios: dict[int, list[float]] = {count: [] for count in DRAFTS}
    for _ in range(rounds):
        for count in DRAFTS:
            one = step_ms(1)
            ratios[count].append(2 * step_ms(1 + count) / (one + step_ms(1)))
    return {count: statistics.median(found) for count, found in ratios.items()}


def savings(bundle: Path, threads: int) -> dict[str, dict[int, float]]:
    """Family -> draft length -> tokens a step; of families whose answers are longer than two words."""
    suite = drawn_suite(KINDS, PER_FAMILY, seed=2)
    told: dict[str, dict[int, float]] = {}
    with Session.open(bundle, "cpu", threads) as session:
        for family in sorted({question.family for question in suite.questions}):
            asked = [question for question in suite.questions if question.family == family]
            found = {count: _tokens_a_step(session, asked, count) for count in DRAFTS}
            if max(found.values()) > 0:
                told[family] = found
    return told


def _tokens_a_step(session: Session, asked: Sequence[object], count: int) -> float:
    tokens = steps = 0
    for question in asked:
        made = session.question(
            prompt=question.prompt,  # type: ignore[attr-defined]
            images=list(question.images),  # type: ignore[attr-defined]
            video=question.video,  # type: ignore[attr-defined]
            max_new_tokens=64,
            prompt_lookup_num_tokens=count,
        )
        row, rows = session.row(made), session.rows()
        rows.add(row)
        list(rows.answers(row))
        if len(row.answer.token_ids) > 4:
            tokens += len(row.answer.token_ids) - 1  # the first one comes with the prompt
            steps += row.num_steps
    return tokens / steps if steps else 0.0


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lookup", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/bench"), help="for checkpoints and bundles")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, default=1000, help="tokens in the cache")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args(argv)
    args.folder.mkdir(parents=True, exist_ok=True)
    real = build(random_checkpoint("0.5b", args.folder), args.folder / "0.5b-int4", "int4")
    tiny = build(None, args.folder / "ov-tiny-int8", "int8")
    print("| | " + " | ".join(f"{count} drafted" for count in DRAFTS) + " |\n|---" * 1 + "|---" * len(DRAFTS) + "|")
    cost = costs(real, args.threads, args.context, args.rounds)
    print("| cost of a step, 0.5B int4 | " + " | ".join(f"{cost[count]:.2f}" for count in DRAFTS) + " |")
    for family, found in savings(tiny, args.threads).items():
        print(f"| tokens a step, {family} | " + " | ".join(f"{found[count]:.2f}" for count in DRAFTS) + " |")


if __name__ == "__main__":
    main()
