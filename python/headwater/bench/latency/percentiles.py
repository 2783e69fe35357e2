"""Percentiles of latencies by HdrHistogram, none of which is better than what happened.

* Requests that failed, were refused or never ended count as slower than every answer: a percentile that falls among
  them is not given.
* A percentile of q needs `LEAST_BEYOND` samples beyond it, 1,000 for p99: with fewer it is one request's luck.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from headwater.errors import HeadwaterError

LEAST_BEYOND = 10
ASKED = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
_LOWEST_NS, _HIGHEST_NS, _FIGURES = 100, 600_000_000_000, 3


class Latencies(msgspec.Struct, kw_only=True):
    """Percentiles in milliseconds of `count` requests, of which `failed` have no answer.

    A percentile that is not given is None, and `refused` says why. `histogram` is an HdrHistogram (V2, compressed,
    base64) of the answers in nanoseconds, so that runs can be added up.
    """

    count: int
    failed: int
    ms: dict[str, float | None]
    max_ms: float | None
    mean_ms: float | None
    refused: dict[str, str]
    histogram: str


def latencies(nanoseconds: Iterable[int], failed: int = 0) -> Latencies:
    """Percentiles of answered requests' latencies and of `failed` ones without an answer.

    Raises `HeadwaterError` where HdrHistogram is not installed.
    """
    histogram = _histogram()
    for value in nanoseconds:
        histogram.record_value(min(max(value, _LOWEST_NS), _HIGHEST_NS))
    answered = histogram.get_total_count()
    count = answered + failed
    ms: dict[str, float | None] = {}
    refused = {}
    for name, share in ASKED.items():
        needed = math.ceil(LEAST_BEYOND / (1 - share) - 1e-6)
        rank = math.ceil(share * count)
        if count < needed:
            refused[name] = f"{count:,} requests, {needed:,} needed: measure longer"
        elif rank > answered:
            refused[name] = f"{failed:,} of {count:,} requests have no answer"
        ms[name] = None if name in refused else _ms(histogram.get_value_at_percentile(100 * rank / answered))
    return Latencies(
        count=count,
        failed=failed,
        ms=ms,
        max_ms=_ms(histogram.get_max_value()) if answered and not failed else None,
        mean_ms=_ms(histogram.get_mean_value()) if answered else None,
        refused=refused,
        histogram=histogram.encode().decode(),
    )


def _ms(nanoseconds: float) -> float:
    return round(nanoseconds / 1e6, 4)


def _histogram() -> Any:
    try:
        from hdrh.histogram import HdrHistogram
    except ImportError as err:
        raise HeadwaterError("latencies need HdrHistogram: pip install 'headwater[latency]'") from err
    return HdrHistogram(_LOWEST_NS, _HIGHEST_NS, _FIGURES)
