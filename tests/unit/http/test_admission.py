"""Who may call: keys and roles, hosts, limits. What is refused is a problem, and nothing of it is written."""

import asyncio
import base64
import json
import math
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from headwater.errors import ConfigError
from headwater.http.keys import KeyRing, add_key, hash_key, read_keys, remove_key
from headwater.http.problems import KINDS
from headwater.http.serve import check_exposure
from web.asking import Gateway, problem

VIEW = {"type": "view", "user": "bob", "item": "sku1"}


@pytest.fixture(scope="module")
def plain() -> Iterator[Gateway]:
    """A gateway without keys that nothing is written to."""
    with Gateway() as gateway:
        yield gateway


def test_roles_hold_one_another(tmp_path: Path) -> None:
    keys = {role: add_key(tmp_path, f"the-{role}", role) for role in ("reader", "writer", "admin")}
    with Gateway(tmp_path) as gateway:
        told = problem(gateway.post("/v1/track", VIEW), "missing-key", 401)
        assert "X-API-Key" in told["detail"]
        assert gateway.post("/v1/track", VIEW).headers["www-authenticate"].startswith("Basic")
        problem(gateway.post("/v1/track", VIEW, headers={"x-api-key": keys["admin"][:-1]}), "wrong-key", 401)
        problem(gateway.post("/v1/track", VIEW, headers={"x-api-key": b"\xff"}), "wrong-key", 401)
        told = problem(gateway.post("/v1/track", VIEW, headers={"x-api-key": keys["reader"]}), "forbidden", 403)
        assert told["needs"] == "writer"
        assert gateway.engine.status()["items"] == 0
        gateway.ok("POST", "/v1/track", VIEW, {"x-api-key": keys["writer"]})
        gateway.ok("POST", "/v1/recommend", {"user": "bob"}, {"authorization": f"Bearer {keys['reader']}"})
        basic = base64.b64encode(f"anybody:{keys['admin']}".encode()).decode()
        gateway.ok("GET", "/v1/status", headers={"authorization": f"Basic {basic}"})
        problem(gateway.get("/v1/status", headers={"x-api-key": keys["writer"]}), "forbidden", 403)
        problem(gateway.request("DELETE", "/v1/users/bob", headers={"x-api-key": keys["writer"]}), "forbidden", 403)
        audit = {"slate": "1-1", "item": "sku1", "audit": True}
        problem(gateway.post("/v1/explain", audit, headers={"x-api-key": keys["reader"]}), "forbidden", 403)
        assert gateway.get("/health/live").status_code == 200
        assert gateway.get("/health/ready").status_code == 200
        assert gateway.get("/problems/missing-key").status_code == 200
        for closed in ("/metrics", "/openapi.json", "/nothing-here", "/"):
            problem(gateway.get(closed), "missing-key", 401)


def test_keys_are_kept_as_hashes_and_taken_away_while_running(tmp_path: Path) -> None:
    key = add_key(tmp_path, "php", "writer")
    other = add_key(tmp_path, "cron", "reader")
    kept = (tmp_path / "http-keys.json").read_text()
    assert key not in kept
    assert hash_key(key) in kept
    assert (tmp_path / "http-keys.json").stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigError, match="there is such a key"):
        add_key(tmp_path, "php", "reader")
    for name in ("", "a b", "<b>", "x" * 65):
        with pytest.raises(ConfigError, match="allowed"):
            add_key(tmp_path, name, "reader")
    ring = KeyRing(tmp_path)
    assert [c and c.name for c in map(ring.caller, (key, other, "no"))] == ["php", "cron", None]
    remove_key(tmp_path, "php")
    deadline = time.monotonic() + 10
    while ring.caller(key) is not None:
        assert time.monotonic() < deadline, "a removed key still holds"
        time.sleep(0.05)
    assert ring.caller(other) is not None
    with pytest.raises(ConfigError, match="no such key"):
        remove_key(tmp_path, "php")
    remove_key(tmp_path, "cron")
    assert read_keys(tmp_path) == []
    assert ring.required, "a server that was begun with keys never answers everybody"
    assert KeyRing(tmp_path, required=True).required, "nor does a worker that starts late"
    assert KeyRing(tmp_path, required=True).caller("") is None


def test_a_file_that_holds_no_keys_is_refused(tmp_path: Path) -> None:
    for content in (
        "{",
        "[{}]",
        json.dumps([{"name": "a", "role": "king", "sha256": "0" * 64}]),
        '[{"name":"a","role":"admin","sha256":"00"}]',
    ):
        (tmp_path / "http-keys.json").write_text(content)
        with pytest.raises(ConfigError, match="allowed"):
            KeyRing(tmp_path)


def test_a_file_of_keys_that_breaks_lets_nobody_in(tmp_path: Path) -> None:
    key = {"x-api-key": add_key(tmp_path, "a", "admin")}
    with Gateway(tmp_path) as gateway:
        gateway.ok("GET", "/v1/status", headers=key)
        (tmp_path / "http-keys.json").write_text("broken")
        deadline = time.monotonic() + 10
        while (answer := gateway.get("/v1/status", headers=key)).status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert str(tmp_path) not in problem(answer, "store-error", 500)["detail"]
        problem(gateway.get("/v1/status", headers=key), "wrong-key", 401)


def test_without_keys_only_a_loopback_address_is_served(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="headwater key add"):
        check_exposure("0.0.0.0", KeyRing(tmp_path))
    for host in ("127.0.0.1", "::1", "localhost"):
        check_exposure(host, KeyRing(tmp_path))
    add_key(tmp_path, "a", "admin")
    check_exposure("0.0.0.0", KeyRing(tmp_path))


def test_without_keys_a_page_elsewhere_cannot_reach_the_server() -> None:
    with Gateway(hosts=("shop.internal",)) as gateway:
        problem(gateway.get("/health/live", headers={"host": "evil.example:8088"}), "wrong-host", 403)
        problem(gateway.get("/health/live", headers={"host": "127.0.0.1.evil.example"}), "wrong-host", 403)
        for host in ("localhost:8088", "127.0.0.1:8088", "[::1]:8088", "[::1]", "shop.internal:80"):
            assert gateway.get("/health/live", headers={"host": host}).status_code == 200, host
        # A form of another page can send text/plain without asking first; it must not write.
        sent = gateway.request("POST", "/v1/track", content=json.dumps(VIEW), headers={"content-type": "text/plain"})
        problem(sent, "wrong-media-type", 415)
        assert gateway.engine.status()["users"] == 0


def test_cors_is_off_unless_origins_are_named() -> None:
    asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    with Gateway() as gateway:
        response = gateway.request("OPTIONS", "/v1/recommend", headers=asked)
        assert not [name for name in response.headers if name.startswith("access-control")]
    with Gateway(cors_origins=("https://shop.example",)) as gateway:
        response = gateway.request("OPTIONS", "/v1/recommend", headers=asked)
        assert response.headers["access-control-allow-origin"] == "https://shop.example"
        other = gateway.request("OPTIONS", "/v1/recommend", headers=asked | {"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


def test_a_browser_asks_first_without_a_key(tmp_path: Path) -> None:
    key = add_key(tmp_path, "page", "reader")
    origin = {"origin": "https://shop.example"}
    asked = origin | {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}
    with Gateway(tmp_path, cors_origins=("https://shop.example",)) as gateway:
        response = gateway.request("OPTIONS", "/v1/recommend", headers=asked)
        assert response.is_success
        assert response.headers["access-control-allow-origin"] == "https://shop.example"
        assert "x-api-key" in response.headers["access-control-allow-headers"].lower()
        problem(gateway.request("OPTIONS", "/v1/recommend", headers=origin), "missing-key", 401)
        problem(gateway.post("/v1/recommend", {"user": "bob"}, headers=asked), "missing-key", 401)
        answered = gateway.post("/v1/recommend", {"user": "bob"}, headers=origin | {"x-api-key": key})
        assert answered.headers["access-control-allow-origin"] == "https://shop.example"
    with Gateway(tmp_path) as gateway:
        problem(gateway.request("OPTIONS", "/v1/recommend", headers=asked), "missing-key", 401)


def test_rates_are_counted_by_key(tmp_path: Path) -> None:
    keys = {name: {"x-api-key": add_key(tmp_path, name, "reader")} for name in ("a", "b")}
    with Gateway(tmp_path, rate_per_key=0.01, rate_burst=3) as gateway:
        for _ in range(3):
            gateway.ok("POST", "/v1/recommend", {"user": "bob"}, keys["a"])
        refused = gateway.post("/v1/recommend", {"user": "bob"}, headers=keys["a"])
        problem(refused, "rate-limited", 429)
        assert 1 <= int(refused.headers["retry-after"]) <= 100
        gateway.ok("POST", "/v1/recommend", {"user": "bob"}, keys["b"])
        for _ in range(9):
            assert gateway.get("/health/live", headers=keys["a"]).status_code == 200


def test_bodies_are_bounded(tmp_path: Path) -> None:
    with Gateway(max_body_kib=1, max_batch=2) as gateway:
        told = problem(gateway.post("/v1/track", VIEW | {"item": "x" * 2000}), "too-large", 413)
        assert told["limit"] == 1024

        async def pieces():  # type: ignore[no-untyped-def]
            for _ in range(100):
                yield b" " * 100

        chunked = gateway.request("POST", "/v1/track", content=pieces(), headers={"content-type": "application/json"})
        problem(chunked, "too-large", 413)
        told = problem(gateway.post("/v1/track/batch", {"events": [VIEW] * 3}), "too-large", 413)
        assert told["limit"] == 2
        assert gateway.engine.status()["users"] == 0


@pytest.mark.parametrize(
    ("body", "code", "status", "at"),
    [
        (b"{", "bad-json", 400, None),
        (b"", "bad-json", 400, None),
        (b"\xff", "bad-json", 400, None),
        (b'{"user":"\\ud800","item":"a","type":"view"}', "bad-json", 400, None),
        (b'{"context":' + b"[" * 100_000, "invalid-body", 422, "$.context"),
        (b"[]", "invalid-body", 422, "$"),
        (b'{"type":"view","user":"bob"}', "invalid-body", 422, "$"),
        (b'{"type":"view","user":"bob","item":"a","valeu":1}', "invalid-body", 422, "$"),
        (b'{"type":"view","user":"bob","item":7}', "invalid-body", 422, "$.item"),
        (b'{"type":"view","user":"bob","item":""}', "invalid-body", 422, "$.item"),
        (b'{"type":"view","user":"bob","item":"a","value":"NaN"}', "invalid-body", 422, "$.value"),
        (b'{"type":"view","user":"bob","item":"a","value":NaN}', "bad-json", 400, None),
        (b'{"type":"view","user":"bob","item":"a","ts":1.5}', "invalid-body", 422, "$.ts"),
        (b'{"type":"view","user":"bob","item":"a\\u0000b"}', "invalid-body", 422, "$.item"),
        (b'{"type":"view","user":"bob","item":"' + b"x" * 10_240 + b'"}', "invalid-body", 422, "$.item"),
        ('{"type":"view","user":"bob","item":"' + "ä" * 500 + '"}', "invalid-event", 422, None),
        (b'{"type":"view","user":"bob","item":"a","ts":9007199254740991}', "invalid-event", 422, None),
    ],
)
def test_a_broken_body_is_named_and_nothing_is_written(
    plain: Gateway, body: bytes | str, code: str, status: int, at: str | None
) -> None:
    before = plain.engine.flush()  # with the records of earlier slates
    sent = plain.request("POST", "/v1/track", content=body, headers={"content-type": "application/json"})
    told = problem(sent, code, status)
    assert told.get("at") == at
    assert len(sent.content) < 2000, "what was sent is not sent back whole"
    assert plain.engine.position == before


def test_wrong_questions_are_refused_with_field_and_rule() -> None:
    with Gateway() as gateway:
        gateway.engine.track("view", user="bob", item="sku1")
        told = problem(gateway.post("/v1/recommend", {"user": "bob", "filter": "prise <"}), "invalid-query", 422)
        assert told["field"] == "filter"
        problem(gateway.post("/v1/recommend", {"user": "bob", "n": 1001}), "invalid-body", 422)
        problem(gateway.post("/v1/recommend", {"user": "bob", "scenario": "none"}), "invalid-query", 422)
        told = problem(gateway.post("/v1/recommend", {"user": "bob", "after": 10**9}), "not-ready", 409)
        assert told["position"] == gateway.engine.position
        problem(gateway.post("/v1/similar", {"item": "never"}), "invalid-query", 422)
        problem(gateway.get("/v1/items/%FF"), "bad-request", 400)
        problem(gateway.get("/v1/items/%00"), "invalid-query", 422)
        problem(gateway.get("/v1/nothing"), "not-found", 404)
        problem(gateway.get("/schema"), "not-found", 404)
        wrong = gateway.get("/v1/recommend")
        problem(wrong, "wrong-method", 405)
        assert set(wrong.headers["allow"].split(", ")) == {"OPTIONS", "POST"}


def test_numbers_that_are_none_do_not_pass_as_message_pack(plain: Gateway) -> None:
    headers = {"content-type": "application/msgpack"}
    before = plain.engine.flush()  # with the records of earlier slates
    for number in (math.nan, math.inf):
        for address, body in (
            ("/v1/track", VIEW | {"value": number}),
            ("/v1/items", {"items": [{"item": "a", "labels": {"price": number}}]}),
            ("/v1/items", {"items": [{"item": "a", "embeddings": {"v": [number]}}]}),
            ("/v1/recommend", {"user": "bob", "diversity": number}),
            ("/v1/recommend", {"user": "bob", "filter": "item != x", "params": {"x": number}}),
        ):
            sent = plain.request("POST", address, content=msgspec.msgpack.encode(body), headers=headers)
            assert sent.status_code == 422, (address, body, sent.text)
    assert plain.engine.position == before


def test_every_problem_has_a_page() -> None:
    with Gateway() as gateway:
        for code, kind in KINDS.items():
            page = gateway.get(f"/problems/{code}")
            assert page.status_code == 200
            assert kind.title in page.text
        problem(gateway.get("/problems/none"), "not-found", 404)


def test_what_is_too_much_at_once_is_told_to_come_back() -> None:
    with Gateway(max_concurrent=1) as gateway:

        async def crowd() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
            began, go_on = asyncio.Event(), asyncio.Event()

            async def pieces() -> AsyncIterator[bytes]:
                began.set()
                await go_on.wait()
                yield json.dumps(VIEW).encode()

            headers = {"content-type": "application/json"}
            first = asyncio.ensure_future(gateway.client.post("/v1/track", content=pieces(), headers=headers))
            await began.wait()
            second = await gateway.client.post("/v1/recommend", json={"user": "bob"})
            health = await gateway.client.get("/health/live")
            go_on.set()
            return await first, second, health

        first, second, health = gateway.run(crowd())
        told = problem(second, "overloaded", 503)
        assert second.headers["retry-after"] == "1", told
        assert health.status_code == 200, "health is asked for when it matters"
        assert first.status_code == 200
        gateway.ok("POST", "/v1/recommend", {"user": "bob"})
