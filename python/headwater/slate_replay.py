"""Slates made again from the log and their records alone, and compared bit for bit (G5 of the design).

The state at the position that a record names is folded, the recorded request is asked under the slate's id, and what
comes out must be what was served: items, scores, sources, propensities. `replay_slate` does one, `replay_slates` all of
them with one forward fold. Slates whose hosts stood at different positions are made again host by host
(`headwater.host_replay`).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headwater.active_query import active_version, query_version
from headwater.actors.past_state import ForwardFold, rebuild
from headwater.actors.snapshots import DirectorySnapshots, SnapshotStore
from headwater.answer import Answer, ask
from headwater.config import Config
from headwater.core import Core, generation_of, new_core
from headwater.errors import InvalidInput, InvalidQuery
from headwater.events.log import EventLog
from headwater.events.sqlite_log import SqliteLog
from headwater.events.types import SlateServed
from headwater.host_replay import of_several_positions, remade_by_hosts
from headwater.progress import Call
from headwater.served_slates import ServedSlates, find_record
from headwater.slate_record import SCORER_VERSION, recorded_request
from headwater.store import check_begun, directory_config

if TYPE_CHECKING:
    from rich.table import Table

Slot = tuple[str, float, str, float, float, bool]
"""Item, score, source, propensity, propensity_cascade, pinned: as a record holds a slot."""

DIFFERENT_SHOWN = 100
_APART = 20_000
"""Records of slates whose hosts stood apart that are kept for a pass of their own."""
_FIELDS = ("item", "score", "source", "propensity", "propensity_cascade", "pinned")


class SlateReplay(msgspec.Struct, frozen=True, kw_only=True):
    """One slate made again. `differences` is empty when it is the recorded one; `reasons` says what may have caused
    them."""

    slate: str
    user: str
    position: int
    now: int
    identical: bool
    differences: list[str]
    reasons: list[str]
    scorer: str
    config: str
    approximate: list[str]
    """Sources that a graph answered: what they found is taken from the record, and not looked for again."""
    logged: list[Slot]
    remade: list[Slot]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        for side in ("logged", "remade"):
            plain[side] = [dict(zip(_FIELDS, slot, strict=True)) for slot in getattr(self, side)]
        return plain

    def _said(self) -> str:
        from_record = f", with what {', '.join(self.approximate)} found as recorded" if self.approximate else ""
        return f"identical{from_record}"

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        said = self._said()
        said = said if self.identical else "\n".join(["differs:", *self.differences, *self.reasons])
        title = f"slate {self.slate} for {self.user or 'everyone'}, made again at position {self.position}"
        table = Table(title=Text(title), caption=Text(said))
        for name in ("slot", "item", "score", "source", "propensity", "cascade", "made again"):
            table.add_column(name, justify="right" if name in ("slot", "score", "propensity", "cascade") else "left")
        for slot in range(max(len(self.logged), len(self.remade))):
            was = self.logged[slot] if slot < len(self.logged) else None
            now = self.remade[slot] if slot < len(self.remade) else None
            cells = ["-"] * 5 if was is None else [was[0], f"{was[1]:.6f}", was[2], f"{was[3]:.4g}", f"{was[4]:.4g}"]
            same = was is not None and now is not None and _bits(was) == _bits(now)
            again = "equal" if same else ("nothing" if now is None else f"{now[0]} {now[1]:.6f} {now[2]}")
            table.add_row(str(slot), *map(Text, cells), Text(again))
        return table


class SlatesReport(msgspec.Struct, frozen=True, kw_only=True):
    """All slates of a stretch of the log made again. `different` holds the first of those that are not the recorded
    ones; `set_aside` counts events that the fold does not take either, by reason."""

    slates: int
    identical: int
    different: list[SlateReplay]
    approximate: int
    """Slates of which a source was answered from a graph: what it found is taken from the record."""
    scorers: dict[str, int]
    """Records by the scorer that made them."""
    set_aside: dict[str, int]
    since: int
    until: int

    @property
    def equal(self) -> bool:
        """Whether every slate was made again bit for bit."""
        return self.identical == self.slates

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain | {"equal": self.equal, "different": [replay.to_dict() for replay in self.different]}


def remake(served: SlateServed, core: Core, config: Config) -> SlateReplay:
    """Make a slate again from the state at its position and compare."""
    try:
        answer: Answer | str = ask(core, recorded_request(served), served.slate)
    except InvalidQuery as err:
        answer = f"the recorded request is refused: {err.message}"
    return _compared(served, answer, core, config)


def _compared(served: SlateServed, answer: Answer | str, core: Core, config: Config) -> SlateReplay:
    """A record beside what its question gives again, or why it gives nothing."""
    reasons = _suspects(served, core, config)
    remade, differences = (
        ([], [answer]) if isinstance(answer, str) else (slots_of(answer), _differences(served, answer))
    )
    return SlateReplay(
        slate=served.slate,
        user=served.user,
        position=served.positions[0],
        now=served.ts,
        identical=not differences,
        differences=differences,
        reasons=reasons if differences else [],
        scorer=served.scorer_version,
        config=served.config_version,
        approximate=list(dict.fromkeys(source for _, source, _ in served.candidates or ())),
        logged=served.items,
        remade=remade,
    )


def slots_of(answer: Answer) -> list[Slot]:
    """An answer's slots as a record holds them."""
    return [(r.item, r.score, r.source, r.propensity, r.propensity_cascade, r.pinned) for r in answer.items]


def _suspects(served: SlateServed, core: Core, config: Config) -> list[str]:
    """What may make a slate come out otherwise than it was served."""
    found = []
    if served.scorer_version != SCORER_VERSION:
        found.append(f"scorer {served.scorer_version} made it, today's is {SCORER_VERSION}")
    active = active_version(core, query_version(config.query))
    if served.config_version != active:
        found.append(f"configuration {served.config_version} answered it, at its position {active} is active")
    if served.left_out:
        found.append(f"item hosts were left out: {', '.join(served.left_out)}")
    return found or ["same scorer, same configuration: the state, the record or the code is not what it was"]


def _differences(served: SlateServed, answer: Answer) -> list[str]:
    remade = slots_of(answer)
    found = []
    if len(remade) != len(served.items):
        found.append(f"{len(served.items)} slots logged, {len(remade)} made again")
    for slot, (was, now) in enumerate(zip(served.items, remade, strict=False)):
        if _bits(was) != _bits(now):
            pairs = zip(_FIELDS, was, now, strict=True)
            told = [f"{name} {a!r} logged, {b!r} made again" for name, a, b in pairs if a != b]
            found.append(f"slot {slot}: " + ("; ".join(told) or "numbers differ in their last bits"))
    extra = served.extra or {}
    for name in ("temperature", "floor"):  # records of `recommend_many` do not hold them
        again = getattr(answer.exploring, name)
        if name in extra and extra[name] != again:
            found.append(f"{name} {extra[name]!r} logged, {again!r} made again")
    return found


def _bits(slot: Slot) -> tuple[str, str, bool, bytes]:
    item, score, source, propensity, cascade, pinned = slot
    return item, source, pinned, struct.pack("<ddd", score, propensity, cascade)


def replay_slate(directory: Path, slate: str, threads: int | None = None) -> SlateReplay:
    """Make one slate of a directory again; writes nothing. O(log). Raises `InvalidInput` for an unknown slate."""
    check_begun(directory)
    config = directory_config(directory)
    log = SqliteLog(directory, generation_of(config.generation), read_only=True)
    try:
        return replay_of(slate, log, config, DirectorySnapshots(directory / "snapshots"), threads)
    finally:
        log.close()


def replay_of(
    slate: str, log: EventLog, config: Config, snapshots: SnapshotStore | None = None, threads: int | None = None
) -> SlateReplay:
    """Make one slate of a log again. O(log). Raises `InvalidInput` for an unknown slate."""
    served = find_record(slate, log)
    if served is None:
        raise InvalidInput(
            f"slate = {slate!r:.80}: no record in the log names it; allowed: a recorded slate",
            field="slate",
            value=slate,
        )
    threads = threads or config.engine.threads
    if of_several_positions(served):
        [again] = remade_by_hosts([served], log, config, threads)
        return _compared(served, again.answer, again.core, config)
    return remake(served, rebuild(log, snapshots, config, threads, served.positions[0]), config)


def replay_slates(
    log: EventLog,
    config: Config,
    *,
    snapshots: SnapshotStore | None = None,
    threads: int | None = None,
    since: int = 1,
    until: int | None = None,
    limit: int | None = None,
    progress: Call | None = None,
) -> SlatesReport:
    """Make the slates again that were answered at positions `since` to `until` (both included), at most the first
    `limit`, with one forward fold, and passes of their own for those whose hosts stood apart. `progress` is called with
    (slates done, slates in all).

    Without `snapshots` the fold begins at the log's first frame. O(log + slates). Raises `LogCorrupt`.
    """
    records = ServedSlates(log, config.generation.max_future_ms, since=since, until=until)
    scorers: Counter[str] = Counter()
    different: list[SlateReplay] = []
    identical = approximate = 0
    threads = threads or config.engine.threads
    apart: list[SlateServed] = []

    def made_again() -> Iterator[SlateReplay]:
        for served, core in with_states(log, config, records, snapshots, threads, limit, progress):
            if of_several_positions(served):
                apart.append(served)
                if len(apart) >= _APART:
                    yield from by_hosts()
            else:
                yield remake(served, core, config)
        yield from by_hosts()

    def by_hosts() -> Iterator[SlateReplay]:
        taken, apart[:] = list(apart), []
        for again in remade_by_hosts(taken, log, config, threads):
            yield _compared(again.served, again.answer, again.core, config)

    for replay in made_again():
        scorers[replay.scorer] += 1
        identical += replay.identical
        approximate += bool(replay.approximate)
        if not replay.identical and len(different) < DIFFERENT_SHOWN:
            different.append(replay)
    return SlatesReport(
        slates=sum(scorers.values()),
        identical=identical,
        different=different,
        approximate=approximate,
        scorers=dict(scorers),
        set_aside=dict(records.set_aside),
        since=since,
        until=log.last() if until is None else until,
    )


def with_states(
    log: EventLog,
    config: Config,
    records: ServedSlates,
    snapshots: SnapshotStore | None,
    threads: int | None,
    limit: int | None,
    progress: Call | None,
) -> Iterator[tuple[SlateServed, Core]]:
    """The records, at most the first `limit`, each with the state that answered it; one forward fold. The state is good
    until the next one is asked for."""
    total = len(records) if limit is None else min(limit, len(records))
    fold = _begin_fold(log, config, snapshots, threads or config.engine.threads, records.first_position())
    for done, served in enumerate(records):
        if done == total:
            return
        yield served, fold.reach(served.positions[0])
        if progress is not None:
            progress(done + 1, total)


def _begin_fold(
    log: EventLog, config: Config, snapshots: SnapshotStore | None, threads: int, position: int
) -> ForwardFold:
    """A fold that stands where `position`, the first one asked for, can be reached from. Nothing is read beyond the
    log's present end."""
    if snapshots is None or position < 1:
        return ForwardFold(new_core(config, threads), log)
    return ForwardFold(rebuild(log, snapshots, config, threads, position), log)
