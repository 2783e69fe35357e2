"""Slates whose hosts stood at different positions are made again from the log and the positions in their records."""

from __future__ import annotations

import itertools
import random
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
from headwater.host_replay import _Asked, of_several_positions, runs
from headwater.slate_record import SCORER_VERSION
from headwater.slate_replay import replay_of, replay_slates
from headwater.verify import verify_hosts
from reference.host_cluster import Host, HostCluster

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


def served(hosts: HostCluster, at: int, number: int, left_out: tuple[int, ...] = ()) -> tuple[SlateServed, bool]:
    """A slate as a host serves and records it, and whether it took one scatter."""
    user = f"u{number % 11}"
    owner = hosts.sessions[partition_of(user, 4) % SESSIONS].core
    slate, now = f"s{partition_of(user, 4) % SESSIONS}-1-{number}", START + at * 60_000
    request: dict[str, Any] = {"user": user, "items": [], "n": 4, "exclude": [], "now": now, "sources": {}}
    request |= {"exploration": 0.2} if number % 3 else {"n": 11, "sources": {"bought_together": 1.0}}
    sent = owner.scatter(msgspec.msgpack.encode(request | {"key": slate}))
    asked = [host.core for n, host in enumerate(hosts.items) if n not in left_out]
    positions: list[int] = []
    scatters = 0
    while True:
        replies = [core.candidates(sent) for core in asked]
        positions = positions or list(map(reply_position, replies))
        scatters += 1
        answer, more = owner.gather(sent, replies)
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
        positions=[decoded.position, *positions],
        left_out=[f"i{n}" for n in left_out],
        candidates=None,
        items=[(r.item, r.score, r.source, r.propensity, r.propensity_cascade, r.pinned) for r in decoded.items],
        extra={"temperature": decoded.exploring.temperature, "floor": decoded.exploring.floor},
    )
    return record, scatters == 1


def recorded(seed: int) -> tuple[EventLog, list[SlateServed], list[bool]]:
    """A log with slates by hosts that fold at their own pace."""
    log, draw = events(seed), random.Random(seed + 1)
    frames = [frame for batch in log.read() for frame in batch.frames]
    hosts = HostCluster(config(), SESSIONS, ITEMS)
    everyone: list[Host] = [*hosts.sessions, *hosts.items]
    done = [0] * len(everyone)
    records, once = [], []
    for number, at in enumerate(range(60, len(frames), 3)):
        for n, host in enumerate(everyone):
            until = max(done[n], at - draw.choice([0, 0, 1, 4]))
            host.feed(list(range(done[n] + 1, until + 1)), frames[done[n] : until])
            done[n] = until
        record, alone = served(hosts, at, number, (1,) if number % 10 == 0 else ())
        records.append(record)
        once.append(alone)
    writer = FrameWriter("records", 1)
    for record in records:
        log.append(list(writer.pack(subject_of(record, 4), [record], START)))
    return log, records, once


@pytest.mark.parametrize("seed", [3, 4])
def test_slates_of_hosts_that_stood_apart_are_made_again(seed: int) -> None:
    log, records, once = recorded(seed)
    apart = [record for record in records if of_several_positions(record)]
    assert len(apart) > len(records) // 2
    assert not all(once), "some questions needed another scatter"
    report = replay_slates(log, config(), threads=1)
    assert [(replay.slate, replay.differences) for replay in report.different] == []
    assert (report.slates, report.identical) == (len(records), len(records))
    assert replay_of(apart[-1].slate, log, config(), threads=1).identical


def test_a_record_of_another_position_is_found_out() -> None:
    log, records, _ = recorded(5)
    record = next(r for r in records if of_several_positions(r) and not r.left_out)
    changed = msgspec.structs.replace(record, slate="s0-1-999", positions=[record.positions[0], 1, 1, 1])
    log.append(list(FrameWriter("other", 1).pack(subject_of(changed, 4), [changed], START)))
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
