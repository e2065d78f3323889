"""How far a build is, as one share of the whole, from the nested phases that TensorRT reports; and how it is stopped.

The builder calls from threads of its own. Nothing is raised there: an exception would end the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

STEPS = 1000  # what the whole is told in
_POLL_S = 0.2


@dataclass
class _Phase:
    parent: str | None
    num_steps: int
    done: int = 0


class Phases:
    """The phases that are under way. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: dict[str, _Phase] = {}
        self._share = 0.0
        self._cancelled = False

    def start(self, name: str, parent: str | None, num_steps: int) -> None:
        with self._lock:
            self._active[name] = _Phase(parent=parent, num_steps=max(num_steps, 1))
            self._note(name)

    def step(self, name: str, step: int) -> bool:
        """Whether to go on."""
        with self._lock:
            if name in self._active:
                self._active[name].done = step + 1
                self._note(name)
            return not self._cancelled

    def finish(self, name: str) -> None:
        with self._lock:
            self._active.pop(name, None)

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True

    def done(self) -> int:
        """Of STEPS; never falls."""
        with self._lock:
            return int(STEPS * self._share)

    def _note(self, name: str) -> None:
        """A phase is a step of its parent, which is a step of its own parent, and so on."""
        share, at, seen = 0.0, name, set()
        while (phase := self._active.get(at)) and at not in seen:
            seen.add(at)
            share = min(1.0, (phase.done + share) / phase.num_steps)
            at = phase.parent or ""
        self._share = max(self._share, share)


def run_watched(work: Callable[[], Any], phases: Phases, tell: Callable[[int], None]) -> Any:
    """What `work` gives or raises, from a thread of its own: so the caller's gets Ctrl-C at once.

    `tell` is called in the caller's thread meanwhile. An interrupt cancels the phases, and is raised when work is over.
    """
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["result"] = work()
        except BaseException as err:
            outcome["error"] = err

    thread = threading.Thread(target=run, name="build")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_POLL_S)
            tell(phases.done())
    except BaseException:  # of the user, or of whoever is told
        phases.cancel()
        thread.join()
        raise
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]
