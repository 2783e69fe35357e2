"""What is going on, for the live page: rates and latencies of the last minute, and the latest slates.

Kept beside the engine, in memory, bounded; seen by every web worker through the same door as the engine.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from typing import Any

from headwater.http.replies import SlateReply

_SECONDS = 60
_SLATES = 30
_SAMPLES = 2048
_SHOWN_SLOTS = 8


class Live:
    """Counts and samples of what the engine did lately. Safe to use from many threads."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._started = time.time()
        self._per_second: deque[tuple[int, Counter[str]]] = deque(maxlen=_SECONDS + 1)
        self._times: dict[str, deque[tuple[float, float]]] = {}
        self._slates: deque[tuple[int, float, float, SlateReply]] = deque(maxlen=_SLATES)
        self._number = 0
        self._totals: Counter[str] = Counter()
        self._variants: Counter[str] = Counter()

    def answered(self, verb: str, kind: str, seconds: float, reply: object) -> None:
        """A verb was answered. `seconds` of a write are from the call until it was durable and folded."""
        count = getattr(reply, "count", 1) if kind == "write" else 1
        now = time.time()
        with self._mutex:
            self._count(int(now), "written" if kind == "write" else kind, count)
            self._times.setdefault(verb, deque(maxlen=_SAMPLES)).append((now, seconds))
            if isinstance(reply, SlateReply) and reply.kind in ("recommend", "session", "rank"):
                self._number += 1
                if reply.variant is not None:
                    self._variants[reply.variant] += 1
                self._slates.appendleft((self._number, now, seconds, reply))

    def refused(self, verb: str) -> None:
        """A verb was refused: the caller's mistake, or the store's."""
        with self._mutex:
            self._count(int(time.time()), "refused", 1)

    def _count(self, second: int, what: str, count: int) -> None:
        if not self._per_second or self._per_second[-1][0] != second:
            self._per_second.append((second, Counter()))
        self._per_second[-1][1][what] += count
        self._totals[what] += count

    def variants(self) -> dict[str, int]:
        """Slates by `experiment/variant` since this server started."""
        with self._mutex:
            return dict(self._variants)

    def view(self) -> dict[str, Any]:
        """Plain data: `rates` per second over the last whole minute (oldest first), `latency` in ms, `slates`."""
        now = time.time()
        last = int(now) - 1
        with self._mutex:
            seconds = dict(self._per_second)
            times = {verb: [s for at, s in samples if at > now - _SECONDS] for verb, samples in self._times.items()}
            slates, totals = list(self._slates), dict(self._totals)
        window = range(last - _SECONDS + 1, last + 1)
        rates = {
            what: [seconds[s][what] if s in seconds else 0 for s in window]
            for what in ("written", "question", "refused")
        }
        latency = {verb: _quantiles(sample) for verb, sample in times.items() if sample}
        return {
            "since": int(self._started * 1000),
            "totals": totals,
            "rates": rates,
            "latency": latency,
            "slates": [_summary(*slate) for slate in slates],
        }


def _quantiles(seconds: list[float]) -> dict[str, float]:
    """p50, p90 and p99 in ms."""
    ordered = sorted(seconds)
    at = {
        name: ordered[min(len(ordered) - 1, int(len(ordered) * q))]
        for name, q in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))
    }
    return {"count": len(ordered), **{name: round(value * 1000, 3) for name, value in at.items()}}


def _summary(number: int, at: float, seconds: float, slate: SlateReply) -> dict[str, Any]:
    """What the live page shows of a slate."""
    return {
        "number": number,
        "ts": int(at * 1000),
        "ms": round(seconds * 1000, 3),
        "kind": slate.kind,
        "slate": slate.slate,
        "user": slate.user,
        "about": slate.about[:5],
        "fallback": slate.fallback,
        "degraded": slate.degraded,
        "items": [
            {"item": slot.item, "score": slot.score, "source": slot.source, "reason": slot.reason}
            for slot in slate.items[:_SHOWN_SLOTS]
        ],
        "more": max(0, len(slate.items) - _SHOWN_SLOTS),
    }
