"""Shadow: the logged requests answered again under another `[query]`, and how the answers differ.

Each request is put to the state that answered it then, so both configurations know the same things; one forward fold
passes all of them. What comes out are differences. Which of two slates is better cannot be read from them: visitors saw
one of the two only (`docs/guide-learning.md` says what a log can answer).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from headwater.active_query import query_version
from headwater.actors.snapshots import DirectorySnapshots, SnapshotStore
from headwater.answer import ask
from headwater.config import Config, config_from_table, load_table
from headwater.core import Core, generation_of, query_json
from headwater.errors import ConfigError, InvalidInput, InvalidQuery
from headwater.events.log import EventLog
from headwater.events.sqlite_log import SqliteLog
from headwater.events.types import SlateServed
from headwater.progress import Call
from headwater.ranking_distance import Distance, distance
from headwater.scenario import DEFAULT_SCENARIO, QueryConfig
from headwater.served_slates import ServedSlates
from headwater.slate import SessionState
from headwater.slate_record import SCORER_VERSION
from headwater.slate_replay import with_states
from headwater.store import check_begun, directory_config

MOST_DIFFERENT = 20
HISTORIES = ((1, 4), (5, 19), (20, 99))
_sessions = msgspec.msgpack.Decoder(SessionState)


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Differences over a group of slates. Means are over slates; shares of `sources` over slots; `rank_shift` is the
    mean over slates that have an item in common."""

    slates: int
    identical: float
    """Share of slates with the same items in the same order."""
    overlap: float
    rbo: float
    rank_shift: float | None
    logged_items: int
    """Distinct items of all logged slates: their coverage."""
    shadow_items: int
    common_items: int
    logged_sources: dict[str, float]
    """Source -> share of the slots that it brought in most."""
    shadow_sources: dict[str, float]
    overlaps: list[int]
    """Slates by overlap: 0 to 10 %, 10 to 20 %, ..., 90 to 100 %, and exactly 100 %."""


class SlateDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One slate under both configurations."""

    slate: str
    user: str
    position: int
    scenario: str
    overlap: float
    rbo: float
    logged: list[str]
    shadow: list[str]


class ShadowReport(msgspec.Struct, frozen=True, kw_only=True):
    """How slates of another configuration differ from the logged ones. `most_different` begins with the least
    rank-biased overlap."""

    since: int
    until: int
    logged_configs: dict[str, int]
    shadow_config: str
    overall: Group
    scenarios: dict[str, Group]
    visitors: dict[str, Group]
    """"new" (no state when they asked) and "known"."""
    histories: dict[str, Group]
    """By the number of the visitor's events when they asked."""
    most_different: list[SlateDifference]
    refused: dict[str, int]
    """Requests that the other configuration cannot answer, by reason; they are in no group."""
    explored: int
    """Logged slates that were drawn: chance is part of their difference, though both draw by the slate's id."""
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return msgspec.to_builtins(self)  # type: ignore[no-any-return]


class _Tally:
    """Adds up one group."""

    def __init__(self) -> None:
        self._slates = 0
        self._identical = 0
        self._overlap = 0.0
        self._rbo = 0.0
        self._shift = 0.0
        self._shifted = 0
        self._items: tuple[set[str], set[str]] = (set(), set())
        self._sources: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self._overlaps = [0] * 11

    def add(self, apart: Distance, logged: Sequence[tuple[str, str]], shadow: Sequence[tuple[str, str]]) -> None:
        """One slate: (item, source) of its slots, both ways."""
        self._slates += 1
        self._identical += apart.identical
        self._overlap += apart.overlap
        self._rbo += apart.rbo
        self._overlaps[int(apart.overlap * 10)] += 1
        if apart.rank_shift is not None:
            self._shift += apart.rank_shift
            self._shifted += 1
        for side, slots in enumerate((logged, shadow)):
            self._items[side].update(item for item, _ in slots)
            self._sources[side].update(source for _, source in slots)

    def group(self) -> Group:
        """What was added up."""
        slates = max(self._slates, 1)
        logged, shadow = self._items
        return Group(
            slates=self._slates,
            identical=self._identical / slates,
            overlap=self._overlap / slates,
            rbo=self._rbo / slates,
            rank_shift=self._shift / self._shifted if self._shifted else None,
            logged_items=len(logged),
            shadow_items=len(shadow),
            common_items=len(logged & shadow),
            logged_sources=_shares(self._sources[0]),
            shadow_sources=_shares(self._sources[1]),
            overlaps=self._overlaps,
        )


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = counts.total()
    return {source: count / total for source, count in counts.most_common()}


class _Comparison:
    """Collects the differences of all slates."""

    def __init__(self) -> None:
        self.overall = _Tally()
        self.scenarios: dict[str, _Tally] = {}
        self.visitors: dict[str, _Tally] = {}
        self.histories: dict[str, _Tally] = {}
        self.refused: Counter[str] = Counter()
        self.configs: Counter[str] = Counter()
        self.scorers: Counter[str] = Counter()
        self.explored = 0
        self._worst: list[tuple[float, int, SlateDifference]] = []

    def add(self, served: SlateServed, core: Core, query: bytes) -> None:
        """Answer one logged request under `query` and compare."""
        if served.variant is not None and not served.items:
            self.refused["nothing was served: a holdout of an experiment"] += 1
            return
        # Variants are of the configuration that served; the other one has none of them.
        asked = {field: value for field, value in served.request.items() if field != "variant"}
        try:
            answer = ask(core, asked, served.slate, query)
        except (InvalidQuery, ConfigError) as err:
            self.refused[err.message] += 1
            return
        logged = [(slot[0], slot[2]) for slot in served.items]
        shadow = [(slot.item, slot.source) for slot in answer.items]
        apart = distance([item for item, _ in logged], [item for item, _ in shadow])
        scenario = served.request.get("scenario") or DEFAULT_SCENARIO
        events = _history(core, served)
        tallies = [
            self.overall,
            self.scenarios.setdefault(scenario, _Tally()),
            self.visitors.setdefault("new" if events is None else "known", _Tally()),
            self.histories.setdefault(_history_name(events), _Tally()),
        ]
        for tally in tallies:
            tally.add(apart, logged, shadow)
        self.configs[served.config_version] += 1
        self.scorers[served.scorer_version] += 1
        self.explored += any(slot[3] < 1.0 for slot in served.items)
        if not apart.identical:
            self._note(served, scenario, apart, [item for item, _ in logged], [item for item, _ in shadow])

    def _note(self, served: SlateServed, scenario: str, apart: Distance, logged: list[str], shadow: list[str]) -> None:
        difference = SlateDifference(
            slate=served.slate,
            user=served.user,
            position=served.positions[0],
            scenario=scenario,
            overlap=apart.overlap,
            rbo=apart.rbo,
            logged=logged,
            shadow=shadow,
        )
        # The number breaks ties: of equally different slates the earliest stay.
        entry = (-apart.rbo, -self.configs.total(), difference)
        if len(self._worst) < MOST_DIFFERENT:
            heapq.heappush(self._worst, entry)
        else:
            heapq.heappushpop(self._worst, entry)

    def most_different(self) -> list[SlateDifference]:
        """The slates that differ most, most different first."""
        return [difference for _, _, difference in sorted(self._worst, key=lambda entry: entry[:2], reverse=True)]


def _history(core: Core, served: SlateServed) -> int | None:
    """How many events the visitor had; `None` for one without state."""
    view = core.session_view(served.user, served.ts)
    return None if view is None else _sessions.decode(view).events


def _history_name(events: int | None) -> str:
    for low, high in HISTORIES:
        if events is not None and low <= events <= high:
            return f"{low} to {high} events"
    return "no events" if not events else f"{HISTORIES[-1][1] + 1} events or more"


def shadow(
    log: EventLog,
    config: Config,
    query: QueryConfig,
    version: str,
    *,
    snapshots: SnapshotStore | None = None,
    threads: int | None = None,
    since: int = 1,
    until: int | None = None,
    limit: int | None = None,
    progress: Call | None = None,
) -> ShadowReport:
    """Answer the requests again that were answered at positions `since` to `until` (both included), at most the first
    `limit`, under `query`, and compare with what was served.

    `config` is the log's own. `progress` is called with (slates done, slates in all). O(log + slates). Raises
    `LogCorrupt`.
    """
    records = ServedSlates(log, config.generation.max_future_ms, since=since, until=until)
    other = query_json(query)
    comparison = _Comparison()
    for served, core in with_states(log, config, records, snapshots, threads, limit, progress):
        comparison.add(served, core, other)
    return _report(comparison, since, log.last() if until is None else until, version)


def _report(comparison: _Comparison, since: int, until: int, version: str) -> ShadowReport:
    earlier = {scorer: n for scorer, n in comparison.scorers.items() if scorer != SCORER_VERSION}
    notes = [
        f"{count} slates were made by scorer {scorer}, today's is {SCORER_VERSION}: that is part of their difference"
        for scorer, count in sorted(earlier.items())
    ]
    if comparison.explored:
        notes.append(f"{comparison.explored} logged slates were explored: chance is part of their difference")
    return ShadowReport(
        since=since,
        until=until,
        logged_configs=dict(comparison.configs),
        shadow_config=version,
        overall=comparison.overall.group(),
        scenarios=_groups(comparison.scenarios),
        visitors=_groups(comparison.visitors),
        histories=_groups(comparison.histories),
        most_different=comparison.most_different(),
        refused=dict(comparison.refused),
        explored=comparison.explored,
        notes=notes,
    )


def _groups(tallies: dict[str, _Tally]) -> dict[str, Group]:
    groups = {name: tally.group() for name, tally in tallies.items()}
    return dict(sorted(groups.items(), key=lambda entry: -entry[1].slates))


def shadow_directory(
    directory: Path,
    config_file: Path,
    *,
    since: int = 1,
    until: int | None = None,
    limit: int | None = None,
    threads: int | None = None,
    progress: Call | None = None,
) -> ShadowReport:
    """`shadow` of what lies in a directory, under the `[query]` of another `headwater.toml`; writes nothing.

    A file without `[generation]` takes the log's. Raises `ConfigError` naming the keys for one whose `[generation]`
    differs, and `InvalidInput` for a stretch that the log does not have.
    """
    check_begun(directory)
    config = directory_config(directory)
    other = _other_config(config_file, config)
    log = SqliteLog(directory, generation_of(config.generation), read_only=True)
    try:
        last = log.last()
        if not 1 <= since <= last or (until is not None and until < since):
            rule = f"1 to {last}, not after --until"
            raise InvalidInput(f"since = {since}; allowed: {rule}", field="since", value=since, rule=rule)
        return shadow(
            log,
            config,
            other.query,
            query_version(other.query),
            snapshots=DirectorySnapshots(directory / "snapshots"),
            threads=threads,
            since=since,
            until=until,
            limit=limit,
            progress=progress,
        )
    finally:
        log.close()


def _other_config(file: Path, own: Config) -> Config:
    """The configuration of `file`; its `[generation]` must be the log's, or absent."""
    table = load_table(file)
    if "generation" not in table:
        table = table | {"generation": msgspec.to_builtins(own.generation)}
    other = config_from_table(table, where=str(file))
    if other.generation != own.generation:
        fields = own.generation.__struct_fields__
        differing = [f for f in fields if getattr(other.generation, f) != getattr(own.generation, f)]
        told = "; ".join(
            f"{f}: log {getattr(own.generation, f)!r:.80}, {file.name} {getattr(other.generation, f)!r:.80}"
            for f in differing
        )
        raise ConfigError(
            f"{file}: [generation] differs from the log's in {told}. A shadow compares answers of one state: leave "
            "[generation] out, or build another generation with `headwater replay DIR --to NEW_DIR --config NEW.toml`",
            key=", ".join(f"generation.{f}" for f in differing),
            value=str(file),
            rule="the log's [generation]",
        )
    return other
