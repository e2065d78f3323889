"""`ovrun batch`: asks what has no answer yet, and writes each answer as soon as it is there."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovengines.errors import ExitCode, OVError
from ovrun.commands.flags import (
    add_decoding,
    add_machine,
    add_model,
    add_output,
    add_seeing,
    given,
    open_session,
)
from ovrun.terminal import Terminal

if TYPE_CHECKING:
    from ovrun.commands.batch.journal import Journal
    from ovrun.commands.batch.requests import Request
    from ovrun.result import Result

    Answers = Iterable[tuple[Request, Result | OVError]]

SUMMARY = "ask about many images: a line of JSON per answer, a stopped run goes on"
USAGE = "ovrun batch (DIR|IMAGE... | --requests IN.jsonl) [-p PROMPT]... [--jsonl OUT.jsonl] [options]"
BAR = 20  # characters


def arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("images", nargs="*", metavar="DIR|IMAGE", help="images, and folders with images below them")
    add("--requests", metavar="IN.jsonl", help="instead: questions, one object a line; - is stdin")
    add("-p", "--prompt", action="append", metavar="TEXT", help="the question; repeatable: each image gets all")
    add("--jsonl", type=Path, metavar="OUT.jsonl", help="for the answers (default: stdout); goes on with it")
    add("--retry-errors", action="store_true", help="ask again what has an error there")
    add("--ordered", action="store_true", help="lines in the order of the questions")
    add("--slots", type=int, metavar="N", help="answers that are decoded together (default: 4)")
    add_model(parser)
    add_seeing(parser)
    add_decoding(parser)
    add_machine(parser)
    add_output(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> None:
    """Raises OVError: BAD_INPUT at the end where some have no answer, INTERRUPTED for Ctrl-C."""
    from ovrun.commands.batch.journal import open_journal

    if args.slots is not None and args.slots < 1:
        raise OVError(ExitCode.USAGE, f"--slots is {args.slots}", "give a whole number of at least 1")
    requests = _requests(args)
    with open_journal(args.jsonl, requests, retry_errors=args.retry_errors) as journal:
        known = journal.answered | journal.failed
        waiting = [request for request in requests if request.id not in known]
        started_s = time.monotonic()
        try:
            if waiting:
                _ask(args, waiting, journal, _Bar(terminal, before=len(known), total=len(requests)))
        except KeyboardInterrupt as err:
            hint = f"run the same command again to go on: {args.jsonl} keeps what is there" if args.jsonl else ""
            raise OVError(ExitCode.INTERRUPTED, "interrupted", hint) from err
        if args.stats:
            terminal.write(f"{len(waiting):,} asked in {time.monotonic() - started_s:.1f} s, {len(known):,} before\n")
        if journal.failed:
            hint = "their lines say why" + ("; --retry-errors asks them again" if args.jsonl else "")
            raise OVError(ExitCode.BAD_INPUT, f"{len(journal.failed):,} of {len(requests):,} have no answer", hint)


def _requests(args: argparse.Namespace) -> list[Request]:
    from ovrun.ask import split_options
    from ovrun.commands.batch.requests import file_requests, image_requests
    from ovrun.session import DEFAULT_PROMPT

    if bool(args.images) == (args.requests is not None):
        wrong = "images and --requests are both given" if args.images else "no image given"
        raise OVError(ExitCode.USAGE, wrong, "try: ovrun batch DIR   or: ovrun batch --requests IN.jsonl")
    prompts = args.prompt or [DEFAULT_PROMPT]
    options = {**given(args), **({} if args.system is None else {"system": args.system})}
    split_options(given(args))  # what is wrong with them is wrong with the command
    if args.requests is None:
        return image_requests(args.images, prompts, options)
    if len(prompts) > 1:
        raise OVError(ExitCode.USAGE, "several -p with --requests", "give one, for requests without a prompt")
    return file_requests(args.requests, {"prompt": prompts[0], **options})


def _ask(args: argparse.Namespace, requests: Sequence[Request], journal: Journal, bar: _Bar) -> None:
    from ovrun.session import DEFAULT_SLOTS

    with open_session(args, bar.terminal) as session:
        bar.show()
        outcomes = session.batch((request.arguments for request in requests), args.slots or DEFAULT_SLOTS)
        answers: Answers = ((requests[number], outcome) for number, outcome in bar.counting(outcomes))
        for request, outcome in _in_order(answers, requests) if args.ordered else answers:
            bar.terminal.clear()
            journal.write({**request.about, **_said(outcome)})
            bar.show()


def _in_order(answers: Answers, requests: Sequence[Request]) -> Answers:
    """Each answer after those of all earlier requests."""
    early: dict[str, Result | OVError] = {}
    number = 0
    for request, outcome in answers:
        early[request.id] = outcome
        while number < len(requests) and requests[number].id in early:
            yield requests[number], early.pop(requests[number].id)
            number += 1


def _said(outcome: Result | OVError) -> dict[str, Any]:
    """What the line of a request says of its answer."""
    if isinstance(outcome, OVError):
        return {"error": {"code": int(outcome.code), "message": outcome.message, "hint": outcome.hint}}
    fields = ("text", "finish_reason", "prompt_tokens", "completion_tokens")
    return {field: getattr(outcome, field) for field in fields}


class _Bar:
    """How many answers there are, how fast they come, and how long the others will take."""

    def __init__(self, terminal: Terminal, *, before: int, total: int) -> None:
        self.terminal = terminal
        self._before, self._total, self._num_done = before, total, 0
        self._started_s = time.monotonic()

    def counting(self, outcomes: Iterable[tuple[int, Result | OVError]]) -> Iterator[tuple[int, Result | OVError]]:
        """Counts what passes through."""
        self._started_s = time.monotonic()
        for outcome in outcomes:
            self._num_done += 1
            yield outcome

    def show(self) -> None:
        done = self._before + self._num_done
        filled = BAR * done // self._total
        told = f"[{'#' * filled}{'.' * (BAR - filled)}] {done:,}/{self._total:,} answers"
        if self._num_done:
            per_s = self._num_done / max(time.monotonic() - self._started_s, 1e-9)
            left_s = round((self._total - done) / per_s)
            told += f", {per_s:.2g}/s, {left_s // 60}:{left_s % 60:02} left"
        self.terminal.progress(told, done, self._total)
