"""The one thread that runs the decoder: jobs come in from any thread, what they say goes out as it is said.

Everything that is waiting joins as soon as there is a free row (continuous batching). Knows nothing of HTTP.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from ovengines.errors import ExitCode, OVError
from ovrun.command import explain
from ovrun.decode.rows import Row, Rows
from ovrun.log import logger
from ovrun.question import Question
from ovrun.result import Result
from ovrun.session import Session

Said = str | Result | OVError  # a piece of the answer, then its end


class Job:
    """A question and whom to tell; `tell` is called in the worker's thread, last with a Result or an OVError.

    `is_cancelled` may be set at any time: the job is dropped before the next step, and is told nothing more.
    """

    def __init__(self, question: Question, tell: Callable[[Said], None]) -> None:
        self.question, self.tell = question, tell
        self.is_cancelled = False


class Worker:
    """Answers up to `slots` jobs together. `start` it once; `close` frees it."""

    def __init__(self, session: Session, slots: int) -> None:
        self._session, self._slots = session, slots
        self._rows: Rows | None = None
        self._running: dict[Row, Job] = {}
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="ovrun-decoder", daemon=True)

    @property
    def num_running(self) -> int:
        return len(self._running)

    def start(self) -> None:
        self._thread.start()

    def submit(self, job: Job) -> None:
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()

    def close(self, wait_s: float = 10.0) -> None:
        """Stop after the step that is running; jobs that are not done are told so."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def _run(self) -> None:
        while self._has_work():
            try:
                self._drop_cancelled()
                self._take_in()
                self._step()
            except BaseException as err:  # whatever happens to some requests, the next ones are answered
                self._fail(err)
        self._fail(OVError(ExitCode.INTERRUPTED, "the server is stopping"))

    def _has_work(self) -> bool:
        """Wait for some; False when it is time to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._running or self._is_closing)
            return not self._is_closing

    def _drop_cancelled(self) -> None:
        for row in [row for row, job in self._running.items() if job.is_cancelled]:
            del self._running[row]
            if self._rows is not None:
                self._rows.drop(row)

    def _take_in(self) -> None:
        if self._rows is None:
            self._rows = self._session.rows(self._slots)
        while self._rows.has_room and self._waiting:
            job = self._waiting.popleft()
            if job.is_cancelled:
                continue
            try:
                row = self._session.row(job.question)
            except Exception as err:
                job.tell(explain(err))
                continue
            self._running[row] = job
            self._rows.add(row)

    def _step(self) -> None:
        if self._rows is None or not self._running:
            return
        for row, piece in self._rows.step():
            job = self._running[row]
            if piece and not job.is_cancelled:
                job.tell(piece)
            if row.is_done:
                del self._running[row]
                job.tell(row.error or self._session.result(job.question, row))

    def _fail(self, err: BaseException) -> None:
        """Everything that was running fails with `err`, and a new cache is made for what comes next.

        If nothing was running, it is the cache itself that can't be made, and what waits for it fails too.
        """
        error = explain(err)
        if not isinstance(err, OVError):
            logger.error("the decoder failed: %s", error, exc_info=err)
        failed, self._running, self._rows = list(self._running.values()), {}, None
        nobody_left = self._is_closing or not failed
        while self._waiting and nobody_left:
            failed.append(self._waiting.popleft())
        for job in failed:
            job.tell(error)
