"""A token bucket: so many per second, with bursts of one second."""

from __future__ import annotations

import math
import time


class TokenBucket:
    """`rate` tokens a second; 0: no limit. Not thread-safe."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._tokens = float(rate)
        self._filled = time.monotonic()

    def take(self, count: int) -> bool:
        """Take tokens if there are enough. More than a bucket holds are given when it is full, and owed."""
        if not self._rate:
            return True
        now = time.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < min(count, self._rate):
            return False
        self._tokens -= count
        return True

    def wait_ms(self, count: int) -> int:
        """How long until `count` tokens are there."""
        missing = min(count, self._rate) - self._tokens
        return max(1, math.ceil(1000 * missing / self._rate)) if self._rate else 0
