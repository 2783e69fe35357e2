"""The one place where this program looks at a clock that shows the time of day."""

from __future__ import annotations

import time


def wall_clock() -> int:
    """UTC milliseconds."""
    return time.time_ns() // 1_000_000
