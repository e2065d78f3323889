"""What a server counts, in the format of Prometheus. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from ovrun.result import Result

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """A registry of its own, so that several servers in one process do not count together."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # Of Linux only; elsewhere it adds nothing.
        ProcessCollector(registry=self.registry)
        self._responses = Counter("ovrun_http_responses", "Responses by status.", ["status"], registry=self.registry)
        self._answers = Counter(
            "ovrun_answers",
            "Answers by how they ended: stop, length, error, timeout or cancelled.",
            ["outcome"],
            registry=self.registry,
        )
        self._tokens = Counter(
            "ovrun_tokens",
            "Tokens of whole answers: prompt (all of it), image (of it), reused (of it, kept from another), answer.",
            ["kind"],
            registry=self.registry,
        )
        self._answer_s = Histogram(
            "ovrun_answer_seconds", "From admission to the end.", buckets=_SECONDS, registry=self.registry
        )
        self._first_token_s = Histogram(
            "ovrun_first_token_seconds", "Media to first token.", buckets=_SECONDS, registry=self.registry
        )

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A gauge that is read when somebody asks."""
        Gauge(name, about, registry=self.registry).set_function(value)

    def count_response(self, status: int) -> None:
        self._responses.labels(str(status)).inc()

    def count_end(self, outcome: str, spent_s: float, result: Result | None) -> None:
        self._answers.labels(outcome).inc()
        self._answer_s.observe(spent_s)
        if result is None:
            return
        self._first_token_s.observe(result.timings_ms["first_token"] / 1e3)
        for kind, count in (
            ("prompt", result.prompt_tokens),
            ("image", result.image_tokens),
            ("reused", result.reused_tokens),
            ("answer", result.completion_tokens),
        ):
            self._tokens.labels(kind).inc(count)

    def text(self) -> bytes:
        return generate_latest(self.registry)
