"""The join: slates with what was seen of them and what came of them, one row per slot."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from headwater.events.log import EventLog
from headwater.events.types import Feedback, Impression
from headwater.learning.facts import ServedSlate, SlateFacts, collect
from headwater.learning.people import People
from headwater.learning.rewards import RewardRules, Rewards
from headwater.learning.schema import COLUMNS, STATUSES

if TYPE_CHECKING:
    import polars as pl


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """A learning table and what was left out of it.

    `table` has the columns of `headwater.learning.schema`. `set_aside` counts, by reason, events that bear on no row.
    `clock` is the log's largest event time (UTC ms), against which windows are over or not.
    """

    table: pl.DataFrame
    rewards: Rewards
    clock: int
    slates: int
    statuses: dict[str, int]
    set_aside: dict[str, int]


def join(
    log: EventLog,
    rewards: Rewards | Mapping[str, float],
    *,
    start: int = 1,
    stop: int | None = None,
    max_future_hours: float = 24.0,
) -> Joined:
    """One row per slot of every slate in frames `start` up to, not including, `stop`.

    The order of events in the log does not matter beyond which of several events with one `event_id` is the first: a
    click may lie before the record of its slate. Feedback on a slate of before `start` counts as `unknown-slate`.
    Slates that a user was served before asking to be forgotten are left out. Raises `InvalidInput` for rewards that
    break a rule, `LogCorrupt` for a gap in the log.
    """
    if not isinstance(rewards, Rewards):
        rewards = Rewards(values=dict(rewards))
    facts = collect(log, start=start, stop=stop, max_future_ms=round(max_future_hours * 3_600_000))
    return join_facts(facts, rewards)


def join_facts(facts: SlateFacts, rewards: Rewards) -> Joined:
    """The join proper: pure."""
    import polars as pl

    set_aside, people = Counter(facts.set_aside), People(facts.merges)
    slates = _remembered(facts, people, set_aside)
    outcomes = _Outcomes(facts, people, slates, rewards, set_aside)
    columns: dict[str, list[Any]] = {column.name: [] for column in COLUMNS}
    for slate in slates.values():
        outcomes.append_rows(slate, columns)
    schema = {column.name: getattr(pl, column.dtype) for column in COLUMNS}
    counts = Counter(columns["status"])
    return Joined(
        table=pl.DataFrame(columns, schema=schema),
        rewards=rewards,
        clock=facts.clock,
        slates=len(slates),
        statuses={status: counts[status] for status in STATUSES},
        set_aside=dict(sorted(set_aside.items())),
    )


def _remembered(facts: SlateFacts, people: People, set_aside: Counter[str]) -> dict[str, ServedSlate]:
    """Slates of users who did not ask to be forgotten after them."""
    gone: dict[str, int] = {}
    for user, position in facts.forgotten.items():
        for id in people.became(user):
            gone[id] = max(position, gone.get(id, 0))
    kept = {}
    for id, slate in facts.slates.items():
        if slate.position <= gone.get(slate.user, 0):
            set_aside["forgotten-user"] += 1
        else:
            kept[id] = slate
    return kept


class _Reward(NamedTuple):
    reward: float
    ts: int
    type: str


class _Outcomes:
    """What became of slots: which were seen, which were rewarded."""

    def __init__(
        self,
        facts: SlateFacts,
        people: People,
        slates: Mapping[str, ServedSlate],
        rewards: Rewards,
        set_aside: Counter[str],
    ) -> None:
        self._facts = facts
        self._people = people
        self._slates = slates
        self._rewards = rewards
        self._rules = RewardRules(rewards)
        self._set_aside = set_aside
        self._impressed: dict[str, set[int]] = {}
        self._rewarded: dict[tuple[str, int], list[_Reward]] = {}
        for view in facts.views:
            self._view(view)
        for answer in facts.answers:
            self._answer(answer)

    def _view(self, view: Impression) -> None:
        slate = self._slate_of(view)
        if slate is None:
            return
        for slot in view.slots:
            if 0 <= slot < len(slate.items):
                self._impressed.setdefault(slate.slate, set()).add(slot)
            else:
                self._set_aside["no-such-slot"] += 1

    def _answer(self, answer: Feedback) -> None:
        slate = self._slate_of(answer)
        if slate is None:
            return
        slot = self._slot_of(answer, slate)
        if slot is None:
            return
        if self._rules.is_impression(answer.type, answer.value):
            self._impressed.setdefault(slate.slate, set()).add(slot)
        reward = self._rules.reward(answer.type, answer.value)
        if reward is not None:
            self._rewarded.setdefault((slate.slate, slot), []).append(_Reward(reward, answer.ts, answer.type))

    def _slate_of(self, event: Feedback | Impression) -> ServedSlate | None:
        """The slate that an event is about, if it may be: of the same person, within the window."""
        slate = self._slates.get(event.slate or "")
        if slate is None:
            reason = "unknown-slate" if event.slate not in self._facts.slates else "forgotten-user"
        elif not self._people.same(event.user, slate.user):
            reason = "other-user"
        elif event.ts < slate.ts:
            reason = "before-slate"
        elif event.ts > slate.ts + self._rewards.window_ms:
            reason = "after-window"
        else:
            return slate
        self._set_aside[reason] += 1
        return None

    def _slot_of(self, answer: Feedback, slate: ServedSlate) -> int | None:
        if answer.slot is None:
            found = next((slot for slot, item in enumerate(slate.items) if item[0] == answer.item), None)
            if found is None:
                self._set_aside["item-not-in-slate"] += 1
            return found
        if answer.slot >= len(slate.items):
            self._set_aside["no-such-slot"] += 1
        elif slate.items[answer.slot][0] != answer.item:
            self._set_aside["item-not-in-slot"] += 1
        else:
            return answer.slot
        return None

    def append_rows(self, slate: ServedSlate, columns: dict[str, list[Any]]) -> None:
        """One row for each slot."""
        closed = self._facts.clock > slate.ts + self._rewards.window_ms
        impressed = self._impressed.get(slate.slate)
        for slot, item in enumerate(slate.items):
            rewards = self._rewarded.get((slate.slate, slot), [])
            named = impressed is not None and slot in impressed
            if rewards:
                status = "rewarded"
            elif not closed:
                status = "open"
            else:
                status = "negative" if named else "unobserved"
            best = min(rewards, key=lambda reward: (-reward.reward, reward.ts, reward.type), default=None)
            row = (
                *(slate.slate, slate.user, slate.ts, slate.scenario, slate.variant),
                *(slate.config_version, slate.scorer_version, slate.position, slot, *item),
                True if rewards or named else None if impressed is None else False,
                *(named, closed, status, self._combined(rewards)),
                *((None, None, None) if best is None else (best.type, best.ts, best.ts - slate.ts)),
            )
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)

    def _combined(self, rewards: list[_Reward]) -> float:
        values = [reward.reward for reward in rewards]
        # fsum is exact, so that the order of events cannot be told from the sum.
        return math.fsum(values) if self._rewards.combine == "sum" else max(values, default=0.0)
