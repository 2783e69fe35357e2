"""Rules where sources know little: the catalogue still fills the slate, pins and promotions still count."""

from __future__ import annotations

import pytest

from headwater import Engine
from headwater.errors import InvalidQuery
from headwater.scenario import Cap, Pin, Promote, Scenario
from reference.random_shops import START, config_with


def test_variants_do_not_keep_the_rest_of_the_catalogue_out() -> None:
    with Engine.open(":memory:", config=config_with(Scenario()), threads=1) as engine:
        engine.put_items([{"item": f"shirt{n}", "group_id": "shirt", "timestamp": START + n} for n in range(6)])
        engine.put_items([{"item": f"hat{n}", "timestamp": START - 1} for n in range(3)])
        slate = engine.recommend("ann", 4, scenario="s", record=False)
        assert sorted(slate.item_ids) == ["hat0", "hat1", "hat2", "shirt5"]


def test_a_cap_does_not_keep_the_rest_of_the_catalogue_out() -> None:
    config = config_with(Scenario(caps=(Cap(field="brand", max=1),)))
    with Engine.open(":memory:", config=config, threads=1) as engine:
        engine.put_items([{"item": f"a{n}", "labels": {"brand": "a"}, "timestamp": START + n} for n in range(6)])
        engine.put_items([{"item": f"b{n}", "labels": {"brand": "b"}, "timestamp": START - 1} for n in range(3)])
        slate = engine.recommend("ann", 2, scenario="s", record=False)
        assert [item[0] for item in slate.item_ids] == ["a", "b"]


def test_a_pin_below_the_end_of_a_short_slate_is_told() -> None:
    config = config_with(Scenario(pins=(Pin(slot=4, item="c"),)))
    with Engine.open(":memory:", config=config, threads=1) as engine:
        engine.put_items([{"item": item} for item in "abc"])
        slate = engine.recommend("ann", 6, scenario="s", record=False)
        assert sorted(slate.item_ids) == ["a", "b", "c"]
        assert any("pinned item c " in note for note in slate.notes)


def test_an_item_that_no_source_names_can_be_promoted() -> None:
    promote = Promote(filter="sale", share=0.25)
    config = config_with(Scenario(sources={"popular": 1.0}, promote=promote))
    with Engine.open(":memory:", config=config, threads=1) as engine:
        engine.put_item("new", labels={"sale": True})
        for n in range(8):
            engine.track("view", user="bob", item=f"i{n}", ts=START + n * 60_000)
        slate = engine.recommend("ann", 4, scenario="s", now=START, record=False)
        assert (slate[3].item, slate[3].promoted) == ("new", True)


def test_a_cap_on_a_field_that_no_item_has_yet_caps_nothing() -> None:
    """A shop answers before its first brand comes, and when one item has an odd one."""
    config = config_with(Scenario(caps=(Cap(field="brand", max=1),)))
    with Engine.open(":memory:", config=config, threads=1) as engine:
        assert engine.recommend("ann", 2, scenario="s", record=False).item_ids == []
        engine.put_items([{"item": item} for item in "abc"])
        assert len(engine.recommend("ann", 2, scenario="s", record=False)) == 2
        engine.put_item("d", labels={"brand": 1.5})
        assert len(engine.recommend("ann", 3, scenario="s", record=False)) == 3


def test_a_patch_does_not_bring_a_deleted_item_back() -> None:
    """`delete_item`: never shown again, until it is put anew."""
    with Engine.open(":memory:", threads=1) as engine:
        engine.put_items([{"item": item} for item in "ab"])
        engine.delete_item("a")
        engine.patch_item("a", labels={"price": 3})
        assert engine.recommend("ann", 2, record=False).item_ids == ["b"]
        engine.put_item("a")
        assert len(engine.recommend("ann", 2, record=False)) == 2


def test_what_a_visitor_rejected_stays_away_after_many_other_items() -> None:
    with Engine.open(":memory:", threads=1) as engine:
        engine.put_items([{"item": f"i{n}"} for n in range(80)])
        engine.track("hide", user="ann", item="i0", ts=START)
        for n in range(1, 80):
            engine.track("view", user="ann", item=f"i{n}", ts=START + n * 60_000)
        assert "i0" not in engine.recommend("ann", 80, now=START + 80 * 60_000, record=False).item_ids


def test_too_many_slots_to_explore_are_refused_as_a_question() -> None:
    with Engine.open(":memory:", threads=1) as engine, pytest.raises(InvalidQuery, match="128") as caught:
        engine.recommend("ann", 200, exploration=0.1)
    assert caught.value.details["field"] == "n"


def test_an_item_pinned_twice_stands_in_the_first_of_its_slots() -> None:
    config = config_with(Scenario(pins=(Pin(slot=0, item="a"), Pin(slot=1, item="a"))))
    with Engine.open(":memory:", config=config, threads=1) as engine:
        engine.put_items([{"item": item} for item in "abc"])
        slate = engine.recommend("ann", 3, scenario="s", record=False)
        assert (slate[0].item, slate[0].pinned) == ("a", True)
        assert len(slate) == 3
        assert slate.notes == ["pinned item a is not in slot 1: another pin has the item"]
