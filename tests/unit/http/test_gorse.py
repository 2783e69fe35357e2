"""gorse's interface: its own Python client plays a session, and its peculiarities hold."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from gorse import AsyncGorse, Gorse, GorseException

from headwater import Engine
from headwater.http.keys import add_key
from web.asking import Gateway, problem
from web.serving import Served

NOW = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str, Path]]:
    directory = tmp_path_factory.mktemp("gorse") / "shop"
    directory.mkdir()
    key = add_key(directory, "client", "admin")
    with Served(directory) as served:
        yield served, key, directory


def test_gorses_own_client_plays_a_session(served: tuple[Served, str, Path]) -> None:
    """Catalogue, users, feedback, recommendations, neighbours, listings, changes, erasure."""
    client = Gorse(served[0].url, served[1], timeout=30)
    shoes = {"ItemId": "shoe-0", "IsHidden": False, "Categories": ["shoes"], "Timestamp": "2026-01-01T00:00:00Z"}
    shoes |= {"Labels": ["red", "leather"], "Comment": "a shoe"}
    assert client.insert_item(shoes) == {"RowAffected": 1}
    assert client.get_item("shoe-0") == shoes
    for n in range(1, 6):
        client.insert_item(
            {"ItemId": f"shoe-{n}", "Categories": ["shoes"], "Labels": {"price": 10.5 * n, "size": {"eu": 40 + n}}}
        )
        client.insert_item({"ItemId": f"bag-{n}", "Categories": ["bags"], "Comment": "a bag"})
    assert client.get_item("shoe-2")["Labels"] == {"price": 21.0, "size.eu": 42}
    assert client.insert_users([{"UserId": f"u{n}", "Labels": ["new"]} for n in range(8)]) == {"RowAffected": 8}
    assert client.insert_user({"UserId": "bob", "Labels": {"segment": "vip"}, "Comment": "bob"}) == {"RowAffected": 1}
    assert client.get_user("bob") == {"UserId": "bob", "Labels": {"segment": "vip"}, "Comment": "bob"}

    feedback = [
        {"FeedbackType": "view", "UserId": f"u{u}", "ItemId": f"shoe-{(u + k) % 6}", "Timestamp": NOW}
        for u in range(8)
        for k in range(4)
    ]
    assert client.insert_feedbacks(feedback) == {"RowAffected": 32}
    assert client.insert_feedbacks(feedback) == {"RowAffected": 32}, "a retry"
    assert client.insert_feedback("view", "bob", "shoe-1", NOW) == {"RowAffected": 1}
    assert client.insert_feedback("purchase", "bob", "shoe-4", NOW, value=2.0) == {"RowAffected": 1}

    scores = client.get_recommend("bob", n=5)
    assert len(scores) == 5
    assert "shoe-4" not in [score.id for score in scores], "bought"
    assert [s.score for s in scores] == sorted((s.score for s in scores), reverse=True)
    assert {score.id for score in client.get_recommend("bob", "bags", n=5)} <= {f"bag-{n}" for n in range(1, 6)}
    assert [s.id for s in client.get_recommend("bob", n=3, offset=2)] == [s.id for s in scores[2:]]
    neighbours = client.get_neighbors("shoe-1", n=3)
    assert len(neighbours) == 3
    assert all(row["Id"].startswith("shoe-") and row["Score"] > 0 for row in neighbours)
    assert client.get_neighbors("never-seen") == []
    session = client.session_recommend(
        [{"FeedbackType": "view", "UserId": "", "ItemId": "shoe-2", "Timestamp": NOW}], n=4
    )
    assert session[0]["Id"].startswith("shoe-")

    seen = client.list_feedbacks("purchase", "bob")
    assert seen == [
        {"FeedbackType": "purchase", "UserId": "bob", "ItemId": "shoe-4", "Value": 2.0, "Timestamp": NOW, "Comment": ""}
    ]
    rows, cursor = client.get_feedbacks(40)
    more, end = client.get_feedbacks(100, cursor)
    assert (len(rows), len(more), end) == (40, 26, ""), "every event is kept, retries too; they count once"
    items, cursor = client.get_items(4)
    rest, end = client.get_items(100, cursor)
    assert len({row["ItemId"] for row in items + rest}) == 11
    assert end == ""
    assert {row["ItemId"] for row in client.search_items("A BAG")} == {f"bag-{n}" for n in range(1, 6)}
    users, _ = client.get_users(100)
    assert {row["UserId"] for row in users} == {"bob", *(f"u{n}" for n in range(8))}

    assert client.update_item("shoe-2", is_hidden=True, labels={"price": 5.0}) == {"RowAffected": 1}
    assert client.get_item("shoe-2")["IsHidden"] is True
    assert client.get_item("shoe-2")["Labels"] == {"price": 5.0}
    assert "shoe-2" not in [score.id for score in client.get_recommend("bob", n=20)]
    assert client.delete_item("shoe-3") == {"RowAffected": 1}
    assert "shoe-3" not in [score.id for score in client.get_recommend("bob", n=20)]
    assert "shoe-3" not in {row["ItemId"] for row in client.get_items(100)[0]}
    assert client.delete_user("bob") == {"RowAffected": 1}
    for call in (lambda: client.get_user("bob"), lambda: client.get_item("nope")):
        with pytest.raises(GorseException) as caught:
            call()
        assert caught.value.status_code == 404
    assert client.list_feedbacks("view", "bob") == [], "forgotten"
    assert not [row for row in client.get_feedbacks(100)[0] if row["UserId"] == "bob"]
    with pytest.raises(GorseException) as caught:
        client.delete_feedback("u1", "shoe-1")
    assert caught.value.status_code == 501
    with pytest.raises(GorseException) as caught:
        Gorse(served[0].url, "wrong").get_items(1)
    assert caught.value.status_code == 401


def test_gorses_async_client_is_answered(served: tuple[Served, str, Path]) -> None:
    async def play() -> list[str]:
        client = AsyncGorse(served[0].url, served[1])
        assert await client.insert_item({"ItemId": "async-1", "Categories": ["async"]}) == {"RowAffected": 1}
        assert await client.insert_feedback("view", "ann", "async-1", NOW) == {"RowAffected": 1}
        return [score.id for score in await client.get_recommend("cid", "async")]

    assert asyncio.run(play()) == ["async-1"]


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as gateway:
        for n in range(4):
            gateway.ok("POST", "/api/item", {"ItemId": f"i{n}", "Categories": ["c"]})
            gateway.ok("POST", "/api/feedback", [{"FeedbackType": "view", "UserId": "u", "ItemId": f"i{n}"}])
        yield gateway


def test_ids_alone_without_the_newer_version(gateway: Gateway) -> None:
    plain = gateway.ok("GET", "/api/recommend/new?n=2")
    scored = gateway.ok("GET", "/api/recommend/new?n=2", headers={"x-api-version": "2"})
    assert plain == [row["Id"] for row in scored]
    assert len(plain) == 2


def test_popular_latest_and_categories(gateway: Gateway) -> None:
    gateway.engine.put_item("other", categories=["d"])
    assert {row["Id"] for row in gateway.ok("GET", "/api/popular")} == {f"i{n}" for n in range(4)}
    assert {row["Id"] for row in gateway.ok("GET", "/api/latest/d")} == {"other"}
    assert {row["Id"] for row in gateway.ok("GET", "/api/latest?category=c&n=2&offset=1")} < {f"i{n}" for n in range(4)}
    assert gateway.ok("GET", "/api/popular/none") == []


def test_written_back_answers_are_feedback(gateway: Gateway) -> None:
    answered = gateway.ok("GET", "/api/recommend/u?n=2&write-back-type=read&write-back-delay=10m")
    rows = gateway.ok("GET", "/api/user/u/feedback/read")
    assert {row["ItemId"] for row in rows} == set(answered)
    told = problem(gateway.get("/api/recommend/u?write-back-type=read&write-back-delay=soon"), "invalid-query", 422)
    assert "10m" in told["detail"]


def test_what_has_no_place_is_refused_whole(gateway: Gateway) -> None:
    before = gateway.engine.flush()  # with the records of earlier slates
    good = {"FeedbackType": "view", "UserId": "u", "ItemId": "i1"}
    for bad in (
        good | {"Timestamp": "soon"},
        good | {"ItemId": ""},
        {"FeedbackType": "view"},
        good | {"Timestamp": "1960-01-01"},
    ):
        refused = gateway.post("/api/feedback", [good, bad])
        assert refused.status_code == 422, bad
    problem(gateway.post("/api/item", {"ItemId": "x", "Labels": [[1]]}), "invalid-event", 422)
    problem(
        gateway.post("/api/users", [{"UserId": "y"}, {"UserId": "z", "Labels": {"v": [1.0, 2.0]}}]),
        "invalid-event",
        422,
    )
    for cursor in ("x", "1" * 20):
        problem(gateway.get(f"/api/items?cursor={cursor}"), "invalid-query", 422)
    for cursor in ("x", "1", "1:x", f"{1 << 63}:0"):
        problem(gateway.get(f"/api/feedback?cursor={cursor}"), "invalid-query", 422)
    for one in ("u/i1", "view/u/i1"):
        problem(gateway.request("DELETE", f"/api/feedback/{one}"), "not-supported", 501)
    problem(gateway.get("/api/recommend/u?n=0"), "bad-request", 400)
    problem(gateway.get("/api/recommend/u?n=900&offset=900"), "invalid-query", 422)
    assert gateway.engine.position == before


def test_nobody_is_left_out_of_a_listing_because_another_was_forgotten(gateway: Gateway) -> None:
    gateway.ok("POST", "/api/users", [{"UserId": f"u{n}"} for n in range(4)])
    first = gateway.ok("GET", "/api/users?n=2")
    assert [row["UserId"] for row in first["Users"]] == ["u", "u0"]
    gateway.ok("DELETE", "/api/user/u")
    gateway.ok("DELETE", "/api/item/i0")
    rest = gateway.ok("GET", f"/api/users?n=9&cursor={first['Cursor']}")
    assert [row["UserId"] for row in rest["Users"]] == ["u1", "u2", "u3"]
    assert [row["ItemId"] for row in gateway.ok("GET", "/api/items")["Items"]] == ["i1", "i2", "i3"]
    gateway.ok("POST", "/api/users", [{"UserId": "u"}])
    assert [row["UserId"] for row in gateway.ok("GET", "/api/users")["Users"]] == ["u0", "u1", "u2", "u3", "u"]


def test_numbers_in_lists_are_embeddings(gateway: Gateway) -> None:
    gateway.ok(
        "POST", "/api/items", [{"ItemId": "e", "Labels": {"text": [0.5, 1, 2], "tags": ["a"], "deep": {"x": True}}}]
    )
    view = gateway.engine.item("e")
    assert view.embeddings == {"text": 3}
    assert view.labels == {"tags": ["a"], "deep.x": True}


def test_what_was_acknowledged_is_there_after_the_server_ended(
    served: tuple[Served, str, Path], tmp_path: Path
) -> None:
    with Served(tmp_path / "shop") as other:
        Gorse(other.url, "").insert_feedback("view", "bob", "a", NOW)
        assert other.stop() == 0
        assert other.stderr == ""
    with Engine.open(tmp_path / "shop", read_only=True) as engine:
        assert engine.session_of("bob").state.events == 1
