"""How many requests were answered, and how quickly, by verb.

Counted with every answer, read once in a while: `prometheus_client`'s own counters take a lock for each of three
numbers and go through the buckets one by one, a fortieth of what an item host does for a question. These are plain
numbers, which answers given without Python add to as well, put into that library's form when they are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from headwater.core import VerbTimes

_BOUNDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class AnswerTimes(Collector):
    """`headwater_requests_total` and `headwater_latency_seconds` of one host."""

    def __init__(self, labels: dict[str, str]) -> None:
        self._names, self._values = [*labels, "verb"], list(labels.values())
        self._verbs: dict[str, VerbTimes] = {}

    def add(self, verb: str, seconds: float) -> None:
        """One more answer, with a refusal or not."""
        self.of(verb).add(seconds)

    def of(self, verb: str) -> VerbTimes:
        """Those of one verb."""
        times = self._verbs.get(verb)
        if times is None:
            times = self._verbs[verb] = VerbTimes(_BOUNDS)
        return times

    def count(self, verb: str | None = None) -> int:
        """Answers to a verb; to all of them."""
        verbs: Sequence[str] = list(self._verbs) if verb is None else [verb]
        return sum(sum(self._verbs[each].by_bound) for each in verbs if each in self._verbs)

    def seconds(self, verb: str) -> float:
        """Seconds of all answers to a verb."""
        of_verb = self._verbs.get(verb)
        return 0.0 if of_verb is None else of_verb.seconds

    def collect(self) -> Iterator[Metric]:
        """In the form of `prometheus_client`."""
        requests = CounterMetricFamily("headwater_requests", "Requests answered, refusals included", labels=self._names)
        latency = HistogramMetricFamily(
            "headwater_latency_seconds", "Time from a request's arrival to its answer", labels=self._names
        )
        bounds = [*map(str, _BOUNDS), "+Inf"]
        for verb, of_verb in list(self._verbs.items()):
            labels, up_to = [*self._values, verb], list(accumulate(of_verb.by_bound))
            requests.add_metric(labels, up_to[-1])
            latency.add_metric(labels, list(zip(bounds, up_to, strict=True)), of_verb.seconds)
        yield requests
        yield latency
