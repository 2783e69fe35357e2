"""Prometheus metrics of one web worker, or of all of them together.

With several workers `prometheus_client` keeps the numbers in files of a shared directory (its multi-process mode,
switched on by the environment variable that `headwater.http.workers` sets before a worker starts).
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector  # type: ignore[no-untyped-call, unused-ignore]

_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)
_SERIES_REMEMBERED = 1000
SHARED = "PROMETHEUS_MULTIPROC_DIR"


def shared_file(name: str) -> Path | None:
    """A file that all workers of this gateway share; `None` where one process is the whole gateway."""
    return Path(os.environ[SHARED]) / name if SHARED in os.environ else None


class Metrics:
    """Requests by route, method and status, with their times."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "headwater_http_requests",
            "Requests answered, by route and status.",
            ("route", "method", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "headwater_http_request_seconds",
            "Time from a request's head to the end of its answer.",
            ("route",),
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def request(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        """Count a request. Routes are templates, never paths: labels stay few."""
        route = scope.get("path_template") or "-"
        key = (route, scope["method"], status)
        series = self._series.get(key)
        if series is None:
            method = scope["method"] if scope["method"] in ("GET", "POST", "PUT", "PATCH", "DELETE") else "other"
            series = self._requests.labels(route, method, str(status)), self._seconds.labels(route)
            if len(self._series) < _SERIES_REMEMBERED:
                self._series[key] = series
        series[0].inc()
        series[1].observe(seconds)

    def page(self, engine: dict[str, float]) -> tuple[bytes, str]:
        """The exposition format with its media type. `engine` holds the engine's own numbers by metric name."""
        if SHARED in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            registry = self._registry
        lines = [f"# TYPE {name} gauge\n{name} {value}\n" for name, value in engine.items()]
        return generate_latest(registry) + "".join(lines).encode(), CONTENT_TYPE_LATEST
