"""HTTP in front of a cluster: the addresses, keys and limits of the embedded gateway, answered by hosts."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from gorse import Gorse, GorseException

from cluster_rig import HEADWATER, Cluster, wait_for
from headwater.config import Config, config_from_table
from headwater.events.nats_server import NatsServer
from headwater.http.keys import add_key
from host_rig import Hosts, hosts
from nats_server import nats_server  # noqa: F401 - a fixture
from web.asking import problem

pytestmark = pytest.mark.e2e

NOW = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def config() -> Config:
    return config_from_table({"generation": {"partitions": 8, "shards": 4}, "cluster": {"beat_ms": 100}})


@contextlib.contextmanager
def gateway(running: Hosts, *arguments: str) -> Iterator[str]:
    """`headwater gateway` as a process; where it listens."""
    command = [HEADWATER, "gateway", "--url", running.options.url, "--namespace", running.namespace]
    command += ["--port", "0", "--json", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("{"), line + process.communicate(timeout=30)[1]
        yield json.loads(line)["url"]
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said, said


@pytest.fixture(scope="module")
def shop(nats_server: NatsServer) -> Iterator[Hosts]:  # noqa: F811
    with hosts(nats_server, config(), 2, 2) as running:
        yield running


@pytest.fixture(scope="module")
def web(shop: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    directory = tmp_path_factory.mktemp("keys")
    key = add_key(directory, "client", "admin")
    with (
        gateway(shop, "--keys", str(directory)) as url,
        httpx.Client(base_url=url, timeout=30, headers={"x-api-key": key}) as client,
    ):
        yield client


def ok(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_is_told_is_answered_and_every_write_is_seen_by_the_next_question(shop: Hosts, web: httpx.Client) -> None:
    rows = [{"item": f"sku{n}", "categories": ["a" if n % 2 else "b"], "labels": {"price": n}} for n in range(8)]
    assert ok(web.post("/v1/items", json={"items": rows}))["count"] == 8
    events = [{"type": "view", "user": f"u{n % 5}", "item": f"sku{n % 8}"} for n in range(40)]
    assert ok(web.post("/v1/track/batch", json={"events": events}))["count"] == 40
    for n in range(10):
        ok(web.post("/v1/track", json={"type": "view", "user": f"eve{n}", "item": f"sku{n % 8}"}))
        assert ok(web.get(f"/v1/users/eve{n}"))["events"] == 1
    slate = ok(web.post("/v1/recommend", json={"user": "u1", "n": 3, "filter": "price < 7", "details": True}))
    assert len(slate["items"]) == 3
    assert slate["items"][0]["parts"]
    assert len(slate["positions"]) == 3, "the owner's and those of two item hosts"
    told = ok(web.post("/v1/explain", json={"slate": slate["slate"], "item": slate["items"][0]["item"]}))
    assert told["slot"] == 0
    assert ok(web.post("/v1/seen", json={"slate": slate["slate"], "user": "u1", "slots": [0]}))["position"]
    assert ok(web.post("/v1/similar", json={"item": "sku1", "n": 2}))["items"]
    assert ok(web.post("/v1/session", json={"items": ["sku1"], "n": 2}))["items"]
    assert ok(web.post("/v1/rank", json={"user": "u1", "items": ["sku3", "sku2"]}))["items"]
    assert ok(web.post("/v1/trending", json={"category": "a"}))["kind"] == "trending"
    assert ok(web.patch("/v1/items/sku1", json={"labels": {"price": 5}}))
    assert ok(web.get("/v1/items/sku1"))["labels"] == {"price": 5}
    merged = ok(web.post("/v1/merge", json={"from": "eve1", "into": "u1"}))
    assert (merged["into_user"], merged["moved"]) == ("u1", True)
    assert ok(web.put("/v1/users/u2", json={"labels": {"country": "nl"}}))
    assert ok(web.delete("/v1/users/eve1"))["position"] > merged["position"]
    problem(web.get("/v1/users/u1"), "unknown-user", 404)
    position, digest = shop.whole_digest()
    assert shop.replayed(position + 1).digest()["whole"] == digest


def test_status_health_metrics_and_page_tell_of_the_hosts(web: httpx.Client) -> None:
    ok(web.post("/v1/track", json={"type": "view", "user": "bob", "item": "sku1"}))
    status = ok(web.get("/v1/status"))
    assert [host["host"] for host in status["cluster"]["hosts"]] == ["s0", "s1", "i0", "i1"]
    assert status["position"] > 0
    wait_for("users are counted", lambda: ok(web.get("/v1/status"))["users"] > 0)
    assert ok(web.get("/health/ready"))["status"] == "ok"
    metrics = web.get("/metrics").text
    assert "headwater_position" in metrics
    assert 'route="/v1/track"' in metrics
    for path in ("/", "/item?id=sku1", "/user?id=bob", "/letters"):
        page = web.get(path)
        assert page.status_code == 200, page.text
        assert "<html" in page.text
    assert "sku1" in web.get("/item?id=sku1").text
    assert ok(web.get("/openapi.json"))["paths"]


def test_what_a_cluster_cannot_answer_is_refused_with_a_reason(web: httpx.Client) -> None:
    past = problem(web.post("/v1/recommend", json={"user": "bob", "as_of": 3}), "not-on-cluster", 501)
    assert "--as-of" in past["detail"]
    audit = {"slate": "s0-1-1", "item": "sku1", "audit": True}
    problem(web.post("/v1/explain", json=audit), "not-on-cluster", 501)
    problem(web.post("/v1/explain", json=audit | {"audit": False}), "unknown-slate", 404)
    problem(web.get("/v1/items/never"), "unknown-item", 404)
    problem(web.post("/v1/merge", json={"from": "bob", "into": "bob"}), "merge-conflict", 409)
    problem(web.post("/v1/recommend", json={"user": "bob", "filter": "prise <"}), "invalid-query", 422)
    problem(
        web.post("/v1/track", json={"type": "view", "user": "bob", "item": "x", "ts": 1 << 52}), "invalid-event", 422
    )
    problem(web.post("/v1/recommend", json={"user": "bob", "after": 1 << 40}), "not-ready", 409)


def test_gorses_own_client_plays_a_session(shop: Hosts, web: httpx.Client) -> None:
    problem(httpx.get(f"{web.base_url}/v1/status"), "missing-key", 401)
    client = Gorse(str(web.base_url).rstrip("/"), web.headers["x-api-key"], timeout=30)
    shoe = {"ItemId": "shoe-0", "IsHidden": False, "Categories": ["shoes"], "Timestamp": "2026-01-01T00:00:00Z"}
    shoe |= {"Labels": ["red"], "Comment": "a shoe"}
    assert client.insert_item(shoe) == {"RowAffected": 1}
    assert client.get_item("shoe-0") == shoe
    for n in range(1, 5):
        client.insert_item({"ItemId": f"shoe-{n}", "Categories": ["shoes"], "Labels": {"price": 10.5 * n}})
    assert client.insert_users([{"UserId": f"u{n}", "Labels": ["new"]} for n in range(6)]) == {"RowAffected": 6}
    feedback = [
        {"FeedbackType": "view", "UserId": f"u{u}", "ItemId": f"shoe-{(u + k) % 5}", "Timestamp": NOW}
        for u in range(6)
        for k in range(3)
    ]
    assert client.insert_feedbacks(feedback) == {"RowAffected": 18}
    assert client.insert_feedbacks(feedback) == {"RowAffected": 18}, "a retry"
    assert client.insert_feedback("purchase", "u1", "shoe-4", NOW, value=2.0) == {"RowAffected": 1}
    scores = client.get_recommend("u1", n=4)
    assert scores
    assert "shoe-4" not in [score.id for score in scores], "bought"
    assert all(row["Id"].startswith("shoe-") for row in client.get_neighbors("shoe-1", n=2))
    assert [row["ItemId"] for row in client.list_feedbacks("purchase", "u1")] == ["shoe-4"]
    rows, cursor = client.get_feedbacks(30)
    more, end = client.get_feedbacks(1000, cursor)
    shoes = [row for row in rows + more if row["ItemId"].startswith("shoe-")]
    assert (len(rows), len(shoes), end) == (30, 37, ""), "every event is kept, retries too; they count once"
    items, cursor = client.get_items(2)
    rest, end = client.get_items(100, cursor)
    assert {row["ItemId"] for row in items + rest} >= {f"shoe-{n}" for n in range(5)}
    assert end == ""
    client.update_item("shoe-1", comment="another")
    assert client.get_item("shoe-1")["Comment"] == "another"
    client.delete_user("u1")
    with pytest.raises(GorseException) as gone:
        client.get_user("u1")
    assert gone.value.status_code == 404
    client.delete_item("shoe-3")
    assert "shoe-3" not in [score.id for score in client.get_recommend("u2", n=5)]


@pytest.mark.slow
def test_several_workers_ask_the_cluster_themselves_and_lost_hosts_are_typed_refusals(
    nats_server: NatsServer,  # noqa: F811
) -> None:
    with hosts(nats_server, config(), 2, 1) as running, gateway(running, "--workers", "2") as url:

        def ask(method: str, path: str, body: Any = None) -> httpx.Response:
            """On a connection of its own, so that any worker may take it."""
            with httpx.Client(base_url=url, timeout=30) as client:
                return client.request(method, path, json=body)

        def ready() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return ask("GET", "/health/ready").status_code == 200
            return False

        wait_for("ready", ready)
        for n in range(3):
            ok(ask("POST", "/v1/track", {"type": "view", "user": "bob", "item": f"sku{n}"}))
            assert ok(ask("GET", "/v1/users/bob"))["events"] == n + 1, "what one worker wrote the other sees"
        owner = running.topology.owner("bob").name
        running.hosts[owner].leave()

        def refused() -> bool:
            answer = ask("POST", "/v1/recommend", {"user": "bob"})
            return answer.status_code == 503 and answer.json()["type"] == "/problems/unavailable"

        wait_for("a typed refusal", refused)
        assert int(ask("POST", "/v1/recommend", {"user": "bob"}).headers["retry-after"]) >= 1
        assert ask("GET", "/health/ready").status_code == 200, "the other host answers its users"


@pytest.mark.slow
def test_serve_runs_a_gateway_beside_the_hosts_and_both_end_with_it(tmp_path: Path) -> None:
    served = Cluster(tmp_path / "shop")
    try:
        one = ("--processes", "--session-hosts", "1", "--item-hosts", "0")
        served.serve(*one, "--http", "--http-port", "0")
        said = served.heard("http: http://")
        url = re.search(r"http: (\S+),", said)[1]  # type: ignore[index]
        ok(httpx.post(f"{url}/v1/track", json={"type": "view", "user": "bob", "item": "x"}, timeout=30))
        assert ok(httpx.get(f"{url}/v1/users/bob", timeout=30))["events"] == 1
        served.stop()
        assert served.heard("http: ended")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health/live")
    finally:
        served.end()
