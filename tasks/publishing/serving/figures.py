"""What the server counts, in the form that Prometheus reads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tasks.publishing.serving.engine import Engine

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Figures:
    """The counters of one server; `engine` is looked at when they are read."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "hone_requests", "Requests by path and HTTP status.", ["path", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "hone_request_seconds", "From the request to its last byte.", ["path"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.first_seconds = Histogram(
            "hone_first_token_seconds", "From the request to the first text of its answer.",
            ["path"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.tokens = Counter(
            "hone_tokens", "Tokens by kind: prompt, completion.", ["kind"], registry=self.registry
        )
        self._add_gauges()

    def write(self) -> bytes:
        """Return all figures as text."""
        self._info.clear()
        served = self._engine.served
        self._info.labels(served.name, served.version, served.digest[:12]).set(1)
        return generate_latest(self.registry)

    def _add_gauges(self) -> None:
        engine, registry = self._engine, self.registry
        gauges = {
            "hone_answers_waiting": ("Answers that were not begun.", lambda: engine.num_waiting),
            "hone_answers_active": ("Answers that are being written.", lambda: engine.num_active),
            "hone_model_swaps": ("How often another model took over.", lambda: engine.num_swaps),
        }
        for name, (about, read) in gauges.items():
            Gauge(name, about, registry=registry).set_function(read)
        self._info = Gauge(
            "hone_model_info", "The model that answers.", ["model", "version", "digest"],
            registry=registry,
        )  # fmt: skip
