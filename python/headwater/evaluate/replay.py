"""`--protocol prequential`: every event is predicted by the state of everything before it, then folded (Dawid, JRSS A
1984; for recommenders Vinagre, Jorge and Gama, 2014).

Nothing can leak backwards: the log is the evaluator's only memory. What happens together is predicted together: events
of one user with equal times, and one basket, are one *group*; a group gets one list, is predicted whole and then
folded whole. Facts of an item reach the catalogue just before its first event is folded, after that event was
predicted.

Every event of a group whose type is no rejection and no impression is a target, each distinct item and type once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import msgspec
import polars as pl

from headwater.config import TYPE_SPEC, Config
from headwater.core import stable_hash
from headwater.errors import InvalidInput
from headwater.evaluate.contender import LAST_ITEMS, Contender
from headwater.evaluate.events import EventLog
from headwater.evaluate.past import Past
from headwater.evaluate.trial import Trial
from headwater.events.bulk import FeedbackColumns
from headwater.progress import Call


class Plan(NamedTuple):
    """What of the log is predicted; all of it is folded."""

    k: int
    sample: float = 1.0
    """Share of users whose events are predicted, drawn by `seed`."""
    seed: int = 7
    start: float = 0.0
    """Events before this share of the log are only folded."""
    end: float = 1.0
    """The replay stops at this share of the log."""
    only_new: bool = False
    """Lists leave out what the user touched before, and only what is new to the user is a target."""


class Group(NamedTuple):
    """Events of one user that are predicted together."""

    number: int
    user: str
    ts: int
    columns: FeedbackColumns


class Target(NamedTuple):
    """One event that was predicted, as it stood before it."""

    group: int
    user: str
    ts: int
    type: str
    item: str
    repeat: bool
    """The user touched the item before."""
    cold: bool
    """Nobody did."""
    history: int
    """Distinct items that the user touched before, at most `past.REMEMBERED`."""
    popularity: str
    """head, torso or tail (see `past`); cold for an item without events."""
    age: int | None
    """Events since the item's first one; none for a cold item."""


class Observer(Protocol):
    """Is told of every group that is predicted; collects what it needs."""

    def observe(self, past: Past, targets: list[Target], lists: list[list[str]], micros: list[float | None]) -> None:
        """One group: its targets, and each contender's list and time."""


def replay(log: EventLog, entrants: list[Contender], plan: Plan, observer: Observer, progress: Call) -> dict[str, Any]:
    """Predict and fold the log once for all contenders that share a configuration. Returns facts of the run.

    O(events) folds and O(groups x contenders) questions. Raises `InvalidInput` for a plan that leaves nothing to
    predict.
    """
    config = entrants[0].config
    trial, past = Trial(config), Past()
    rejections = Rejections(config)
    pending = _Pending(trial, log)
    total = int(len(log.events) * plan.end)
    first = int(total * plan.start) if plan.end else 0
    overrides = [entrant.overrides() for entrant in entrants]
    done = predicted = skipped = 0
    for group in groups_of(log.events.head(total)):
        if done >= first and in_sample(group.user, plan):
            targets = _targets(group, past, rejections, plan.only_new)
            skipped += len(group.columns.item) - len(targets)
            if targets:
                pending.flush()
                lists, micros = _answers(entrants, overrides, trial, past, group.user, plan)
                observer.observe(past, targets, lists, micros)
                predicted += 1
        pending.add(group)
        past.add(group.user, group.columns.item)
        done += len(group.columns.item)
        if group.number % 256 == 0:
            progress(done, total)
    pending.flush()
    progress(total, total)
    if not predicted:
        raise InvalidInput(
            f"nothing to predict in events {first} to {total} with a sample of {plan.sample:g} of the users",
            field="sample",
            value=plan.sample,
        )
    return {
        "events": total,
        "groups_predicted": predicted,
        "skipped": skipped,
        "items": past.items,
        "users": past.users,
    }


def groups_of(events: pl.DataFrame) -> Iterator[Group]:
    """Groups in the order of their first events. A basket's events come with its first one."""
    names = [name for name in FeedbackColumns._fields if name in events.columns]
    together = pl.format("at {}", "ts")
    if "basket" in names:
        together = pl.when(pl.col("basket").is_null()).then(together).otherwise(pl.format("basket {}", "basket"))
    by = [pl.col("user").alias("of"), together.alias("together")]
    grouped = events.group_by(by, maintain_order=True).agg(pl.col(name) for name in names)
    columns = [grouped[name].to_list() for name in names]
    for number, values in enumerate(zip(*columns, strict=True)):
        row = dict(zip(names, values, strict=True))
        yield Group(number, row["user"][0], row["ts"][0], FeedbackColumns(**row))


def in_sample(user: str, plan: Plan) -> bool:
    """Whether a user's events are predicted."""
    return plan.sample >= 1.0 or stable_hash(f"{plan.seed}:{user}") % 1_000_000 < plan.sample * 1_000_000


def rejected_types(config: Config, occurring: set[str]) -> list[str]:
    """The configuration's specs of events that are no targets, as far as their types occur."""
    specs = {*config.generation.negative, *config.generation.impression}
    return sorted(spec for spec in specs if (found := TYPE_SPEC.match(spec)) and found["type"] in occurring)


class Rejections:
    """Which events are no targets: the configuration's `negative` and `impression` types."""

    def __init__(self, config: Config) -> None:
        self._types: set[str] = set()
        self._bounds: dict[str, list[tuple[str, float]]] = {}
        for spec in (*config.generation.negative, *config.generation.impression):
            found = TYPE_SPEC.match(spec)
            if found is None or found["op"] is None:
                self._types.add(spec)
            else:
                self._bounds.setdefault(found["type"], []).append((found["op"], float(found["value"])))

    def __contains__(self, event: tuple[str, float | None]) -> bool:
        kind, value = event
        if kind in self._types:
            return True
        bounds = self._bounds.get(kind)
        if bounds is None or value is None:
            return False
        return any(value >= bound if op == ">=" else value <= bound for op, bound in bounds)


def _targets(group: Group, past: Past, rejections: Rejections, only_new: bool) -> list[Target]:
    touched = past.touched(group.user)
    values = group.columns.value or [None] * len(group.columns.item)
    seen: set[tuple[str, str]] = set()
    targets = []
    for kind, item, value in zip(group.columns.type, group.columns.item, values, strict=True):
        repeat = item in touched
        if (kind, item) in seen or (kind, value) in rejections or (only_new and repeat):
            continue
        seen.add((kind, item))
        targets.append(
            Target(
                group.number,
                group.user,
                group.ts,
                kind,
                item,
                repeat,
                past.is_cold(item),
                len(touched),
                past.popularity_of(item),
                past.age_of(item),
            )
        )
    return targets


def _answers(
    entrants: list[Contender],
    overrides: list[dict[str, float]],
    trial: Trial,
    past: Past,
    user: str,
    plan: Plan,
) -> tuple[list[list[str]], list[float | None]]:
    latest = past.touched(user)
    request: dict[str, Any] = {"user": user}
    if plan.only_new:
        request["exclude"] = list(latest)
    asked = [
        {**request, "sources": sources}
        for entrant, sources in zip(entrants, overrides, strict=True)
        if entrant.source != LAST_ITEMS
    ]
    answers = trial.ask(asked, plan.k)
    lists: list[list[str]] = []
    micros: list[float | None] = []
    for entrant in entrants:
        if entrant.source == LAST_ITEMS:
            lists.append([] if plan.only_new else list(reversed(latest))[: plan.k])
            micros.append(None)
            continue
        answer = next(answers)
        lists.append(answer.items if entrant.alone else [*answer.items, *answer.filling])
        micros.append(answer.micros)
    return lists, micros


_MOST_PENDING = 4096


class _Pending:
    """Groups that were passed and not folded yet: nobody asked since. Folded in their order, before the next
    question."""

    def __init__(self, trial: Trial, log: EventLog) -> None:
        self._trial = trial
        self._facts = dict(log.facts)
        self._groups: list[Group] = []

    def add(self, group: Group) -> None:
        self._groups.append(group)
        if len(self._groups) == _MOST_PENDING:
            self.flush()

    def flush(self) -> None:
        """Fold them. Facts of items that appear for the first time come first."""
        if not self._groups:
            return
        puts = []
        for group in self._groups:
            for item in group.columns.item:
                fact = self._facts.pop(item, None)
                if fact is not None:
                    puts.append(msgspec.structs.replace(fact, ts=group.ts, timestamp=group.ts))
        self._trial.put(puts)
        self._trial.feed_groups(group.columns for group in self._groups)
        self._groups.clear()
