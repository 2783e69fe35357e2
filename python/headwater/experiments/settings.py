"""What a report counts as a click, an order and revenue, and how it credits slates: stated once, shown in every
report."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from headwater.config import TYPE_SPEC, FoldConfig
from headwater.errors import InvalidInput

Match = Literal["item", "any"]

_RANGES: dict[str, tuple[float, float]] = {
    "window_hours": (0.01, 24.0 * 366),
    "view_hours": (0.0, 24.0 * 366),
    "outcome_days": (0.01, 366.0),
    "before_days": (0.0, 366.0),
    "retention_days": (1.01, 366.0),
    "confidence": (0.5, 0.9999),
    "resamples": (100, 100_000),
    "planned_users": (100, 1e9),
    "burn_in": (10, 1e9),
}


class ReportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Rules of a report. Raises `InvalidInput` for a value out of range.

    *Click*: feedback that names a slate and one of its slots' items, by the person whose slate it is, at most
    `window_hours` after it; of the `clicks` types, or of any but `ignored` ones (exposure and rejection). *Order*:
    the purchases (`conversions`) of one basket, or a single purchase without one. *Revenue*: the purchases' `value`,
    or with `price_label` that label of the item, as it was put last before the purchase.

    *Credit.* A purchase that names a slate is that slate's. Any other is credited to the person's last click at most
    `window_hours` before it, on the same item (`match="item"`) or on any. Apart from these: *view-through*, a purchase
    without a click of an item that a slate showed the person at most `view_hours` before; where impressions of a slate
    were logged, only the slots that they name were shown.
    """

    conversions: tuple[str, ...]
    clicks: tuple[str, ...] = ()
    """None: any type but the `ignored` ones."""
    ignored: tuple[str, ...] = ("impression",)
    window_hours: float = 168.0
    view_hours: float = 24.0
    match: Match = "item"
    price_label: str | None = None
    outcome_days: float = 7.0
    """What a user does so long after their first slate of an experiment is what it is judged by."""
    before_days: float = 28.0
    """What they did so long before it is what CUPED adjusts by."""
    retention_days: float = 7.0
    """A user who does anything from a day to so many days after their first slate came back."""
    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0
    planned_users: int = 10_000
    """For how many users always-valid intervals are narrowest. They hold for any number; say it before looking."""
    burn_in: int = 100
    """Users of each variant before the first look."""
    baseline: str | None = None

    def __post_init__(self) -> None:
        for key, (low, high) in _RANGES.items():
            value = getattr(self, key)
            if not low <= value <= high:
                _refuse(key, value, f"{low:g} to {high:g}")
        if not self.conversions:
            _refuse("conversions", [], "at least one type of event")
        for key in ("conversions", "clicks", "ignored"):
            for spec in getattr(self, key):
                if not TYPE_SPEC.match(spec):
                    _refuse(key, spec, 'event types, optionally with a bound: "purchase", "rating>=4"')
        if self.match not in ("item", "any"):
            _refuse("match", self.match, "item, any")

    @property
    def alpha(self) -> float:
        """1 - confidence."""
        return 1 - self.confidence

    @property
    def types(self) -> frozenset[str]:
        """Event types of the conversions."""
        return frozenset(match["type"] for spec in self.conversions if (match := TYPE_SPEC.match(spec)))


def settings_for(generation: FoldConfig, **changes: Any) -> ReportSettings:
    """Settings under a configuration: what it calls consumption are conversions, what it calls impression or negative
    is no click. Raises `InvalidInput`."""
    defaults: dict[str, Any] = {
        "conversions": generation.consumption,
        "ignored": (*generation.impression, *generation.negative),
    }
    return ReportSettings(**(defaults | changes))


def _refuse(field: str, value: object, rule: str) -> None:
    raise InvalidInput(f"{field} = {value!r:.80}; allowed: {rule}", field=field, value=repr(value)[:80], rule=rule)
