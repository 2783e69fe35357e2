"""Embeddings that cannot be are refused where they are put; the fold only meets those of others."""

from typing import Any

import pytest

from headwater import Engine
from headwater.arguments import vectors_of
from headwater.errors import InvalidEvent
from headwater.events.embedding_rules import MAX_NAMES, EmbeddingRules
from headwater.events.frame import FrameWriter
from headwater.events.subjects import CATALOGUE_SUBJECT
from headwater.events.types import ItemPut

BAD: list[tuple[dict[str, Any], str]] = [
    ({"text": [1.0, 2.0]}, "3 numbers"),
    ({"text": [1.0, 2.0, 3.0, 4.0]}, "3 numbers"),
    ({"text": [1.0, float("nan"), 0.0]}, "nan at place 1"),
    ({"text": [1.0, float("inf"), 0.0]}, "inf at place 1"),
    ({"text": [0.0, 0.0, -0.0]}, "zero"),
    ({"text": []}, "0 bytes"),
    ({"text": b"12345"}, "5 bytes"),
    ({"text": [1e16, 0.0, 0.0]}, "at place 0"),
]


@pytest.mark.parametrize(("embeddings", "said"), BAD)
def test_every_call_refuses_what_cannot_be_and_writes_nothing(embeddings: dict[str, Any], said: str) -> None:
    with Engine.open(":memory:") as engine:
        engine.put_item("a", embeddings={"text": [1.0, 0.0, 0.0]})
        position = engine.position
        calls = [
            lambda: engine.put_item("b", embeddings=embeddings),
            lambda: engine.patch_item("a", embeddings=embeddings),
            lambda: engine.put_items([{"item": "c"}, {"item": "d", "embeddings": embeddings}]),
        ]
        for call in calls:
            with pytest.raises(InvalidEvent, match=said) as caught:
                call()
            assert caught.value.details["field"] == "embeddings[text]"
        assert engine.position == position
        assert engine.status()["refusals"] == []


def test_a_name_is_bound_by_the_first_of_a_call() -> None:
    with Engine.open(":memory:") as engine:
        with pytest.raises(InvalidEvent, match="2 numbers, the dimension"):
            engine.put_items([{"item": f"i{n}", "embeddings": {"new": [1.0] * (2 + n // 2)}} for n in range(4)])
        assert engine.position == engine.log.first() - 1 or "i0" not in engine
        engine.put_items([{"item": f"i{n}", "embeddings": {"new": [1.0, 2.0]}} for n in range(4)])
        assert "i3" in engine


def test_there_are_so_many_names() -> None:
    with Engine.open(":memory:") as engine:
        for n in range(MAX_NAMES):
            engine.put_item("a", embeddings={f"e{n}": [1.0]})
        with pytest.raises(InvalidEvent, match="at most 8 names"):
            engine.put_item("a", embeddings={"one-more": [1.0]})
        engine.put_item("b", embeddings={"e3": [2.0]})


def test_rules_and_fold_refuse_the_same_of_a_foreign_frame() -> None:
    puts = [
        ItemPut("a", 1, embeddings=vectors_of({"e": [1.0, 2.0]})),
        ItemPut("b", 1, embeddings=vectors_of({"e": [1.0], "f": [1.0]})),
        ItemPut("c", 1, embeddings=vectors_of({"f": [1.0, 1.0]})),
        ItemPut("d", 1, embeddings=vectors_of({"e": [3.0, 1.0], "f": [1.0]})),
    ]
    rules = EmbeddingRules({})
    refused = []
    for index, put in enumerate(puts):
        try:
            rules.check(put)
        except InvalidEvent:
            refused.append(index)
    with Engine.open(":memory:") as engine:
        frames = FrameWriter("foreign", 1).pack(CATALOGUE_SUBJECT, puts, 1_750_000_000_000)
        engine._runtime.append_frames(list(frames))
        engine._runtime.fold()
        told = engine.status()["refusals"]
        assert [refusal["index"] for refusal in told] == refused == [1, 3]
        assert {refusal["reason"] for refusal in told} == {"wrong-dimension"}
    assert rules.first_fault(puts[1:2]) is not None
