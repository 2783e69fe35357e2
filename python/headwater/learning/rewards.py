"""Rewards: which feedback is worth how much, how long a slate waits for it, and what never counts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, NoReturn

import msgspec

from headwater.config import TYPE_SPEC, FoldConfig
from headwater.errors import InvalidInput

Combine = Literal["max", "sum"]

MAX_WINDOW_HOURS = 24.0 * 366
_WINDOW = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[mhd])")
_HOURS = {"m": 1 / 60, "h": 1.0, "d": 24.0}


class Rewards(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer to a slate is worth.

    `values`: type spec -> reward > 0, as in `{"click": 1, "purchase": 5, "rating>=4": 2}`; an event that several specs
    name is worth the highest. An event at most `window_hours` after its slate counts. Several rewards of one slot
    give their maximum or, with `combine="sum"`, their sum. `impression` and `negative` are type specs of events that
    never reward, unless `values` names the same spec. An event of an `impression` type says that its slot was seen.
    Raises `InvalidInput`.
    """

    values: dict[str, float]
    window_hours: float = 24.0
    combine: Combine = "max"
    impression: tuple[str, ...] = ("impression",)
    negative: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.values:
            _refuse("rewards", self.values, "at least one type spec with its reward")
        for spec, value in self.values.items():
            _parse(spec)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value <= 0:
                _refuse(f"rewards[{spec}]", value, "a finite number > 0")
        for spec in (*self.impression, *self.negative):
            _parse(spec)
        if not 0 < self.window_hours <= MAX_WINDOW_HOURS:  # NaN too
            _refuse("window_hours", self.window_hours, f"more than 0, at most {MAX_WINDOW_HOURS:g} hours")
        if self.combine not in ("max", "sum"):
            _refuse("combine", self.combine, "max, sum")

    @property
    def window_ms(self) -> int:
        """The window in milliseconds."""
        return round(self.window_hours * 3_600_000)


def rewards_of(
    generation: FoldConfig,
    values: Mapping[str, float] | None = None,
    *,
    window_hours: float = 24.0,
    combine: Combine = "max",
) -> Rewards:
    """Rewards under a configuration: its `impression` and `negative` types never reward.

    Without `values` every type that votes for popularity is worth 1: the reward says whether the slot was answered.
    """
    return Rewards(
        values=dict.fromkeys(generation.votes, 1.0) if values is None else dict(values),
        window_hours=window_hours,
        combine=combine,
        impression=generation.impression,
        negative=generation.negative,
    )


def parse_values(text: str) -> dict[str, float]:
    """`"click=1,rating>=4=2"` as reward values. Raises `InvalidInput`."""
    values: dict[str, float] = {}
    for entry in text.split(","):
        spec, separator, number = entry.strip().rpartition("=")
        try:
            value = float(number)
        except ValueError:
            separator = ""
        if not separator or not TYPE_SPEC.match(spec) or spec in values:
            _refuse("rewards", entry, "TYPE=NUMBER, each type once, as in click=1,purchase=5,rating>=4=2")
        values[spec] = value
    return values


def parse_window(text: str) -> float:
    """`"90m"`, `"24h"` or `"7d"` in hours. Raises `InvalidInput`."""
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        _refuse("window", text, "a number with m, h or d, as in 90m, 24h, 7d")
    return float(match["number"]) * _HOURS[match["unit"]]


class _Spec(NamedTuple):
    text: str
    type: str
    op: str | None
    bound: float

    def holds(self, value: float | None) -> bool:
        if self.op is None:
            return True
        return value is not None and (value >= self.bound if self.op == ">=" else value <= self.bound)


class RewardRules:
    """`Rewards`, looked up by type."""

    def __init__(self, rewards: Rewards) -> None:
        self._values = rewards.values
        self._rewarding = _by_type(rewards.values)
        self._impression = _by_type(rewards.impression)
        self._barred = _by_type((*rewards.impression, *rewards.negative))

    def is_impression(self, type: str, value: float | None) -> bool:
        """Whether a feedback of this type and value only says that the slot was seen."""
        return any(spec.holds(value) for spec in self._impression.get(type, ()))

    def reward(self, type: str, value: float | None) -> float | None:
        """What a feedback of this type and value is worth; `None` if it does not reward."""
        matching = [spec.text for spec in self._rewarding.get(type, ()) if spec.holds(value)]
        barred = {spec.text for spec in self._barred.get(type, ()) if spec.holds(value)}
        if barred:
            matching = [text for text in matching if text in barred]
        return max((float(self._values[text]) for text in matching), default=None)


def _by_type(specs: Iterable[str]) -> dict[str, list[_Spec]]:
    table: dict[str, list[_Spec]] = {}
    for text in specs:
        spec = _parse(text)
        table.setdefault(spec.type, []).append(spec)
    return table


def _parse(text: str) -> _Spec:
    match = TYPE_SPEC.match(text) if isinstance(text, str) else None
    if match is None:
        _refuse("rewards", text, 'an event type, optionally with a bound: "click", "rating>=4", "rating<=2"')
    return _Spec(text, match["type"], match["op"], float(match["value"] or 0))


def _refuse(field: str, value: object, rule: str) -> NoReturn:
    raise InvalidInput(f"{field} = {value!r:.80}; allowed: {rule}", field=field, value=repr(value)[:80], rule=rule)
