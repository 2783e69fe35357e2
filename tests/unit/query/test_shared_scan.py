"""Slates over an embedding that is large enough for a helper: the same whoever takes which part of the work."""

from __future__ import annotations

import msgspec
import numpy as np

from headwater import Engine
from headwater.answer import Answer, ask
from reference.cooccurrence import DAY
from reference.random_shops import START, config_with, default_scenario, views

NOW = START + DAY
ITEMS = 20_001
"""One more than is worth a helper."""


def test_slates_of_a_large_embedding_do_not_depend_on_helpers() -> None:
    random = np.random.default_rng(5)
    vectors = random.standard_normal((ITEMS, 8), np.float32)
    base = default_scenario()
    scenario = msgspec.structs.replace(base, sources=dict(base.sources) | {"vector:a": 0.5, "vector:b": 0.3})
    answers: list[list[Answer]] = []
    for threads in (1, 2):
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
                views(engine, f"u{user}", [f"i{user * 31 + n * 977}" for n in range(6)])
            core = engine._runtime.core
            request = {"items": [], "n": 12, "exclude": [], "scenario": "s", "filter": "price < 5", "now": NOW}
            # Many, for who does what is chance.
            asked = [(f"u{n % 20}", f"k{n}") for n in range(200)]
            answers.append([ask(core, request | {"user": user}, key) for user, key in asked])
    assert answers[0] == answers[1]
    assert {part.source for answer in answers[0] for item in answer.items for part in item.parts} >= {
        "vector:a",
        "vector:b",
    }
