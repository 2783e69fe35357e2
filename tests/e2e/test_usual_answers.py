"""Questions that hosts answer without Python: as Python answers them, with all that an answer brings along."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from cluster_rig import wait_for
from headwater.cli import main
from headwater.cluster.answers import shown
from headwater.cluster.host import Host
from headwater.cluster.records import RecordWriter
from headwater.cluster.slates import Slates
from headwater.cluster.usual_slates import request_of, slate_of
from headwater.cluster_log import cluster_log
from headwater.config import Config, config_from_table
from headwater.core import RecordGroup, UsualSlate
from headwater.errors import Unavailable
from headwater.events.frame import encode_event
from headwater.events.nats_server import NatsServer
from headwater.events.types import Feedback, SlateServed
from headwater.protocol import Recommend, decode_request, encoding_of, host_subject
from headwater.served_slates import ServedSlates
from headwater.slate import Slate
from headwater.slate_record import slate_record
from host_rig import Hosts, hosts
from nats_server import nats_server

__all__ = ["nats_server"]

pytestmark = pytest.mark.e2e

DAY = 86_400_000
_plain: dict[str, Any] = {"json": msgspec.json.Decoder(), "msgpack": msgspec.msgpack.Decoder()}


def config(**cluster: int) -> Config:
    return config_from_table(
        {"generation": {"partitions": 8, "shards": 4}, "query": {"exploration": 0.2}, "cluster": cluster}
    )


def events(count: int) -> list[Feedback]:
    start = int(time.time() * 1000) - DAY
    return [
        Feedback(type="purchase" if n % 5 == 0 else "view", user=f"u{n % 20}", item=f"i{n * n % 29}", ts=start + n)
        for n in range(count)
    ]


@contextmanager
def coming(running: Hosts) -> Iterator[None]:
    """Events come all the while."""
    done = threading.Event()

    def come() -> None:
        with running.client() as other:
            n = 0
            while not done.is_set():
                other.track("view", user=f"u{n % 23}", item=f"i{n % 29}")
                n += 1

    thread = threading.Thread(target=come)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="module")
def shop(nats_server: NatsServer) -> Iterator[Hosts]:
    with hosts(nats_server, config(), 1, 2) as running, running.client() as client:
        client.put_items({"item": f"i{n}", "categories": [f"c{n % 3}"]} for n in range(30))
        client.recommend("u1", 1, after=client.track_many(events(300)))
        # Python counts an answer once it is on its way.
        wait_for("it is counted", lambda: running.hosts["s0"].metrics.verb_stats("recommend")["answered"] == 1)
        yield running


def asked(running: Hosts, data: bytes, verb: str = "recommend") -> bytes:
    """The answer of the session host to a request of these bytes."""
    nc = running.hosts["s0"]._nc
    subject = host_subject(running.namespace, "s0", verb)
    reply = running.wait(nc.request(subject, data, timeout=10))
    return bytes(reply.data)


def taken(host: Host, verb: str) -> int:
    """Requests that a host answered without Python."""
    count: int = host._nc.wire.taken(host._endpoint.subscription(verb))
    return count


def as_json(**request: Any) -> bytes:
    return json.dumps(request).encode()


REQUESTS: list[dict[str, Any]] = [
    {"user": "u3"},
    {"user": "u4", "n": 3, "record": False},
    {"user": "nobody", "n": 1},
    {"user": "u5", "exclude": ["i1", "i2"], "n": 25},
    {"user": "ü", "deadline_ms": 900, "detail": False, "sources": {}},
    {"user": "u6", "detail": True, "n": 8},
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: str(request["user"]))
@pytest.mark.parametrize(
    ("encode", "compact"),
    [(msgspec.json.encode, False), (msgspec.msgpack.encode, False), (msgspec.msgpack.encode, True)],
    ids=["json", "msgpack", "compact"],
)
def test_an_answer_says_what_python_would_say_of_its_slate(
    shop: Hosts, request_: dict[str, Any], encode: Any, compact: bool
) -> None:
    host, item_host = shop.hosts["s0"], shop.hosts["i0"]
    data = encode(request_ | {"compact": compact} if compact else request_)
    before = taken(host, "recommend"), taken(item_host, "candidates"), host.metrics.verb_stats("recommend")["answered"]
    answer = asked(shop, data)
    assert taken(host, "recommend") == before[0] + 1
    scatters = taken(item_host, "candidates") - before[1]
    assert scatters == (2 if request_.get("n", 10) > 20 else 1), "a slate that the catalogue fills takes two"
    assert host.metrics.verb_stats("recommend")["answered"] == before[2] + 1
    plain = _plain[encoding_of(data)].decode(answer)
    known = host._slates.memory.get(plain["id" if compact else "slate"])
    assert known is not None
    question = decode_request("recommend", data).request
    assert isinstance(question, Recommend)
    written = (msgspec.json if encoding_of(data) == "json" else msgspec.msgpack).encode(shown(known.slate, question))
    assert plain == _plain[encoding_of(data)].decode(written)
    assert list(plain) == list(_plain[encoding_of(data)].decode(written)), "in the same order, for who reads it"
    assert len(known.slate) == min(request_.get("n", 10), 20), "all that they did not buy"
    assert known.slate.recorded == request_.get("record", True)
    assert set(request_.get("exclude", [])).isdisjoint(known.slate.item_ids)
    if compact:
        slate = msgspec.msgpack.decode(answer, type=Slate)
        assert [r.reason for r in slate] == [r.reason for r in known.slate]


ODD = [
    b"",
    b"{}",
    b"[]",
    b'["u1"]',
    b'{"user": "u1"',
    b'{"user": "u1"} ',
    b' {"user": "u1"}',
    b'{"user": "u1"}{}',
    b'{"user": 7}',
    b'{"user": 7.5}',
    b'{"user": true}',
    b'{"user": null}',
    b'{"user": ""}',
    b'{"user": "\\u0001"}',
    b'{"user": "\\ud800"}',
    b'{"user": "' + b"x" * 512 + b'"}',
    b'{"user": "' + b"x" * 513 + b'"}',
    b'{"user": "\xff"}',
    b'{"user": "u1", "user": "u2"}',
    b'{"user": "u1", "n": 0}',
    b'{"user": "u1", "n": -1}',
    b'{"user": "u1", "n": 1001}',
    b'{"user": "u1", "n": 2.0}',
    b'{"user": "u1", "n": "2"}',
    b'{"user": "u1", "n": null}',
    b'{"user": "u1", "n": 99999999999999999999}',
    b'{"user": "u1", "record": null}',
    b'{"user": "u1", "record": 1}',
    b'{"user": "u1", "deadline_ms": null}',
    b'{"user": "u1", "deadline_ms": 0}',
    b'{"user": "u1", "deadline_ms": 60001}',
    b'{"user": "u1", "compact": null}',
    b'{"user": "u1", "compact": true}',
    b'{"user": "u1", "exclude": null}',
    b'{"user": "u1", "exclude": "i1"}',
    b'{"user": "u1", "exclude": [1, "i2"]}',
    b'{"user": "u1", "exclude": [""]}',
    b'{"user": "u1", "sources": {"popular": 1}}',
    b'{"user": "u1", "sources": {"nothing": 1}}',
    b'{"user": "u1", "sources": null}',
    b'{"user": "u1", "context": {"page": "home"}}',
    b'{"user": "u1", "what": 1}',
    b'{"user": "u1", "scenario": "nothing"}',
    b'{"user": "u1", "filter": "price <"}',
    b"\x81\xa4user\xa2u1",
    b"\x81\xa4user\xa2u1\xc0",
    b"\x81\xa4user\xc4\x02u1",
    b"\x81\xa4user\xa2u",
    b"\x81\xc4\x04user\xa2u1",
    b"\x82\xa4user\xa2u1\xa1n\xd1\x00\x02",
    b"\x82\xa4user\xa2u1\xa1n\xcb\x40\x00\x00\x00\x00\x00\x00\x00",
    b"\xde\x00\x01\xa4user\xa2u1",
    b"\x91\xa2u1",
]


@pytest.mark.parametrize("data", ODD, ids=range(len(ODD)))
def test_odd_requests_are_answered_and_refused_as_by_python(shop: Hosts, data: bytes) -> None:
    def outcome() -> tuple[object, ...]:
        answer = _plain[encoding_of(data)].decode(asked(shop, data))
        error = answer.get("error")
        if error is not None:
            return error["code"], error["message"], error.get("field")
        return tuple(sorted(answer)), len(answer["items"])

    usual = outcome()
    door = shop.hosts["s0"]._endpoint.door
    door.open = False
    try:
        assert usual == outcome()
    finally:
        door.open = True


def test_slates_are_recorded_and_made_again_also_where_the_owner_folded_in_between(nats_server: NatsServer) -> None:
    with hosts(nats_server, config(), 2, 2) as running, running.client() as client:
        client.put_items({"item": f"i{n}", "categories": [f"c{n % 3}"]} for n in range(30))
        client.track_many(events(300))
        with coming(running):
            slates = [client.recommend(f"u{n % 20}", 5) for n in range(300)]
        assert sum(taken(running.hosts[name], "recommend") for name in ("s0", "s1")) > 200

        def recorded() -> list[SlateServed] | None:
            with cluster_log(running.options, running.namespace) as (log, found):
                records = list(ServedSlates(log, found.generation.max_future_ms))
            return records if len(records) == len(slates) else None

        records = {record.slate: record for record in wait_for("slates are recorded", recorded)}
        url = ["--url", running.options.url, "--namespace", running.namespace]
        done_ = CliRunner().invoke(main, ["verify", *url, "--slates", "--json"])
    assert done_.exit_code == 0, done_.output
    report = json.loads(done_.output)
    assert (report["slates"]["slates"], report["slates"]["identical"]) == (300, 300)
    assert any((record.extra or {}).get("rounds") for record in records.values()), "else this shows nothing new"
    for slate in slates:
        record = records[slate.id]
        assert [item for item, *_ in record.items] == slate.item_ids
        assert (record.user, record.positions) == (slate.user, slate.positions)
        assert "key" not in record.request


@pytest.mark.parametrize("exploration", [0.0, 0.3])
def test_a_record_made_by_the_core_is_what_python_would_write(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, exploration: float
) -> None:
    by_core: dict[str, bytes] = {}
    write = RecordWriter._write

    async def noted(self: RecordWriter, others: list[Any], groups: list[RecordGroup]) -> None:
        for group in groups:
            events = msgspec.msgpack.decode(group.body, type=list[msgspec.Raw])
            by_core.update(zip(group.slates, map(bytes, events), strict=True))
        await write(self, others, groups)

    def by_python(served: UsualSlate) -> bytes:
        record = slate_record(slate_of(served), request_of(served))
        if served.round is not None:
            rounds.append(served.id)
            record = msgspec.structs.replace(record, extra=(record.extra or {}) | {"rounds": [served.round]})
        return encode_event(record)

    rounds: list[str] = []
    monkeypatch.setattr(RecordWriter, "_write", noted)
    found = config_from_table({"generation": {"partitions": 8}, "query": {"exploration": exploration}})
    with hosts(nats_server, found, 1, 2) as running, running.client() as client:
        client.put_items({"item": f"i{n}", "categories": [f"c{n % 3}"]} for n in range(30))
        client.recommend("u1", after=client.track_many(events(300)))
        host = running.hosts["s0"]
        wait_for("what came before is written", lambda: not host._records.pending)
        by_core.clear()
        with coming(running):
            slates = [
                client.recommend(f"u{n % 30}", 5, exclude=["i1", "i2"][: n % 3], record=n % 7 != 0) for n in range(100)
            ]
        wait_for("what was answered is written", lambda: not host._records.pending)
        shelf = host._slates._usual_memory.shelf
        served = [usual for slate in slates if (usual := shelf.get(slate.id)) is not None]
        assert {usual.id: by_python(usual) for usual in served if usual.recorded} == by_core
        assert len(served) > len(by_core) > 50, "most are usual, and a seventh of them is not recorded"
        assert rounds


def test_the_latest_slates_are_kept_until_they_are_forgotten(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.cluster.usual_slates.KEPT", 3)
    with hosts(nats_server, config(), 1, 1) as running, running.client() as client, running.client() as other:
        other.recommend("u1", 2, after=other.track_many(events(300)))
        memory = running.hosts["s0"]._slates.memory
        ids = [client.recommend(user, 2).id for user in ("u2", "u2", "u3", "u3")]
        assert [memory.get(slate) is None for slate in ids] == [True, False, False, False]
        known = memory.get(ids[1])
        assert known is not None
        assert (known.slate.id, known.user, known.slate.recorded) == (ids[1], "u2", True)
        memory.forget("u2")
        assert [memory.get(slate) is None for slate in ids] == [True, True, False, False]
        memory.clear()
        assert memory.get(ids[3]) is None


def deaf(host: Host, verb: str) -> None:
    """A host that hears a verb no longer, and lives."""
    subscription = host._endpoint.subscription(verb)
    host._nc.wire.leave(subscription)
    host._nc._takers[subscription] = lambda *_: None


def test_a_late_item_host_is_left_out_and_named(nats_server: NatsServer) -> None:
    with hosts(nats_server, config(), 1, 2) as running, running.client() as client:
        client.recommend("u1", 2, after=client.track("view", user="u1", item="i1"))
        host = running.hosts["s0"]
        before = taken(host, "recommend")
        deaf(running.hosts["i1"], "candidates")
        slate = client.recommend("u1", 2, deadline_ms=300)
        assert taken(host, "recommend") == before + 1
        assert slate.degraded == ["item host i1 left out: late"]
        deaf(running.hosts["i0"], "candidates")
        answers = [asked(running, as_json(user="u1", deadline_ms=wait)) for wait in (200, 1)]
        for answer in answers:
            error = json.loads(answer)["error"]
            assert (error["code"], "late" in error["message"]) == ("unavailable", True)
        assert host._endpoint.pending == 0


def test_one_timer_is_enough_whatever_deadlines_questions_have(nats_server: NatsServer) -> None:
    with hosts(nats_server, config(), 1, 1) as running, running.client() as client:
        client.recommend("u1", 2, after=client.track("view", user="u1", item="i1"))
        host, nc = running.hosts["s0"], running.hosts["i0"]._nc
        deaf(running.hosts["i0"], "candidates")
        subject = host_subject(running.namespace, "s0", "recommend")
        answers: list[bytes] = []
        expire = host._slates._usual.expire

        async def ask_many() -> None:
            await nc.ready_to_ask()
            for wait in (800, 700, 600, 500, 400, 300, 200, 100, 700, 500, 300):
                nc.ask(subject, as_json(user="u1", deadline_ms=wait), lambda data, _: answers.append(data))

        async def timers() -> int:
            scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
            return sum(timer._callback == expire and not timer.cancelled() for timer in scheduled)

        running.wait(ask_many())
        wait_for("eight are late", lambda: len(answers) >= 8)
        assert running.wait(timers()) <= 4, "one for each that is not late yet, and the one that is due"
        wait_for("all are late", lambda: len(answers) == 11)
        assert host._endpoint.pending == 0


def test_an_item_host_that_refuses_is_named_with_its_reason(nats_server: NatsServer) -> None:
    with hosts(nats_server, config(), 1, 2) as running, running.client() as client:
        client.recommend("u1", 2, after=client.track("view", user="u1", item="i1"))
        running.wait(_drained(running.hosts["i1"]))
        before = taken(running.hosts["s0"], "recommend")
        slate = client.recommend("u1", 2)
        assert taken(running.hosts["s0"], "recommend") == before + 1
        [why] = slate.degraded
        assert why.startswith("item host i1 left out: ")
        assert "late" not in why


async def _drained(host: Host) -> None:
    await host._drain(None)


def test_no_more_than_the_limit_wait_and_a_host_leaves_with_the_last_answer(nats_server: NatsServer) -> None:
    with hosts(nats_server, config(max_pending=3), 1, 2) as running, running.client() as client:
        client.recommend("u1", 2, after=client.track("view", user="u1", item="i1"))
        host, nc = running.hosts["s0"], running.hosts["i0"]._nc
        deaf(running.hosts["i1"], "candidates")
        subject = host_subject(running.namespace, "s0", "recommend")
        answers: list[dict[str, Any]] = []

        async def ask_many() -> None:
            await nc.ready_to_ask()
            for _ in range(5):
                nc.ask(subject, as_json(user="u1", deadline_ms=400), lambda data, _: answers.append(json.loads(data)))

        running.wait(ask_many())
        wait_for("two are refused", lambda: len(answers) == 2)
        assert [answer["error"]["code"] for answer in answers] == ["overloaded"] * 2
        assert host._endpoint.pending == 3
        host.leave()
        wait_for("three are answered", lambda: len(answers) == 5)
        assert [answer["degraded"] for answer in answers[2:]] == [["item host i1 left out: late"]] * 3


def test_a_rate_and_a_recovery_keep_questions_from_being_answered_unseen(nats_server: NatsServer) -> None:
    with hosts(nats_server, config(requests_per_second=5), 1, 2) as running:
        codes = [json.loads(asked(running, as_json(user="u1"))).get("error", {}).get("code") for _ in range(30)]
        assert "overloaded" in codes
        assert taken(running.hosts["s0"], "recommend") == 0


def test_a_slate_is_explained_until_its_visitor_is_forgotten(nats_server: NatsServer) -> None:
    with hosts(nats_server, config(), 1, 1) as running, running.client() as client:
        client.track_many(events(200))
        client.recommend("u2", 1, after=client.track("view", user="u2", item="i3"))
        before = taken(running.hosts["s0"], "recommend")
        slate = client.recommend("u2", 3)
        assert taken(running.hosts["s0"], "recommend") == before + 1
        why = client.explain(slate.id, slate.item_ids[0])
        assert [reason.seed for reason in why.reasons] == [reason.seed for reason in slate[0].reasons]
        known = running.hosts["s0"]._slates.memory
        assert known.get(slate.id) is not None
        client.forget("u2")
        assert known.get(slate.id) is None


def test_a_defect_makes_nobody_deaf(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[BaseException | None] = []
    broken = threading.Event()
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_value))

    def slates(*given: Any) -> Slates:
        *others, clock = given
        return Slates(*others, lambda: 1 // 0 if broken.is_set() else clock())

    monkeypatch.setattr("headwater.cluster.host.Slates", slates)
    with hosts(nats_server, config(), 1, 2) as running, running.client() as client:
        client.recommend("u1", 2, after=client.track("view", user="u1", item="i1"))
        broken.set()
        with pytest.raises(Unavailable):
            client.recommend("u1", 2, deadline_ms=400)
        broken.clear()
        assert client.recommend("u1", 2).degraded == []
    assert {type(err) for err in told} == {ZeroDivisionError}


def test_nothing_is_left_of_hosts_that_left(nats_server: NatsServer) -> None:
    with hosts(nats_server, config(), 1, 1) as running, running.client() as client:
        client.recommend("u1", 2, after=client.track("view", user="u1", item="i1"))
        client.recommend("u1", 2)
        known = [weakref.ref(host) for host in running.hosts.values()]
    running.hosts.clear()
    gc.collect()
    assert [host() for host in known] == [None, None]


def test_services_count_what_was_taken_without_python(shop: Hosts) -> None:
    async def stats() -> dict[str, Any]:
        nc = shop.hosts["s0"]._nc
        reply = await nc.request(f"$SRV.STATS.headwater-{shop.namespace}", b"", timeout=5)
        told: dict[str, Any] = json.loads(reply.data)
        return told

    def answered() -> int:
        while (told := shop.wait(stats()))["metadata"]["host"] != "s0":
            pass
        [verb] = [endpoint for endpoint in told["endpoints"] if endpoint["name"] == "recommend"]
        count: int = verb["num_requests"]
        return count

    before = answered()
    asked(shop, as_json(user="u1"))
    assert answered() == before + 1
