"""Slates over an embedding that is large enough for a helper: the same whoever takes which part of the work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np

from headwater import Engine
from headwater.answer import Answer, ask
from reference.cooccurrence import DAY
from reference.random_shops import START, config_with, default_scenario, views

NOW = START + DAY
ITEMS = 20_001
"""One more than is worth a helper."""


@contextmanager
def shop(threads: int) -> Iterator[Engine]:
    """Visitors who share items, and a scenario in which what is said of an item comes from everywhere."""
    random = np.random.default_rng(5)
    vectors = random.standard_normal((ITEMS, 8), np.float32)
    base = default_scenario()
    sources = dict(base.sources) | {"vector:a": 0.5, "vector:b": 0.3, "session-knn": 1.0, "fresh": 0.2}
    scenario = msgspec.structs.replace(
        base, sources=sources, touched_factor=0.5, diversity=0.3, diversity_by="a", exploration=0.3
    )
    with Engine.open(":memory:", config=config_with(scenario), clock="log", threads=threads) as engine:
        engine.put_items(
            {
                "item": f"i{n}",
                "labels": {"price": n % 7},
                "embeddings": {"a": vector.tobytes(), "b": vector[:5].tobytes()},
            }
            for n, vector in enumerate(vectors)
        )
        for user in range(20):
            views(engine, f"u{user}", [f"i{(user % 7) * 31 + n * 977}" for n in range(user % 5, user % 5 + 6)])
        yield engine


def asked(n: int, **more: Any) -> dict[str, Any]:
    """A question that says who asks but for the user."""
    return {"items": [], "n": n, "exclude": [], "scenario": "s", "filter": "price < 5", "now": NOW} | more


def test_slates_of_a_large_embedding_do_not_depend_on_helpers() -> None:
    answers: list[list[Answer]] = []
    for threads in (1, 2):
        with shop(threads) as engine:
            core = engine._runtime.core
            # Many, for who does what is chance.
            for request in (asked(12), asked(12, all_reasons=True), asked(60), asked(5, exploration=0.0)):
                users = [(f"u{n % 20}", f"k{n}") for n in range(100)]
                answers.append([ask(core, request | {"user": user}, key) for user, key in users])
    half = len(answers) // 2
    assert answers[:half] == answers[half:]
    items = [item for answer in answers[0] for item in answer.items]
    assert {part.source for item in items for part in item.parts} >= {"vector:a", "vector:b", "session-knn"}
    assert any(item.factors for item in items)
    assert any(len(item.reasons) > 1 for item in items)


def test_what_is_said_of_an_item_does_not_depend_on_the_others() -> None:
    """Of many items at once it is found another way than of a few."""
    with shop(1) as engine:
        core = engine._runtime.core
        for user in (f"u{n}" for n in range(20)):
            for more in ({}, {"all_reasons": True}):
                few, many = (ask(core, asked(n, user=user, exploration=0.0, **more), "k") for n in (5, 20))
                assert len(many.items) == 20
                assert few.items == many.items[:5]
