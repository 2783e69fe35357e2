"""A log of slates under an experiment whose effect is known: to measure the report, and to see whether it finds it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headwater.active_query import query_version
from headwater.config import Config, config_from_table
from headwater.core import new_core, query_json
from headwater.events.frame import FrameWriter
from headwater.events.memory_log import MemoryLog
from headwater.events.subjects import CONTROL_SUBJECT, PARTITION, Subject, partition_of
from headwater.events.types import ConfigActivated, Event, Feedback, SlateServed

START = 1_764_547_200_000
"""2025-12-01T00:00:00Z."""
DAY = 86_400_000
_BEFORE, _DURING = 28, 28
_SOURCES = ("also_viewed", "session-knn", "also_bought", "trending", "popular")
_ITEMS = 20_000
_CHUNK = 20_000


class World(NamedTuple):
    """How large the simulated shop is, and what treatment does there.

    A user's rate of purchases is theirs for good, so what they bought before tells something of what they buy during
    the experiment; `lift` is what treatment adds to it, as a share.
    """

    slates: int = 1_000_000
    users: int = 200_000
    lift: float = 0.1
    n: int = 10
    orders: float = 0.3
    """Mean orders of a user in each period."""
    click_rate: float = 0.08
    bought_of_clicked: float = 0.1
    per_frame: int = 30
    """Records that a frame holds at most: what a busy engine writes at once for one partition."""
    experiments: dict[str, object] = {
        "ranking": {"variants": {"control": {"share": 0.5}, "wide": {"share": 0.5, "query": {"diversity": 0.3}}}}
    }


class ExperimentLog(NamedTuple):
    """A log in memory and the configuration that it was written under."""

    log: MemoryLog
    config: Config
    slates: int
    events: int


def experiment_log(world: World, seed: int = 0) -> ExperimentLog:
    """Simulate a shop under an experiment. O(slates * n); about 12 us a slate of ten."""
    config = config_from_table({"experiments": world.experiments})
    return _Writing(world, config, np.random.Generator(np.random.PCG64(seed))).write()


class _Writing:
    def __init__(self, world: World, config: Config, draw: np.random.Generator) -> None:
        self._world, self._config, self._draw = world, config, draw
        self._frames = FrameWriter("simulated", 1)
        self._log = MemoryLog()
        self._users = [f"user-{number}" for number in range(world.users)]
        partitions = config.generation.partitions
        self._owners = [partition_of(user, partitions) for user in self._users]
        self._rates = draw.gamma(0.5, 2.0, world.users) * world.orders
        self._items = [f"item-{number}" for number in range(_ITEMS)]
        self._events = 0

    def write(self) -> ExperimentLog:
        body, version = query_json(self._config.query), query_version(self._config.query)
        active = ConfigActivated(START - _BEFORE * DAY, version, body.decode())
        self._log.append(list(self._frames.pack(CONTROL_SUBJECT, [active], START)))
        core = new_core(self._config, 1)
        variants = [core.assign(user, None, START) for user in self._users]
        treated = np.array([not str(variant).endswith("/control") for variant in variants])
        self._purchases(self._rates, START - _BEFORE * DAY, _BEFORE)
        self._slates(variants, version)
        self._purchases(self._rates * (1 + self._world.lift * treated), START, _DURING)
        return ExperimentLog(self._log, self._config, self._world.slates, self._events)

    def _purchases(self, rates: NDArray[np.float64], start: int, days: int) -> None:
        draw = self._draw
        users = np.repeat(np.arange(len(rates)), draw.poisson(rates))
        times = start + (draw.random(len(users)) * days * DAY).astype(np.int64)
        items = draw.integers(0, _ITEMS, len(users))
        values = np.round(np.exp(draw.normal(3.0, 0.6, len(users))), 2)
        rows = zip(users.tolist(), times.tolist(), items.tolist(), values.tolist(), strict=True)
        self._append(
            [
                (user, Feedback("purchase", self._users[user], self._items[item], ts, value))
                for user, ts, item, value in sorted(rows, key=lambda row: row[1])
            ]
        )

    def _slates(self, variants: list[str | None], version: str) -> None:
        world, draw = self._world, self._draw
        times = np.sort(START + (draw.random(world.slates) * _DURING * DAY).astype(np.int64))
        users = draw.integers(0, world.users, world.slates)
        for first in range(0, world.slates, _CHUNK):
            part = slice(first, first + _CHUNK)
            count = len(times[part])
            items = (draw.random((count, world.n)) ** 2 * _ITEMS).astype(np.int64)
            sources = draw.integers(0, len(_SOURCES), (count, world.n))
            clicked = np.where(draw.random(count) < world.click_rate, draw.integers(0, world.n, count), -1)
            rows: list[tuple[int, Event]] = []
            columns = (times[part], users[part], items, sources, clicked, draw.random(count))
            asked = zip(*(column.tolist() for column in columns), strict=True)
            for number, (ts, user, shown, by, click, buys) in enumerate(asked, first):
                slots = [
                    (self._items[item], 0.5, _SOURCES[source], 1.0, 1.0, False)
                    for item, source in zip(shown, by, strict=True)
                ]
                name, variant = self._users[user], variants[user]
                request = {"user": name, "items": [], "n": world.n, "exclude": [], "now": ts, "sources": {}}
                scenario = ("home", "cart", None)[number % 3]
                if scenario is not None:
                    request["scenario"] = scenario
                if variant is not None:
                    request["variant"] = variant
                slate = f"1-{number}"
                record = SlateServed(
                    slate, name, ts, request, variant, version, "rrf-2", [1], [], None, slots, {"kind": "recommend"}
                )
                rows.append((user, record))
                if click >= 0:
                    item = self._items[shown[click]]
                    rows.append((user, Feedback("click", name, item, ts + 5000, slate=slate, slot=click)))
                    if buys < world.bought_of_clicked:
                        rows.append((user, Feedback("purchase", name, item, ts + 600_000, 20.0)))
            self._append(rows)

    def _append(self, rows: list[tuple[int, Event]]) -> None:
        """Events by partition, so many a frame."""
        self._events += len(rows)
        groups: dict[int, list[Event]] = {}
        for user, event in rows:
            groups.setdefault(self._owners[user], []).append(event)
        for partition, events in groups.items():
            for first in range(0, len(events), self._world.per_frame):
                part = events[first : first + self._world.per_frame]
                latest = max(event.ts for event in part)
                self._log.append(list(self._frames.pack(Subject(PARTITION, partition), part, latest)))
