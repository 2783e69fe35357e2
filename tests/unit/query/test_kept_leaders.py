"""Leaders that are kept from question to question are those that a state which nobody asked before gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from headwater import Engine, Slate
from headwater.config import Config, Segments, default_config
from headwater.scenario import SOURCES

START = 1_700_000_000_000
HOUR, DAY = 3_600_000, 86_400_000
USERS = ("ann", "bob", "stranger")
FILTERS = (None, "'c1' in categories or 'c3' in categories")
"""The second leaves so little that all of it is looked at."""


def shop() -> Config:
    """Every source that goes by leaders, each with a weight of its own, so that any of them moves scores."""
    config = default_config("shop")
    generation = msgspec.structs.replace(config.generation, segments=Segments(label="country", values=("fi", "se")))
    sources = {name: 0.5 + number / 8 for number, name in enumerate(SOURCES) if name != "list"}
    return msgspec.structs.replace(
        config, generation=generation, query=msgspec.structs.replace(config.query, sources=sources, fresh_budget=2)
    )


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine.open(":memory:", config=shop(), clock="log") as engine:
        for user, country in (("ann", "fi"), ("bob", "se")):
            engine.put_user(user, labels={"country": country})
        engine.put_items(
            {"item": f"i{n}", "categories": [f"c{n % 4}"], "timestamp": START - n * DAY // 2} for n in range(40)
        )
        for n in range(60):
            visit(engine, USERS[n % 2], f"i{n * n % 40}", START + n * HOUR)
        yield engine


def visit(engine: Engine, user: str, item: str, ts: int) -> None:
    engine.track("purchase" if ts % 5 == 0 else "view", user=user, item=item, ts=ts)


def plain(slate: Slate) -> dict[str, Any]:
    return {key: value for key, value in slate.to_dict().items() if key != "slate"}


def answers(engine: Engine, now: int) -> list[dict[str, Any]]:
    return [plain(engine.recommend(user, 20, now=now, filter=text, record=False)) for text in FILTERS for user in USERS]


def first_asked(engine: Engine, now: int) -> list[dict[str, Any]]:
    """What a state says that is asked for these leaders once only: that of the log's last position, made anew."""
    alone = []
    for text in FILTERS:
        for user in USERS:
            engine._forget_all_slates()
            alone.append(plain(engine.recommend(user, 20, now=now, filter=text, as_of=engine.position)))
    return alone


def changes(engine: Engine) -> Iterator[str]:
    """Whatever leaders depend on, one thing after the other."""
    ts = START + 70 * HOUR
    yield "nothing"
    for n in range(9):
        visit(engine, "bob", f"i{n % 3 + 20}", ts)
    yield "votes"
    engine.put_item("new", categories=["c1"], timestamp=ts)
    yield "a new item"
    engine.patch_item("i21", categories=["c3"])
    yield "tags"
    engine.delete_item("i20")
    yield "an item less"
    for _ in range(2):
        engine.recommend("ann", 20, record=True)
        engine.flush()
    yield "slates served"
    engine.put_user("ann", labels={"country": "se"})
    yield "another segment"
    engine.forget("bob")
    yield "a visitor less"


def test_leaders_are_those_of_the_state_and_the_moment_asked(engine: Engine) -> None:
    latest = START + 80 * HOUR
    seen: list[list[str]] = []
    for change in changes(engine):
        for now in (latest, latest + 9 * DAY, latest):
            kept = [answers(engine, now) for _ in range(3)]
            alone = first_asked(engine, now)
            assert kept == [alone] * 3, change
            items = [r["item"] for slate in alone for r in slate["items"]]
            seen.append(items)
            many = [engine.recommend_many(USERS, 20, now=now, filter=text) for text in FILTERS]
            assert [item for frame in many for item in frame["item"]] == items, change
    # Answers that never changed could not tell old leaders from new ones.
    assert len(set(map(tuple, seen))) > 8
