"""`/v1`: every verb gives what the engine gives, by its own address."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from headwater.http import bodies, replies
from web.asking import Gateway, problem


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway() as gateway:
        engine = gateway.engine
        for n in range(8):
            engine.put_item(f"sku{n}", categories=["shoes" if n % 2 else "bags"], labels={"price": 10.0 * n})
        for user in range(6):
            for n in range(4):
                engine.track("view", user=f"u{user}", item=f"sku{(user + n) % 8}")
        engine.track("view", user="bob", item="sku1")
        yield gateway


def same(answer: dict[str, Any], slate: Any) -> None:
    """A reply holds the slots, scores and reasons of the engine's own answer."""
    assert [(r["item"], r["score"], r["source"], r["reason"]) for r in answer["items"]] == [
        (r.item, r.score, r.source, r.reason) for r in slate
    ]
    assert len(slate) > 0
    assert answer["fallback"] == slate.fallback


def test_recommend_is_the_engines_answer(gateway: Gateway) -> None:
    now = gateway.engine.now()
    asked = {"user": "bob", "n": 3, "now": now, "filter": "price < max", "params": {"max": 60}, "exclude": ["sku5"]}
    answer = gateway.ok("POST", "/v1/recommend", asked)
    same(
        answer,
        gateway.engine.recommend("bob", 3, now=now, filter="price < max", params={"max": 60}, exclude=["sku5"]),
    )
    assert msgspec.convert(answer, replies.SlateReply).user == "bob"
    assert "parts" not in answer["items"][0]
    detailed = gateway.ok("POST", "/v1/recommend", asked | {"details": True, "features": True})
    assert detailed["items"][0]["parts"][0]["source"]
    assert detailed["items"][0]["reasons"][0]["text"] == answer["items"][0]["reason"]
    assert detailed["candidates"][0]["features"]


def test_session_rank_similar_and_trending_are_the_engines_answers(gateway: Gateway) -> None:
    engine, now = gateway.engine, gateway.engine.now()
    same(
        gateway.ok("POST", "/v1/session", {"items": ["sku1"], "n": 4, "now": now}), engine.session(["sku1"], 4, now=now)
    )
    listed = ["sku7", "sku2", "sku3"]
    same(
        gateway.ok("POST", "/v1/rank", {"user": "bob", "items": listed, "now": now}),
        engine.rank("bob", listed, now=now),
    )
    same(
        gateway.ok("POST", "/v1/similar", {"item": "sku1", "relation": "also_viewed", "metric": "lift", "now": now}),
        engine.similar("sku1", relation="also_viewed", metric="lift", now=now),
    )
    same(gateway.ok("POST", "/v1/trending", {"category": "shoes", "now": now}), engine.trending("shoes", now=now))


def test_a_write_is_seen_by_the_next_question(gateway: Gateway) -> None:
    written = gateway.ok("POST", "/v1/track", {"type": "purchase", "user": "eve", "item": "sku2", "event_id": "e1"})
    assert written == {"position": gateway.engine.position, "count": 1}
    again = gateway.ok("POST", "/v1/track", {"type": "purchase", "user": "eve", "item": "sku2", "event_id": "e1"})
    view = gateway.ok("GET", "/v1/users/eve")
    assert view["events"] == 1
    assert view["purchases"] == 1
    slate = gateway.ok("POST", "/v1/recommend", {"user": "eve", "after": again["position"]})
    assert "sku2" not in [slot["item"] for slot in slate["items"]], "bought"


def test_a_batch_is_kept_whole_or_not_at_all(gateway: Gateway) -> None:
    events = [{"type": "view", "user": "ann", "item": f"sku{n}"} for n in range(5)]
    assert gateway.ok("POST", "/v1/track/batch", {"events": events})["count"] == 5
    assert gateway.engine.session_of("ann").state.events == 5
    before = gateway.engine.flush()  # with the records of earlier slates
    bad = [
        *({"type": "view", "user": "zoe", "item": f"sku{n}"} for n in range(3)),
        {"type": "view", "user": "zoe", "item": "a\x00b"},
    ]
    assert gateway.post("/v1/track/batch", {"events": bad}).status_code == 422
    late = [
        {"type": "view", "user": "zoe", "item": "sku1"},
        {"type": "view", "user": "zoe", "item": "sku2", "ts": 1 << 52},
    ]
    told = problem(gateway.post("/v1/track/batch", {"events": late}), "invalid-event", 422)
    assert told["field"] == "ts"
    assert gateway.engine.position == before
    problem(gateway.get("/v1/users/zoe"), "unknown-user", 404)


def test_items_are_put_changed_hidden_and_deleted(gateway: Gateway) -> None:
    gateway.ok("PUT", "/v1/items/new", {"categories": ["hats"], "labels": {"price": 5, "tags": ["a"]}})
    gateway.ok("PATCH", "/v1/items/new", {"labels": {"price": None, "brand": "Lark"}})
    item = gateway.ok("GET", "/v1/items/new")
    assert (item["categories"], item["labels"]) == (["hats"], {"tags": ["a"], "brand": "Lark"})
    gateway.ok("PATCH", "/v1/items/new", {"is_hidden": True})
    assert gateway.ok("GET", "/v1/items/new")["visible"] is False
    gateway.ok("DELETE", "/v1/items/new")
    assert gateway.ok("GET", "/v1/items/new")["put"] is False
    put = gateway.ok(
        "POST", "/v1/items", {"items": [{"item": "x1", "embeddings": {"text": [1.0, 0.5]}}, {"item": "x2"}]}
    )
    assert put["count"] == 2
    assert gateway.ok("GET", "/v1/items/x1")["embeddings"] == {"text": 2}


def test_a_user_is_put_and_forgotten(gateway: Gateway) -> None:
    gateway.ok("PUT", "/v1/users/bob", {"labels": {"segment": "new"}})
    assert gateway.ok("GET", "/v1/users/bob")["items"][0]["item"] == "sku1"
    gateway.ok("DELETE", "/v1/users/bob")
    problem(gateway.get("/v1/users/bob"), "unknown-user", 404)


def test_slates_are_explained(gateway: Gateway) -> None:
    slate = gateway.ok("POST", "/v1/recommend", {"user": "bob", "n": 3})
    item = slate["items"][0]["item"]
    told = gateway.ok("POST", "/v1/explain", {"slate": slate["slate"], "item": item})
    assert told["slot"] == 0
    assert told["text"] == gateway.engine.explain(slate["slate"], item).text
    problem(gateway.post("/v1/explain", {"slate": "9-9", "item": item}), "unknown-slate", 404)
    gateway.ok("POST", "/v1/seen", {"slate": slate["slate"], "user": "bob", "slots": [0, 1]})


def test_message_pack_goes_in_and_out(gateway: Gateway) -> None:
    headers = {"content-type": "application/msgpack", "accept": "application/msgpack"}
    content = msgspec.msgpack.encode({"user": "bob", "n": 2})
    packed = gateway.request("POST", "/v1/recommend", content=content, headers=headers)
    assert packed.headers["content-type"] == "application/msgpack"
    slate = msgspec.msgpack.decode(packed.content, type=replies.SlateReply)
    assert len(slate.items) == 2


@pytest.mark.parametrize("item", ["a/b", "../../etc/passwd", "<script>alert(1)</script>", "ä ö%2F?#", "x" * 512, ".."])
def test_ids_of_any_content_have_an_address(gateway: Gateway, item: str) -> None:
    from urllib.parse import quote

    address = "/v1/items/" + quote(item, safe="").replace(".", "%2E")
    gateway.ok("PUT", address, {"comment": "odd"})
    assert gateway.ok("GET", address)["item"] == item
    assert gateway.engine.item(item).comment == "odd"


def test_every_body_and_reply_is_a_strict_struct() -> None:
    for name, struct in vars(bodies).items():
        if isinstance(struct, type) and issubclass(struct, bodies.Body):
            assert struct.__struct_config__.forbid_unknown_fields, name


def test_a_visitor_joins_an_account_once(gateway: Gateway) -> None:
    gateway.ok("POST", "/v1/track", {"type": "view", "user": "cookie-9", "item": "sku3"})
    gateway.ok("POST", "/v1/track", {"type": "view", "user": "kim", "item": "sku4"})
    asked = {"from": "cookie-9", "into": "kim", "event_id": "login-9"}
    report = gateway.ok("POST", "/v1/merge", asked)
    assert (report["into_user"], report["moved"], report["repeated"]) == ("kim", True, False)
    assert {t["item"] for t in gateway.ok("GET", "/v1/users/kim")["items"]} == {"sku3", "sku4"}
    assert gateway.ok("POST", "/v1/merge", asked)["repeated"] is True
    problem(gateway.post("/v1/merge", {"from": "kim", "into": "kim"}), "merge-conflict", 409)
    assert "cookie-9" not in [row["UserId"] for row in gateway.ok("GET", "/api/users")["Users"]]


def test_a_visitor_with_an_id_has_slates_on_record(gateway: Gateway) -> None:
    known = gateway.ok("POST", "/v1/session", {"items": ["sku1"], "visitor": "cookie-1"})
    assert known["recorded"] is True
    assert gateway.ok("POST", "/v1/session", {"items": ["sku1"]})["recorded"] is False
