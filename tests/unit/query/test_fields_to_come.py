"""A configuration may name fields before the first item has them; a request may not."""

import pytest

from headwater import Engine
from headwater.config import config_from_table
from headwater.errors import InvalidQuery

CONFIG = config_from_table(
    {
        "query": {
            "scenarios": {
                "shelf": {"filter": "stock > 0"},
                "not-sold-out": {"filter": "not sold_out"},
                "pushed": {
                    "boosts": [{"filter": "'summer' in season", "factor": 2.0}],
                    "promote": {"filter": "margin >= 0.5", "share": 0.5},
                },
            }
        }
    }
)


def test_a_scenario_filter_on_a_field_to_come_answers_and_says_so() -> None:
    with Engine.open(":memory:", config=CONFIG) as engine:
        engine.put_items([{"item": f"i{n}", "labels": {"price": n}} for n in range(6)])
        engine.track("view", user="ann", item="i1")
        shelf = engine.recommend("ann", 3, scenario="shelf", record=False)
        assert shelf.item_ids == []
        assert any("'stock'" in note or '"stock"' in note for note in shelf.notes), shelf.notes
        kept = engine.recommend("ann", 3, scenario="not-sold-out", record=False)
        assert len(kept) == 3
        assert len([note for note in kept.notes if "sold_out" in note]) == 1
        pushed = engine.recommend("ann", 3, scenario="pushed", record=False)
        assert len(pushed) == 3
        assert {"season", "margin"} == {name for name in ("season", "margin") for n in pushed.notes if name in n}
        frame = engine.recommend_many(["ann", "bob"], 3, scenario="not-sold-out")
        assert len(frame) == 6
        engine.patch_item("i3", labels={"stock": 2, "sold_out": True})
        shelf = engine.recommend("ann", 3, scenario="shelf", record=False)
        assert (shelf.item_ids, [note for note in shelf.notes if "stock" in note]) == (["i3"], [])
        kept = engine.recommend("ann", 6, scenario="not-sold-out", record=False)
        assert "i3" not in kept.item_ids
        assert len(kept) >= 4


@pytest.mark.parametrize("filter", ["stock > 0", "price < 3 and stock > 0", "`a field` == 1", "not sold_out"])
def test_a_request_that_names_it_is_refused_at_its_place(filter: str) -> None:
    with Engine.open(":memory:", config=CONFIG) as engine:
        engine.put_item("i1", labels={"price": 2})
        engine.track("view", user="ann", item="i1")
        engine.recommend("ann", 3, scenario="shelf", record=False)  # asked for the configuration, it is kept apart
        with pytest.raises(InvalidQuery) as caught:
            engine.recommend("ann", 3, filter=filter, record=False)
        assert caught.value.details["field"] == "filter"
        place = next(filter.index(name) for name in ("stock", "`a field`", "sold_out") if name in filter)
        assert caught.value.details["at"] == place


def test_what_is_wrong_for_another_reason_stays_an_error() -> None:
    config = config_from_table({"query": {"scenarios": {"cheap": {"filter": "price < max"}}}})
    with Engine.open(":memory:", config=config) as engine:
        engine.put_item("i1", labels={"price": 2})
        with pytest.raises(InvalidQuery, match="max"):
            engine.recommend("ann", 3, scenario="cheap", record=False)
        assert engine.recommend("ann", 3, scenario="cheap", params={"max": 5}, record=False).item_ids == ["i1"]
        engine.patch_item("i1", labels={"price": None, "max": 3})
        with pytest.raises(InvalidQuery):
            engine.recommend("ann", 3, scenario="cheap", record=False)
