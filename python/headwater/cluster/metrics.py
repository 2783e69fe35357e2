"""What a host counts, for Prometheus, for heartbeats and for the NATS service statistics."""

from __future__ import annotations

from collections import Counter as Tally
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from headwater.cluster.answer_times import AnswerTimes
from headwater.core import VerbTimes


class HostMetrics:
    """The metrics of one host, in a registry of their own: a process may hold several hosts (tests do)."""

    def __init__(self, namespace: str, host: str) -> None:
        self.registry = CollectorRegistry()
        labels = {"namespace": namespace, "host": host}
        self._labels = list(labels.values())
        names = list(labels)

        def counter(name: str, about: str, *more: str) -> Counter:
            return Counter(name, about, [*names, *more], registry=self.registry)

        def gauge(name: str, about: str) -> Gauge:
            return Gauge(name, about, names, registry=self.registry)

        self._times = AnswerTimes(labels)
        self.registry.register(self._times)
        self._refusals = counter("headwater_refusals", "Requests refused, by error code", "verb", "code")
        self._degraded = counter("headwater_degraded_answers", "Answers without an item host's part", "left_out")
        self._outcomes = counter("headwater_events", "Events folded, by outcome", "outcome")
        self._written = counter("headwater_events_written", "Events this host wrote to the log")
        self._dead = counter("headwater_dead_letters", "Events or frames refused before they were written", "reason")
        self._gauges = {
            "position": gauge("headwater_position", "Log position that the state has reached"),
            "lag": gauge("headwater_lag_frames", "Log positions known to be there and not reached yet"),
            "memory": gauge("headwater_memory_bytes", "Resident memory of the process"),
            "snapshot_age": gauge("headwater_snapshot_age_seconds", "Age of the newest snapshot of this host's parts"),
            "pending": gauge("headwater_pending_requests", "Requests under way"),
            "queued": gauge("headwater_queued_bytes", "Frames that the log has not acknowledged yet"),
            "ready": gauge("headwater_ready", "1 when the host answers"),
        }
        self._children: dict[tuple[str, ...], Any] = {}
        self.refusals: Tally[str] = Tally()
        self.degraded = 0
        self.events_written = 0
        self.dead_letters: Tally[str] = Tally()

    def answered(self, verb: str, seconds: float) -> None:
        """A request was answered, with a refusal or not."""
        self._times.add(verb, seconds)

    def times(self, verb: str) -> VerbTimes:
        """Answers to a verb, for whoever counts them without Python."""
        return self._times.of(verb)

    def _child(self, metric: Counter, *name: str) -> Any:
        """A metric with its labels; looking it up by labels costs as much as a small answer."""
        child = self._children.get(name)
        if child is None:
            child = self._children[name] = metric.labels(*self._labels, *name[1:])
        return child

    def refused(self, verb: str, code: str) -> None:
        """A request was refused."""
        self.refusals[code] += 1
        self._refusals.labels(*self._labels, verb, code).inc()

    def left_out(self, host: str) -> None:
        """An answer went out without this item host's part."""
        self.degraded += 1
        self._degraded.labels(*self._labels, host).inc()

    def folded(self, outcomes: dict[str, int]) -> None:
        """Events were folded."""
        for outcome, count in outcomes.items():
            self._child(self._outcomes, "outcomes", outcome).inc(count)

    def wrote(self, events: int) -> None:
        """Events were written to the log."""
        self.events_written += events
        self._written.labels(*self._labels).inc(events)

    def dead_letter(self, reason: str, count: int = 1) -> None:
        """Events were refused before they were written."""
        self.dead_letters[reason] += count
        self._dead.labels(*self._labels, reason).inc(count)

    def set(self, **values: float) -> None:
        """Set gauges by name."""
        for name, value in values.items():
            self._gauges[name].labels(*self._labels).set(value)

    @property
    def answers(self) -> int:
        """Requests answered so far."""
        return self._times.count()

    def verb_stats(self, verb: str) -> dict[str, Any]:
        """Statistics of a verb, for the NATS service protocol."""
        count, seconds = self._times.count(verb), self._times.seconds(verb)
        return {"answered": count, "mean_ms": round(1000 * seconds / count, 3) if count else 0.0}

    def text(self) -> bytes:
        """The exposition format of Prometheus."""
        return generate_latest(self.registry)
