"""Neighbours in a named embedding: order against numpy, what is left out, reasons, and unlikeness by vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headwater import Engine, Slate
from headwater.errors import InvalidQuery
from headwater.scenario import Scenario
from reference.cooccurrence import DAY
from reference.random_shops import config_with

START = 19_000 * DAY
MINUTE = 60_000
NOW = START + DAY
SOURCE = "vector:text"
ALONE = Scenario(sources={SOURCE: 1.0}, touched_factor=1.0)


def shop(vectors: np.ndarray[Any, Any], scenario: Scenario = ALONE) -> Engine:
    engine = Engine.open(":memory:", config=config_with(scenario), threads=1)
    engine.put_items(
        [
            {"item": f"i{n}", "embeddings": {"text": row.tolist()}, "labels": {"even": n % 2 == 0}}
            for n, row in enumerate(vectors)
        ]
    )
    engine.put_item("without", labels={"even": True})
    return engine


def unit(count: int, dim: int, seed: int) -> np.ndarray[Any, Any]:
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    unit_rows: np.ndarray[Any, Any] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit_rows


def asked(engine: Engine, n: int = 10, **more: Any) -> Slate:
    return engine.recommend("ann", n, scenario="s", **{"now": NOW, "record": False} | more)


def raw(slate: Slate) -> dict[str, float]:
    return {r.item: part.raw for r in slate for part in r.parts if part.source == SOURCE}


def test_neighbours_of_one_item_are_numpys() -> None:
    vectors = unit(200, 16, 1)
    with shop(vectors) as engine:
        engine.track("view", user="ann", item="i7", ts=NOW)
        found = raw(asked(engine, 20))
        exact = vectors @ vectors[7]
        assert "i7" not in found, "not the seed itself"
        order = [f"i{n}" for n in np.argsort(-exact) if n != 7]
        assert len(set(list(found)[:10]) & set(order[:10])) >= 9, "int8 codes may exchange near ties"
        for item, score in found.items():
            assert score == pytest.approx(exact[int(item[1:])], abs=0.03)
        assert list(found.values()) == sorted(found.values(), reverse=True)


def test_the_visitors_vector_weighs_newer_and_stronger_items_more() -> None:
    vectors = np.eye(4)
    with shop(vectors) as engine:
        near = {"near0": [1, 0, 0, 0.1], "near1": [0, 1, 0, 0.1]}
        engine.put_items([{"item": item, "embeddings": {"text": row}} for item, row in near.items()])
        engine.track("view", user="ann", item="i0", ts=START)
        engine.track("view", user="ann", item="i1", ts=NOW)
        newer = raw(asked(engine))
        assert newer["near1"] > newer["near0"]
        assert newer["near0"] / newer["near1"] == pytest.approx(0.75, rel=0.02), "one step older"
        engine.track("cart", user="ann", item="i0", ts=NOW + MINUTE)
        stronger = raw(asked(engine, now=NOW + MINUTE))
        assert stronger["near1"] / stronger["near0"] == pytest.approx(0.75 / 1.5, rel=0.02)


def test_what_may_not_be_shown_gives_its_place_to_others() -> None:
    vectors = unit(60, 8, 2)
    with shop(vectors) as engine:
        engine.track("view", user="ann", item="i0", ts=NOW)
        first = list(raw(asked(engine, 60)))
        engine.delete_item(first[0])
        engine.patch_item(first[1], is_hidden=True)
        engine.track("purchase", user="ann", item=first[2], ts=NOW)
        left = asked(engine, 60, filter="even", exclude=[first[3]], now=NOW + MINUTE)
        assert set(left.item_ids) == {f"i{n}" for n in range(0, 60, 2)} - {*first[:4]} | {"without"}
        assert "without" not in raw(left)
        moved = raw(asked(engine, 60, filter="item == 'without'"))
        assert moved == {}


def test_a_vector_that_changes_moves_its_item() -> None:
    with shop(np.eye(3)) as engine:
        engine.track("view", user="ann", item="i0", ts=NOW)
        assert "i1" not in raw(asked(engine)), "nothing in common: no neighbour"
        engine.patch_item("i1", embeddings={"text": [1.0, 0.05, 0.0]})
        assert list(raw(asked(engine))) == ["i1"]
        engine.put_item("i1")
        assert raw(asked(engine)) == {}, "a put without a vector takes it away"


def test_the_reason_names_the_nearest_of_the_visitors_items() -> None:
    vectors = unit(40, 8, 3)
    with shop(vectors) as engine:
        for n in range(3):
            engine.track("view", user="ann", item=f"i{n}", ts=NOW + n * MINUTE)
        slate = asked(engine, 5, now=NOW + 3 * MINUTE)
        for r in slate:
            reason = r.reasons[0]
            likeness = vectors[:3] @ vectors[int(r.item[1:])]
            assert reason.seed is not None
            assert likeness[int(reason.seed[1:])] >= likeness.max() - 0.03
            assert reason.count == pytest.approx(likeness[int(reason.seed[1:])], abs=0.03)
            assert reason.text.startswith(f"near {reason.seed} (your view, event ")
            assert "by text (similarity 0." in reason.text
        assert slate.fallback is None


def test_visitors_without_a_vector_get_no_neighbours() -> None:
    with shop(np.eye(3)) as engine:
        assert raw(asked(engine)) == {}
        engine.track("view", user="ann", item="without", ts=NOW)
        slate = asked(engine)
        assert raw(slate) == {}
        assert "nothing is known beside the visitor's own items" in (slate.fallback or "")
        assert raw(engine.session(["i0"], 5, scenario="s", now=NOW)) == {}, "orthogonal to all others"


def test_an_embedding_that_no_item_has() -> None:
    """A scenario may name one before its first item comes; a request that does is a mistake."""
    with Engine.open(":memory:", config=config_with(ALONE), threads=1) as engine:
        engine.put_items([{"item": item} for item in "ab"])
        assert len(asked(engine)) == 2
        with pytest.raises(InvalidQuery, match='no item has an embedding named "image"'):
            asked(engine, sources={"vector:image": 1.0})


def test_unlikeness_by_vectors_spreads_over_clusters() -> None:
    centres = unit(4, 16, 5)
    vectors = np.concatenate([centre + 0.05 * unit(8, 16, 6 + n) for n, centre in enumerate(centres)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for method in ("mmr", "dpp"):
        scenario = Scenario(sources={"popular": 1.0}, diversity_by="text", diversity_method=method)  # type: ignore[arg-type]
        with shop(vectors, scenario) as engine:
            for n in range(32):
                for voter in range(40 - n):
                    engine.track("view", user=f"u{voter}", item=f"i{n}", ts=START + n * MINUTE)

            def clusters(diversity: float, engine: Engine = engine) -> list[int]:
                slate = engine.recommend("bob", 4, scenario="s", diversity=diversity, now=NOW, record=False)
                return [int(item[1:]) // 8 for item in slate.item_ids]

            assert clusters(0.0) == [0, 0, 0, 0]
            assert sorted(clusters(0.6)) == [0, 1, 2, 3], method


def test_unlikeness_by_an_embedding_that_some_items_lack() -> None:
    scenario = Scenario(sources={"popular": 1.0}, diversity_by="text", diversity=0.5)
    with shop(np.tile(np.eye(1, 4), (3, 1)), scenario) as engine:
        for n, item in enumerate(["i0", "i1", "without", "i2"]):
            for voter in range(9 - n):
                engine.track("view", user=f"u{voter}", item=item, ts=START + n * MINUTE)
        assert asked(engine, 2).item_ids == ["i0", "without"], "what has no vector is like nothing"
        assert len(asked(engine, 4)) == 4
