"""A cluster on real Ray and a real nats-server: it answers as the embedded engine does, and comes back from everything.

One cluster for the whole module; the tests build on each other's events, not on each other's outcome.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from cluster_rig import HEADWATER, PATIENT_MS, Cluster, cluster, replay_of, wait_for
from headwater import connect
from headwater.answer import ask, ask_similar, ask_trending
from headwater.client import SyncClient
from headwater.cluster.scatter import LAYOUT, pack
from headwater.core import generation_of
from headwater.errors import HeadwaterError, InvalidEvent, InvalidQuery, NotReady, OtherVersion, Unavailable
from headwater.events.frame import decode_frame
from headwater.events.nats_options import NatsOptions
from headwater.events.nats_options import connect as dial
from headwater.events.sqlite_log import SqliteLog
from headwater.events.types import Feedback, SlateServed
from headwater.protocol import raise_refusal

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
NOW = 1_795_000_000_000


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster") / "shop") as served:
        with served.client() as client:
            client.put_items({"item": f"i{n}", "categories": [f"c{n % 3}"], "labels": {"price": n}} for n in range(60))
            client.track_many(history(2000, 11))
        yield served


def history(count: int, seed: int) -> list[Feedback]:
    drawn = random.Random(seed)
    types = ("view",) * 8 + ("cart", "purchase")
    return [
        Feedback(
            type=drawn.choice(types),
            user=f"u{int(drawn.paretovariate(0.7)) % 200}",
            item=f"i{int(drawn.paretovariate(0.5)) % 60}",
            ts=NOW - 10_000_000 + n * 4000,
        )
        for n in range(count)
    ]


def run(*arguments: str) -> str:
    done = subprocess.run([HEADWATER, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_the_script_of_the_guide_runs_by_hand_over_nats(shop: Cluster) -> None:
    guide = (ROOT / "docs" / "guide-cluster.md").read_text()
    [script] = [code for code in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "nats.connect" in code]
    assert len([line for line in script.splitlines() if line.strip()]) <= 20
    assert "headwater" not in script.replace("hw.default", "")
    script = script.replace("nats://127.0.0.1:4222", shop.url)
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    tracked, slate, refused = map(json.loads, done.stdout.splitlines())
    assert tracked["position"] > 0
    assert set(slate["items"][0]) >= {"item", "score", "source", "propensity", "reason"}
    assert len(slate["items"]) == 2
    assert slate["degraded"] == []
    assert len(slate["positions"]) == 3  # the owner's and those of two item hosts
    assert slate["slate"]
    assert refused["error"]["code"] == "invalid-query"
    assert set(refused["error"]) >= {"code", "message", "retry_after_ms"}


def test_answers_are_those_of_an_embedded_replay_bit_for_bit(shop: Cluster) -> None:
    core = shop.replayed()
    common = {"exclude": [], "now": NOW, "sources": {}}
    with shop.client() as client:
        for user in (*(f"u{n}" for n in range(12)), "nobody"):
            slate = client.recommend(
                user, 8, now=NOW, record=False, exploration=0.3, filter="price < 50", after=core.position
            )
            request = {"user": user, "items": [], "n": 8, "exploration": 0.3, "filter": "price < 50", **common}
            same(slate, ask(core, request, slate.id))
        slate = client.session(["i3", "i1"], 5, now=NOW)
        same(slate, ask(core, {"user": None, "items": ["i3", "i1"], "n": 5, **common}, slate.id))
        slate = client.rank("u1", ["i5", "i2", "i9"], now=NOW, record=False)
        listed = {"user": "u1", "items": [], "n": 3, "candidates": ["i5", "i2", "i9"], **common}
        same(slate, ask(core, listed, slate.id))
        slate = client.similar("i1", 5, now=NOW)
        similar = {"item": "i1", "n": 5, "relation": None, "metric": None, "exclude": [], "now": NOW}
        same(slate, ask_similar(core, similar))
        slate = client.trending("c1", 5, now=NOW)
        same(slate, ask_trending(core, {"category": "c1", "n": 5, "now": NOW}))
        assert client.item("i1", now=NOW).votes > 0
        assert client.session_of("u1", now=NOW).state.events > 0


def same(slate: object, answer: object) -> None:
    assert slate.items, slate  # type: ignore[attr-defined]
    assert msgspec.msgpack.encode(slate.items) == msgspec.msgpack.encode(answer.items)  # type: ignore[attr-defined]
    assert slate.fallback == answer.fallback  # type: ignore[attr-defined]
    assert slate.degraded == []  # type: ignore[attr-defined]


def test_digests_of_the_hosts_are_that_of_a_replay(shop: Cluster) -> None:
    position, digest = shop.whole_digest()
    core = shop.replayed(position + 1)
    assert core.position == position
    assert core.digest()["whole"] == digest


def test_a_write_is_seen_at_its_position_from_every_connection(shop: Cluster) -> None:
    async def main() -> None:
        async with connect(shop.url, deadline_ms=PATIENT_MS) as one, connect(shop.url) as other:
            for n in range(20):
                user = f"fresh{n}"
                position = await one.track("view", user=user, item="i7")
                view = await other.session_of(user, after=position)
                assert [touched.item for touched in view.state.items] == ["i7"]
            before = (await other.item("i55")).votes
            position = await one.track("view", user="voter", item="i55")
            assert (await other.item("i55", after=position)).votes == before + 1
            with pytest.raises(NotReady, match="ask again"):
                await other.recommend("u1", after=position + 100_000, deadline_ms=100)

    asyncio.run(main())


def test_bad_input_is_refused_by_name_and_nothing_of_it_is_kept(shop: Cluster) -> None:
    with shop.client() as client:
        before = shop.replayed().position
        with pytest.raises(InvalidEvent, match="user"):
            client.track("view", user="", item="i1")
        with pytest.raises(InvalidQuery, match="n = 0"):
            client.recommend("u1", 0)
        with pytest.raises(InvalidQuery, match="price"):
            client.recommend("u1", 3, filter="price <")
        with pytest.raises(InvalidQuery, match="ever named"):
            client.item("no-such-item")
        with pytest.raises(InvalidQuery, match=r"Engine\.of_log"):
            client.recommend("u1", as_of=5)
        log = shop.log()
        came = [event for batch in log.read(before + 1) for frame in batch.frames for event in decode_frame(frame)[1]]
        log.close()
    assert all(isinstance(event, SlateServed) for event in came), "records of earlier slates alone may come"


def test_explain_names_the_visitors_own_events(shop: Cluster) -> None:
    with shop.client() as client:
        slate = client.recommend("u1", 3, now=NOW, record=False)
        told = client.explain(slate, slate[0].item)
        assert told.slot == 0
        assert all(event["user"] == "u1" for event in told.events)
        assert told.events or not slate[0].reasons[0].event
        absent = client.explain(slate, "no-such-item")
        assert absent.slot is None
        assert absent.rules


def test_commands_take_a_url_in_the_place_of_a_directory(shop: Cluster, tmp_path: Path) -> None:
    url = ("--url", shop.url)
    tracked = json.loads(run("track", *url, "view", "--user", "cli", "--item", "i1", "--json"))
    assert tracked["position"] > 0
    assert len(json.loads(run("recommend", *url, "cli", "-n", "3", "--json"))["items"]) == 3
    assert json.loads(run("similar", *url, "i1", "-n", "2", "--json"))["items"]
    assert json.loads(run("session", *url, "i1", "i2", "-n", "2", "--json"))["items"]
    assert json.loads(run("trending", *url, "-n", "2", "--json"))["items"]
    assert json.loads(run("rank", *url, "cli", "i1", "i2", "--json"))["items"]
    hosts = json.loads(run("status", *url, "--json"))["hosts"]
    assert [host["host"] for host in hosts] == ["s0", "s1", "i0", "i1"]
    assert "16 partitions" not in run("status", *url)
    table = tmp_path / "clicks.csv"
    table.write_text("user,item,ts,type\n" + "".join(f"imp{n % 7},i{n % 9},{NOW + n},view\n" for n in range(500)))
    first = json.loads(run("import", *url, str(table), "--json"))
    assert first["events"] == 500
    again = json.loads(run("import", *url, str(table), "--json"))
    assert (again["events"], again["resumed_rows"]) == (0, 500)


def test_a_killed_host_comes_back_and_the_others_go_on(shop: Cluster) -> None:
    shop.all_ready()
    with shop.client() as client:
        theirs = next(f"u{n}" for n in range(50) if client._client.owner_of(f"u{n}").name == "s1")
        ours = next(f"u{n}" for n in range(50) if client._client.owner_of(f"u{n}").name == "s0")
        pid = shop.host_pid("s0")
        os.kill(pid, signal.SIGKILL)
        refused = wait_for("a refusal by the server, not by the deadline", lambda: refusal(client, ours), 10)
        assert refused.details["retry_after_ms"] > 0
        assert len(client.recommend(theirs, 3)) == 3
        slate = wait_for("s0 answers again", lambda: client.recommend(ours, 3), 60)
        assert len(slate) == 3
        assert shop.host_pid("s0") != pid


def refusal(client: SyncClient, user: str) -> Unavailable | None:
    # Short: what the killed process still took in is lost, and it is back within seconds.
    try:
        client.recommend(user, 3, deadline_ms=100)
    except Unavailable as err:
        return err if err.code in ("unavailable", "recovering") else None
    return None


def test_without_an_item_host_answers_name_what_is_left_out(shop: Cluster) -> None:
    shop.all_ready()
    with shop.client() as client:
        os.kill(shop.host_pid("i1"), signal.SIGKILL)
        # Short: a question that the killed process still took in is answered without it at its deadline.
        asked = {"record": False, "deadline_ms": 500}
        slate = wait_for("a degraded answer", lambda: _degraded(client.recommend("u1", 3, **asked)), 10)
        assert "i1" in slate.degraded[0]
        assert slate.items
    shop.all_ready()


def _degraded(slate: object) -> object | None:
    return slate if slate.degraded else None  # type: ignore[attr-defined]


def test_a_host_that_lives_and_does_nothing_is_killed_and_replaced(shop: Cluster) -> None:
    shop.all_ready()
    pid = shop.host_pid("s1")
    os.kill(pid, signal.SIGSTOP)
    shop.heard("s1: told nothing for")
    wait_for("another process", lambda: shop.host_pid("s1") != pid)
    shop.all_ready()


def test_hosts_outlive_a_killed_serve_and_the_next_one_takes_them_over(shop: Cluster) -> None:
    shop.all_ready()
    pids = {name: shop.host_pid(name) for name in ("s0", "s1", "i0", "i1")}
    shop.kill_serve()
    with shop.client() as client:
        assert len(client.recommend("u1", 3)) == 3
    shop.serve()
    assert {name: shop.host_pid(name) for name in pids} == pids
    shop.heard("s0: runs already")


def test_one_two_and_four_hosts_hold_the_state_that_the_same_frames_have_in_sqlite(
    shop: Cluster, tmp_path: Path
) -> None:
    shop.all_ready()
    held: set[tuple[int, str]] = set()
    for session, item, names in ((1, 0, ["w0"]), (1, 1, ["s0", "i0"]), (1, 3, ["s0", "i0", "i1", "i2"])):
        shop.stop()  # what hosts were about to write is in the log then
        shop.serve("--session-hosts", str(session), "--item-hosts", str(item))
        hosts = shop.all_ready()
        assert [host["host"] for host in hosts] == names
        position, digest = shop.whole_digest()
        recovered = {host["host"]: host["recovered_from_snapshot"] for host in hosts}
        assert set(recovered.values()) == {position}, recovered  # from the union of the others' snapshots
        assert all(0 <= host["snapshot_age_s"] < 3600 for host in hosts)
        held.add((position, digest))
    sqlite = SqliteLog(tmp_path, generation_of(shop.config.generation))
    with closing(shop.log()) as log:
        sqlite.append([frame for batch in log.read() for frame in batch.frames])
    core = replay_of(sqlite, shop.config)
    held.add((core.position, core.digest()["whole"]))
    assert len(held) == 1, held
    with shop.client() as client:
        assert client.track("view", user="later", item="i1") > position


def test_unknown_cluster_is_unavailable_at_once(shop: Cluster) -> None:
    from headwater import connect_sync

    with pytest.raises(HeadwaterError, match="nobody answers"):
        connect_sync(shop.url, namespace="elsewhere")


def test_a_host_tells_of_itself_over_http_and_in_its_log(shop: Cluster) -> None:
    shop.all_ready()
    host = shop.host("s0")
    with shop.client() as client:
        mine = next(f"u{n}" for n in range(50) if client._client.owner_of(f"u{n}").name == "s0")
        client.recommend(mine, 3)
        with pytest.raises(InvalidQuery):
            client.recommend(mine, 3, filter="price <")
    metrics = get(host["http"] + "/metrics")[1]
    assert 'headwater_requests_total{host="s0",namespace="default",verb="recommend"}' in metrics
    for name in ("latency_seconds_bucket", "lag_frames", "memory_bytes", "snapshot_age_seconds", "refusals_total"):
        assert f"headwater_{name}" in metrics
    assert 'headwater_ready{host="s0",namespace="default"} 1.0' in metrics
    for path in ("/healthz", "/readyz"):
        status, body = get(host["http"] + path)
        assert (status, json.loads(body)["phase"]) == (200, "ready")
    lines = [json.loads(line) for line in (shop.directory / "logs" / "s0.jsonl").read_text().splitlines()]
    refused = [line for line in lines if line["message"].startswith("recommend refused: invalid-query")]
    assert refused
    assert refused[-1]["request"]
    assert {"time", "level", "host", "namespace"} <= set(refused[-1])


def get(url: str) -> tuple[int, str]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status, answer.read().decode()


def test_an_item_host_tells_who_is_of_another_version_what_to_do(shop: Cluster) -> None:
    """A host as an earlier build left it, asked by one that was started since."""

    async def main() -> bytes:
        nc = await dial(NatsOptions(url=shop.url))
        asked = pack(None, 1.0, b"")
        other = (LAYOUT + 1).to_bytes(2, "little") + asked[2:]
        answer = await nc.request("hw.default.h.i0.candidates", other, timeout=10)
        await nc.close()
        return bytes(answer.data)

    shop.all_ready()
    with pytest.raises(OtherVersion, match=f"this host speaks layout {LAYOUT} .* asked in layout {LAYOUT + 1}: "):
        raise_refusal(asyncio.run(main()))


def test_hosts_are_nats_micro_services(shop: Cluster) -> None:
    async def main() -> list[dict[str, object]]:
        nc = await dial(NatsOptions(url=shop.url))
        inbox = nc.new_inbox()
        subscription = await nc.subscribe(inbox)
        await nc.publish("$SRV.STATS.headwater-default", b"", reply=inbox)
        answers = [json.loads((await subscription.next_msg(timeout=5)).data) for _ in shop.all_ready()]
        await nc.close()
        return answers

    services = asyncio.run(main())
    endpoints = [endpoint for service in services for endpoint in service["endpoints"]]  # type: ignore[union-attr]
    assert {"recommend", "plain-recommend", "candidates", "status"} <= {endpoint["name"] for endpoint in endpoints}
    assert any(e["name"] == "recommend" and e["data"]["answered"] > 0 for e in endpoints)
