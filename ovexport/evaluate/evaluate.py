"""From targets and a suite to an evaluation, and its files: one target at a time, so that only one is in memory."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

from ovengines.errors import ExitCode, OVError
from ovexport.evaluate.answerer import How
from ovexport.evaluate.ask import Column, ask_all
from ovexport.evaluate.plots import write_plots
from ovexport.evaluate.question import Suite
from ovexport.evaluate.report import Evaluation
from ovexport.evaluate.tally import count
from ovexport.evaluate.targets import column_names, open_answerer
from ovexport.progress import Bars


def evaluate(targets: Sequence[str], suite: Suite, how: How, *, max_new_tokens: int, bars: Bars) -> Evaluation:
    """Ask every target every question. Raises OVError as `open_answerer`, `ask_all` and `count` do."""
    names = column_names(targets)
    total, done = len(targets) * len(suite.questions), itertools.count(1)
    with bars.steps("asking") as progress:

        def ask(target: str, name: str) -> Column:
            answerer = open_answerer(target, how)
            try:
                return ask_all(
                    name,
                    answerer,
                    suite.questions,
                    max_new_tokens=max_new_tokens,
                    on_answer=lambda: progress(name, next(done), total),
                )
            finally:
                answerer.close()

        columns = tuple(ask(target, name) for target, name in zip(targets, names, strict=True))
    return Evaluation(suite=suite, how=how, columns=columns, tally=count(suite, columns))


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """eval.json, eval.md, answers.jsonl and two plots. Raises OVError (BAD_INPUT) where nothing can be written."""
    lines = [json.dumps(answer, ensure_ascii=False) for answer in evaluation.answers()]
    files = {
        "eval.json": json.dumps(evaluation.as_json(), indent=1, ensure_ascii=False) + "\n",
        "eval.md": evaluation.as_markdown(),
        "answers.jsonl": "\n".join(lines) + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")
        write_plots(evaluation, folder)
    except OSError as err:
        raise OVError(
            ExitCode.BAD_INPUT, f"{folder} can't be written: {err.strerror or err}", "choose another folder with -o"
        ) from err
