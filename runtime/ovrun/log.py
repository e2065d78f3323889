"""The runtime's one logger. Silent until a command line or an application asks for it, and always on stderr."""

from __future__ import annotations

import logging
import sys

logger = logging.getLogger("ovrun")
logger.addHandler(logging.NullHandler())

LEVELS = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what sys.stderr is at the time, so that redirecting it later is respected."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def show_log(verbosity: int) -> None:
    """Send the log to stderr: -1 errors, 0 warnings, 1 what is being done, 2 everything. Calling again changes it."""
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        handler = _StderrHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(LEVELS[max(-1, min(2, verbosity))])
