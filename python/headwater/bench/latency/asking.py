"""What every request of a run has in common, whatever the target."""

from __future__ import annotations

import msgspec

from headwater.bench.latency.population import Choice


class Asking(msgspec.Struct, kw_only=True):
    """`n` items a question, of a scenario and filter; `record`: whether slates are recorded (None: as the target does);
    `choice`, `exponent`, `strangers`: see `Population`."""

    n: int = 10
    scenario: str | None = None
    filter: str | None = None
    record: bool | None = None
    choice: Choice = "log"
    exponent: float = 1.0
    strangers: float = 0.05
