"""The outcome of an evaluation as a table for people, as Markdown and as JSON.

Knows tallies; what they count is none of its business.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ovexport.evaluate.answerer import How
from ovexport.evaluate.ask import Column, Said
from ovexport.evaluate.question import Suite
from ovexport.evaluate.tally import Row, Tally

Line = tuple[str, ...]  # cells of a row


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """A suite, who was asked and how, and what came of it."""

    suite: Suite
    how: How
    columns: tuple[Column, ...]
    tally: Tally

    def as_json(self) -> dict[str, Any]:
        tally, names = self.tally, [column.name for column in self.columns]

        def row(row: Row) -> dict[str, Any]:
            shares = {name: dataclasses.asdict(share) for name, share in zip(names, row.shares, strict=True)}
            return {"n": row.num_questions, "chance": row.chance, "targets": shares}

        return {
            "suite": {"name": self.suite.name, "questions": tally.all.num_questions, **self.suite.settings},
            "max_tiles": self.how.max_tiles,
            "targets": {
                column.name: {**dataclasses.asdict(column.about), "ms_per_question": ms, "same_tokens": same}
                for column, ms, same in zip(self.columns, tally.ms_per_question, tally.same_tokens, strict=True)
            },
            "families": {each.name: row(each) for each in tally.families},
            "levels": {level: {each.name: row(each) for each in rows} for level, rows in tally.levels.items()},
            "all": row(tally.all),
            "left_out": [dataclasses.asdict(each) for each in tally.left_out],
        }

    def as_text(self) -> str:
        """Aligned columns; accuracies in per cent."""
        blocks = self._blocks()
        lines = [line for _, block in blocks for line in block]
        widths = [max(len(line[i]) for line in [self._header("family"), *lines]) for i in range(len(lines[0]))]
        shown = []
        for title, block in blocks:
            header = [_aligned(self._header(title), widths)] if title else []
            shown.append("\n".join([*header, *(_aligned(line, widths) for line in block)]))
        return "\n\n".join(shown)

    def as_markdown(self) -> str:
        tables = []
        for title, block in self._blocks():
            lines = [self._header(title), ("---", *["---:"] * (len(block[0]) - 1)), *block]
            tables.append("\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines))
        return f"{self._heading()}\n\n" + "\n\n".join(tables) + "\n"

    def answers(self) -> list[dict[str, Any]]:
        """Every question with what was expected and what was said."""
        return [
            {
                "id": question.id,
                "family": question.family,
                "prompt": question.prompt,
                "expected": list(question.answers),
                "said": {column.name: _as_said(column.answers[i]) for column in self.columns},
            }
            for i, question in enumerate(self.suite.questions)
        ]

    def _heading(self) -> str:
        tiles = "" if self.how.max_tiles is None else f", at most {self.how.max_tiles} tiles an image"
        return f"Accuracy in per cent on {self.tally.all.num_questions:,} questions of {self.suite.name}{tiles}."

    def _header(self, title: str) -> Line:
        return (title, "n", "chance", *(column.name for column in self.columns))

    def _blocks(self) -> list[tuple[str, list[Line]]]:
        tally = self.tally
        return [
            ("family", [_line(row) for row in (*tally.families, tally.all)]),
            *((level.replace("_", " "), [_line(row) for row in rows]) for level, rows in tally.levels.items()),
            ("", self._facts()),
        ]

    def _facts(self) -> list[Line]:
        tally = self.tally
        same = [(f"same tokens as {self.columns[0].name}", "", "", *map(_per_cent, tally.same_tokens))]
        pace = ("ms per question", "", "", *(f"{ms:.1f}" for ms in tally.ms_per_question))
        return [*(same if len(self.columns) > 1 else []), pace]


def _line(row: Row) -> Line:
    return (row.name, str(row.num_questions), _per_cent(row.chance), *(_per_cent(s.accuracy) for s in row.shares))


def _per_cent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _aligned(line: Line, widths: Sequence[int]) -> str:
    name, *numbers = (
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join([name, *numbers]).rstrip()


def _as_said(answer: Said | str) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"left_out": answer}
    return {"text": answer.text, "score": answer.score, "token_ids": list(answer.token_ids)}
