"""Answers are counted as `prometheus_client` counts them, number for number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from headwater.cluster.answer_times import _BOUNDS, AnswerTimes
from headwater.cluster.metrics import HostMetrics

LABELS = {"namespace": "n", "host": "s0"}
SECONDS = st.sampled_from(_BOUNDS) | st.floats(0, 5)


@given(st.lists(st.tuples(st.sampled_from(["recommend", "track"]), SECONDS), max_size=40))
def test_the_page_is_that_of_the_library(answers: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    times = AnswerTimes(LABELS)
    ours.register(times)
    names = [*LABELS, "verb"]
    requests = Counter("headwater_requests", "Requests answered, refusals included", names, registry=theirs)
    latency = Histogram(
        "headwater_latency_seconds",
        "Time from a request's arrival to its answer",
        names,
        buckets=_BOUNDS,
        registry=theirs,
    )
    for verb, seconds in answers:
        times.add(verb, seconds)
        requests.labels(*LABELS.values(), verb).inc()
        latency.labels(*LABELS.values(), verb).observe(seconds)

    def lines(registry: CollectorRegistry) -> list[str]:
        page = generate_latest(registry).decode().splitlines()
        return sorted(line for line in page if "_created" not in line)

    assert lines(ours) == lines(theirs)


def test_a_host_tells_of_its_verbs() -> None:
    metrics = HostMetrics("n", "s0")
    assert metrics.verb_stats("recommend") == {"answered": 0, "mean_ms": 0.0}
    metrics.answered("recommend", 0.002)
    metrics.answered("recommend", 0.004)
    metrics.answered("track", 1.0)
    assert metrics.verb_stats("recommend") == {"answered": 2, "mean_ms": 3.0}
    assert metrics.answers == 3
    assert b'headwater_requests_total{host="s0",namespace="n",verb="track"} 1.0' in metrics.text()
