"""Slates whose hosts stood at different positions are made again from the log and the positions in their records."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import pytest

from headwater import Engine
from headwater.answer import decode_answer
from headwater.config import Config, config_from_table
from headwater.core import reply_position, whole_digest
from headwater.events.frame import FrameWriter
from headwater.events.log import EventLog
from headwater.events.memory_log import MemoryLog
from headwater.events.subjects import partition_of, subject_of
from headwater.events.types import SlateServed
from headwater.host_replay import SILENT, Rounds, _Asked, _rounds, of_several_positions, runs
from headwater.slate_record import SCORER_VERSION
from headwater.slate_replay import replay_of, replay_slates
from headwater.verify import verify_hosts
from reference.host_cluster import HostCluster

START = 1_700_000_000_000
SESSIONS, ITEMS = 2, 3


def config() -> Config:
    return config_from_table({"generation": {"partitions": 4, "shards": 3}})


def events(seed: int) -> EventLog:
    """A shop's log, a frame an event; few items, so that questions need the catalogue to fill in."""
    draw = random.Random(seed)
    with Engine.open(":memory:", config=config(), clock="log") as engine:
        for n in range(12):
            engine.put_item(f"i{n}", categories=[f"c{n % 3}"], labels={"price": n})
        for n in range(200):
            kind = draw.choice(["view", "view", "cart", "purchase"])
            engine.track(kind, user=f"u{draw.randrange(9)}", item=f"i{draw.randrange(12)}", ts=START + n * 60_000)
        log = MemoryLog()
        for batch in engine.log.read():
            log.append(batch.frames)
    return log


class Paces:
    """Hosts that fold at their own pace."""

    def __init__(self, log: EventLog, seed: int) -> None:
        self.draw = random.Random(seed)
        self.frames = [frame for batch in log.read() for frame in batch.frames]
        self.hosts = HostCluster(config(), SESSIONS, ITEMS)
        self._done = [0] * (SESSIONS + ITEMS)

    def go_on(self, at: int) -> None:
        """Each folds until about there."""
        for n, host in enumerate((*self.hosts.sessions, *self.hosts.items)):
            until = max(self._done[n], at - self.draw.choice([0, 0, 1, 4]))
            host.feed(list(range(self._done[n] + 1, until + 1)), self.frames[self._done[n] : until])
            self._done[n] = until


def served(
    hosts: HostCluster,
    at: int,
    number: int,
    silent: Sequence[Collection[int]] = ((),),
    moved: Callable[[], None] | None = None,
) -> tuple[SlateServed, int]:
    """A slate as a host serves and records it, and how many scatters it took. `silent`: item hosts that do not answer,
    by round, the last for all later ones. `moved` is called whenever hosts may fold on meanwhile."""
    user = f"u{number % 11}"
    owner = hosts.sessions[partition_of(user, 4) % SESSIONS].core
    slate, now = f"s{partition_of(user, 4) % SESSIONS}-1-{number}", START + at * 60_000
    request: dict[str, Any] = {"user": user, "items": [], "n": 4, "exclude": [], "now": now, "sources": {}}
    request |= {"exploration": 0.2} if number % 3 else {"n": 11, "sources": {"bought_together": 1.0}}
    sent, made_at = owner.scatter(msgspec.msgpack.encode(request | {"key": slate})), owner.position
    rounds: Rounds = []
    left_out: set[int] = set()
    move = moved or (lambda: None)
    while True:
        move()
        out = silent[min(len(rounds), len(silent) - 1)]
        left_out |= set(out)
        replies = {n: host.core.candidates(sent) for n, host in enumerate(hosts.items) if n not in out}
        told = [reply_position(replies[n]) if n in replies else SILENT for n in range(ITEMS)]
        rounds.append([made_at, *told])
        move()
        made_at = owner.position
        answer, more = owner.gather(sent, list(replies.values()))
        if answer is not None:
            break
        assert more is not None
        sent = more
    decoded = decode_answer(answer)
    record = SlateServed(
        slate=slate,
        user=user,
        ts=now,
        request=request,
        variant=None,
        config_version=owner.active_config() or "",
        scorer_version=SCORER_VERSION,
        positions=[decoded.position, *(rounds[0][1 + n] for n in range(ITEMS) if n not in left_out)],
        left_out=[f"i{n}" for n in sorted(left_out)],
        candidates=None,
        items=[(r.item, r.score, r.source, r.propensity, r.propensity_cascade, r.pinned) for r in decoded.items],
        extra={"temperature": decoded.exploring.temperature, "floor": decoded.exploring.floor}
        | ({} if moved is None else {"rounds": rounds}),
    )
    return record, len(rounds)


def add_records(log: EventLog, records: Sequence[SlateServed], producer: str = "records") -> None:
    writer = FrameWriter(producer, 1)
    for record in records:
        log.append(list(writer.pack(subject_of(record, 4), [record], START)))


def recorded(seed: int) -> tuple[EventLog, list[SlateServed], list[int]]:
    """A log with slates by hosts that fold at their own pace."""
    log = events(seed)
    paces = Paces(log, seed + 1)
    records, scatters = [], []
    for number, at in enumerate(range(60, len(paces.frames), 3)):
        paces.go_on(at)
        record, count = served(paces.hosts, at, number, ((1,) if number % 10 == 0 else (),))
        records.append(record)
        scatters.append(count)
    add_records(log, records)
    return log, records, scatters


@pytest.mark.parametrize("seed", [3, 4])
def test_slates_of_hosts_that_stood_apart_are_made_again(seed: int) -> None:
    log, records, scatters = recorded(seed)
    apart = [record for record in records if of_several_positions(record)]
    assert len(apart) > len(records) // 2
    assert max(scatters) > 1, "some questions needed another scatter"
    report = replay_slates(log, config(), threads=1)
    assert [(replay.slate, replay.differences) for replay in report.different] == []
    assert (report.slates, report.identical) == (len(records), len(records))
    assert replay_of(apart[-1].slate, log, config(), threads=1).identical


@pytest.mark.parametrize(
    "silent",
    [((),), ((1,),), ((), (1,)), ((1,), ()), ((0,), (2,)), ((0, 1), (1, 2))],
    ids=["none", "always", "later", "at-first", "another-each-time", "none-throughout"],
)
def test_slates_whose_hosts_folded_on_between_their_rounds_are_made_again(silent: Sequence[Collection[int]]) -> None:
    log = events(6)
    paces = Paces(log, 7)
    paces.go_on(50)
    records, scatters = [], []
    for number, at in enumerate(range(60, len(paces.frames) - 20, 6)):
        steps = itertools.count(at, 2)
        record, count = served(paces.hosts, at, number, silent, lambda steps=steps: paces.go_on(next(steps)))
        records.append(record)
        scatters.append(count)
    add_records(log, records)
    assert max(scatters) > 1
    assert all(map(of_several_positions, records))
    report = replay_slates(log, config(), threads=1)
    assert [(replay.slate, replay.differences) for replay in report.different] == []
    assert report.identical == len(records)


def test_positions_of_a_round_are_those_of_its_scatter_its_answers_and_what_followed() -> None:
    record, _ = served(HostCluster.of(events(1), config(), SESSIONS, ITEMS), 1, 1)
    moved = msgspec.structs.replace(record, positions=[20, 5], left_out=["i0", "i2"])
    rounds = [[7, SILENT, 5, 6], [9, 8, 8, SILENT]]
    asked = _Asked(msgspec.structs.replace(moved, extra={"rounds": rounds}), None)
    assert asked.positions == [7, SILENT, 5, 6, 9]
    assert asked._replace(round=1).positions == [9, 8, 8, SILENT, 20]
    assert asked._replace(round=2).positions == [9, 8, 8, SILENT, 20], "asked once more than was recorded"


@pytest.mark.parametrize("rounds", [None, [], "x", [[1, 2]], [[1, 2, 3, 4], [1]], [[-1, 2, 3, 4]], [[1, 2, -2, 4]]])
def test_a_foreign_record_whose_rounds_cannot_be_has_one(rounds: Any) -> None:
    record, _ = served(HostCluster.of(events(1), config(), SESSIONS, ITEMS), 1, 1)
    foreign = msgspec.structs.replace(record, positions=[20, 5, 6], left_out=["i1"], extra={"rounds": rounds})
    assert _rounds(foreign) == [[20, 5, SILENT, 6]]
    alone = msgspec.structs.replace(record, positions=[20], left_out=[], extra={"rounds": [[1]]})
    assert not of_several_positions(alone), "an engine's record"


def test_a_record_of_another_position_is_found_out() -> None:
    log, records, _ = recorded(5)
    record = next(r for r in records if of_several_positions(r) and not r.left_out)
    changed = msgspec.structs.replace(record, slate="s0-1-999", positions=[record.positions[0], 1, 1, 1])
    add_records(log, [changed], "other")
    report = replay_slates(log, config(), threads=1)
    assert [replay.slate for replay in report.different] == ["s0-1-999"]


def test_runs_never_go_back() -> None:
    draw = random.Random(1)
    record, _ = served(HostCluster.of(events(1), config(), SESSIONS, ITEMS), 1, 1)
    asked = []
    for at in range(100):
        positions = [at, *(max(0, at + draw.randrange(-3, 4)) for _ in range(2))]
        asked.append(_Asked(msgspec.structs.replace(record, positions=positions), None))
    cut = list(runs(asked))
    assert [entry for run in cut for entry in run] == asked
    assert len(cut) > 5
    for before, behind in itertools.pairwise(cut):
        for host in range(3):
            assert max(a.positions[host] for a in before) <= min(b.positions[host] for b in behind)


def test_hosts_are_compared_with_the_replay_each_at_its_own_position() -> None:
    log = events(2)
    hosts = HostCluster.of(log, config(), SESSIONS, ITEMS)
    told = [
        {"host": f"h{n}", "position": host.core.position, "digest": host.core.digest()}
        for n, host in enumerate([*hosts.sessions, *hosts.items])
    ]
    late = HostCluster(config(), SESSIONS, ITEMS).sessions[0]
    frames = [frame for batch in log.read() for frame in batch.frames]
    late.feed(list(range(1, 101)), frames[:100])
    told[0] = {"host": "h0", "position": 100, "digest": late.core.digest()}
    report = verify_hosts(log, config(), 1, told)
    assert (report.equal, report.problems) == (True, [])
    assert report.digest["replay"] == whole_digest(
        config(), [host.core.digest() for host in (*hosts.sessions, *hosts.items)]
    )
    told[0]["position"] = 50
    [problem] = verify_hosts(log, config(), 1, told).problems
    assert problem.where == "host h0"
