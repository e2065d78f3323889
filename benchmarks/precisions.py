"""Held-out scenes of the embedded model, in every precision: exact match, and answers token for token as in fp32.

python -m benchmarks.precisions --scenes 1000
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bundles import build
from ovexport.train.heldout import HeldOutSample, heldout_samples, is_right
from ovrun.session import Session

PRECISIONS = ("fp32", "fp16", "int8", "int4")
MAX_NEW_TOKENS = 80


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a bundle said to each sample: token ids, and whether the text was right."""

    token_ids: tuple[tuple[int, ...], ...]
    right: tuple[bool, ...]

    @property
    def accuracy(self) -> float:
        return sum(self.right) / len(self.right)

    def same_tokens(self, other: Answers) -> float:
        """Share of samples whose tokens are all equal."""
        pairs = zip(self.token_ids, other.token_ids, strict=True)
        return sum(a == b for a, b in pairs) / len(self.token_ids)


def ask(bundle: Path, samples: list[HeldOutSample], *, threads: int | None = None) -> Answers:
    """Greedy answers of a bundle to all samples."""
    with Session.open(bundle, device="cpu", threads=threads) as session:
        results = [
            session.generate(prompt=s.question, images=[s.image], max_new_tokens=MAX_NEW_TOKENS) for s in samples
        ]
    return Answers(
        token_ids=tuple(result.token_ids for result in results),
        right=tuple(is_right(result.text, s.answer) for result, s in zip(results, samples, strict=True)),
    )


def table(answers: dict[str, Answers], samples: list[HeldOutSample]) -> str:
    """Markdown: a row per precision, a column per family of questions."""
    families = list(dict.fromkeys(sample.family for sample in samples))
    lines = [f"| | {' | '.join(families)} | all | tokens as fp32 |", "|---" * (len(families) + 3) + "|"]
    for precision, said in answers.items():
        cells = []
        for family in families:
            hits = [hit for hit, sample in zip(said.right, samples, strict=True) if sample.family == family]
            cells.append(f"{100 * sum(hits) / len(hits):.1f}")
        same = 100 * said.same_tokens(answers["fp32"])
        lines.append(f"| {precision} | {' | '.join(cells)} | {100 * said.accuracy:.1f} | {same:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=1000)
    args = parser.parse_args()
    samples = list(heldout_samples(args.scenes))
    answers = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in PRECISIONS:
            answers[precision] = ask(build(None, Path(folder) / precision, precision), samples)
    print(table(answers, samples))


if __name__ == "__main__":
    main()
