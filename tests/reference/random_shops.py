"""Random small shops, filters and scenarios for property tests of slates."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

from headwater import Config, Engine, Feedback, default_config
from headwater.scenario import Boost, Cap, Pin, Promote, Scenario
from reference.cooccurrence import DAY
from reference.showing import Catalogue, Fields, History, Predicate, label

START = 19_000 * DAY
MINUTE = 60_000
ITEMS = [f"i{n}" for n in range(16)]
UNPUT = ["n0", "n1"]
USERS = ["ann", "bob", "cem"]
CATEGORIES = ["hats", "lamps", "shoes"]
BRANDS = ["arno", "birk", "corvo"]
GROUPS = ["g0", "g1", "g2"]
SOURCES = [
    "also_viewed", "session-knn", "repeats", "tag-affinity", "trending", "trending-in-tags", "popular", "fresh",
]  # fmt: skip
EVERY_FIELD: dict[str, Any] = {
    "categories": ["none"],
    "labels": {"brand": "none", "price": 0, "sale": False, "again": 0},
    "group_id": "none",
    "is_hidden": True,
}
"""A hidden item has them all, so that a filter may name any of them."""


class Filter(NamedTuple):
    """A filter's text, its parameters, and the same in Python."""

    text: str
    params: dict[str, Any]
    passes: Predicate

    def __repr__(self) -> str:
        return f"Filter({self.text!r}, {self.params!r})"


def views(engine: Engine, user: str, items: str | list[str], at: int = START) -> None:
    """The user views the items, a minute apart."""
    for n, item in enumerate(items):
        engine.track("view", user=user, item=item, ts=at + n * MINUTE)


def _price(op: str, bound: int, param: bool) -> Filter:
    compare = {"<": int.__lt__, ">=": int.__ge__, "==": int.__eq__, "!=": int.__ne__}[op]

    def passes(item: str, fields: Fields) -> bool:
        price = label(fields, "price")
        return price is not None and compare(price, bound)

    name = f"p{bound}"
    return Filter(f"price {op} {name if param else bound}", {name: bound} if param else {}, passes)


def _brands(brands: list[str], negated: bool) -> Filter:
    text = f"brand {'not ' if negated else ''}in [{', '.join(map(repr, brands))}]"
    return Filter(text, {}, lambda item, fields: (label(fields, "brand") in brands) != negated)


def _category(category: str, negated: bool) -> Filter:
    text = f"'{category}' {'not ' if negated else ''}in categories"
    return Filter(text, {}, lambda item, fields: (category in fields["categories"]) != negated)


def _joined(word: str, parts: list[Filter]) -> Filter:
    every = all if word == "and" else any
    params = {name: value for part in parts for name, value in part.params.items()}
    text = f" {word} ".join(f"({part.text})" for part in parts)
    return Filter(text, params, lambda item, fields: every(part.passes(item, fields) for part in parts))


def _negated(part: Filter) -> Filter:
    return Filter(f"not ({part.text})", part.params, lambda item, fields: not part.passes(item, fields))


LEAVES: st.SearchStrategy[Filter] = st.one_of(
    st.builds(_price, st.sampled_from(["<", ">=", "==", "!="]), st.integers(0, 5), st.booleans()),
    st.builds(_brands, st.lists(st.sampled_from(BRANDS), min_size=1, max_size=2), st.booleans()),
    st.builds(_category, st.sampled_from(CATEGORIES), st.booleans()),
    st.just(Filter("sale", {}, lambda item, fields: label(fields, "sale") is True)),
    st.just(Filter("price is missing", {}, lambda item, fields: label(fields, "price") is None)),
    st.just(Filter("group == 'g1'", {}, lambda item, fields: fields["group_id"] == "g1")),
    st.just(Filter("item in ['i0', 'i1', 'n0']", {}, lambda item, fields: item in ("i0", "i1", "n0"))),
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(_joined, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)),
        st.builds(_negated, inner),
    ),
    max_leaves=4,
)


def _fields() -> st.SearchStrategy[Fields]:
    labels = st.fixed_dictionaries(
        {},
        optional={
            "brand": st.sampled_from(BRANDS),
            "price": st.integers(0, 5),
            "sale": st.booleans(),
            "again": st.sampled_from([0, 5, 40]),
        },
    )
    return st.fixed_dictionaries(
        {
            "categories": st.lists(st.sampled_from(CATEGORIES), max_size=2),
            "labels": labels,
            "group_id": st.sampled_from([None, None, *GROUPS]),
            "is_hidden": st.sampled_from([False] * 7 + [True]),
        }
    )


class Shop(NamedTuple):
    """What is put, done, and changed afterwards."""

    items: dict[str, Fields]
    events: list[Feedback]
    patches: list[tuple[str, Fields]]
    deleted: list[str]
    put_again: list[tuple[str, Fields]]

    def open(self, config: Config) -> Engine:
        """An engine with the shop in it."""
        engine = Engine.open(":memory:", config=config, threads=1)
        engine.put_items([{"item": "every field", **EVERY_FIELD}])
        engine.put_items([{"item": item, **fields} for item, fields in self.items.items()])
        if self.events:
            engine.track_many(self.events)
        for item, changes in self.patches:
            engine.patch_item(item, **changes)
        for item in self.deleted:
            engine.delete_item(item)
        for item, fields in self.put_again:
            engine.put_item(item, **fields)
        return engine

    def catalogue(self) -> Catalogue:
        """The same in Python."""
        catalogue = Catalogue()
        catalogue.put_item("every field", **EVERY_FIELD)
        for item, fields in self.items.items():
            catalogue.put_item(item, **fields)
        catalogue.named |= {event.item for event in self.events}
        for item, changes in self.patches:
            catalogue.patch_item(item, **{name: value for name, value in changes.items() if value is not None})
        for item in self.deleted:
            catalogue.delete_item(item)
        for item, fields in self.put_again:
            catalogue.put_item(item, **fields)
        return catalogue

    def history(self, user: str) -> History:
        """What one of them did."""
        return History([event for event in self.events if event.user == user])


@st.composite
def shops(draw: st.DrawFn) -> Shop:
    """Up to 16 items and 40 events over 60 days."""
    items = draw(st.dictionaries(st.sampled_from(ITEMS), _fields(), min_size=3, max_size=len(ITEMS)))
    types = st.sampled_from(["view", "view", "view", "cart", "purchase", "dislike", "return"])
    rows = draw(st.lists(st.tuples(types, st.sampled_from(USERS), st.sampled_from([*items, *UNPUT])), max_size=40))
    gaps = draw(st.lists(st.sampled_from([2 * MINUTE, DAY, 9 * DAY]), min_size=len(rows), max_size=len(rows)))
    ts, events = START, []
    for (type, user, item), gap in zip(rows, gaps, strict=True):
        ts += gap
        events.append(Feedback(type=type, user=user, item=item, ts=ts))
    names = st.sampled_from(sorted(items))
    change = st.fixed_dictionaries(
        {},
        optional={
            "labels": st.fixed_dictionaries({}, optional={"price": st.sampled_from([None, 1, 9])}),
            "is_hidden": st.booleans(),
            "group_id": st.sampled_from(GROUPS),
            "categories": st.lists(st.sampled_from(CATEGORIES), max_size=2),
        },
    )
    patches = draw(st.lists(st.tuples(names, change), max_size=3))
    deleted = draw(st.lists(st.sampled_from([*sorted(items), "n0"]), max_size=2, unique=True))
    put_again = draw(st.lists(st.tuples(names, _fields()), max_size=1))
    return Shop(items, events, patches, deleted, put_again)


class Rules(NamedTuple):
    """A scenario with the Python side of its filters."""

    scenario: Scenario
    filter: Filter | None
    promoted: Filter | None


@st.composite
def rules(draw: st.DrawFn) -> Rules:
    """Any combination of sources, rules, diversity and exploration."""
    filter = draw(st.one_of(st.none(), FILTERS.filter(lambda f: not f.params)))
    promoted = draw(st.one_of(st.none(), LEAVES.filter(lambda f: not f.params)))
    boosts = draw(st.lists(LEAVES.filter(lambda f: not f.params), max_size=2))
    caps = draw(
        st.lists(
            st.builds(Cap, field=st.sampled_from(["categories", "brand", "price", "group"]), max=st.integers(1, 3)),
            max_size=2,
        )
    )
    pinned = draw(st.dictionaries(st.sampled_from([*ITEMS, "n1", "ghost"]), st.integers(0, 6), max_size=2))
    pins = {slot: item for item, slot in pinned.items()}
    scenario = Scenario(
        sources=draw(st.dictionaries(st.sampled_from(SOURCES), st.sampled_from([0.0, 0.3, 1.0]), max_size=5)),
        filter="" if filter is None else filter.text,
        exclude_consumed=draw(st.booleans()),
        consumed_expiry_days=draw(st.sampled_from([None, 3.0, 30.0])),
        consumed_expiry_label=draw(st.sampled_from(["", "again"])),
        touched_factor=draw(st.sampled_from([0.5, 1.0])),
        freshness=draw(st.sampled_from([0.0, 1.0])),
        popularity_debias=draw(st.sampled_from([0.0, 0.5])),
        boosts=tuple(Boost(filter=b.text, factor=draw(st.sampled_from([0.5, 3.0]))) for b in boosts),
        slate_pool=draw(st.sampled_from([1, 4, 500])),
        pool=draw(st.sampled_from([1, 200])),
        diversity=draw(st.sampled_from([0.0, 0.4, 1.0])),
        diversity_method=draw(st.sampled_from(["mmr", "dpp"])),
        one_per_group=draw(st.booleans()),
        caps=tuple(caps),
        pins=tuple(Pin(slot=slot, item=item) for slot, item in pins.items()),
        promote=Promote() if promoted is None else Promote(filter=promoted.text, share=draw(st.floats(0.1, 1.0))),
        exploration=draw(st.sampled_from([0.0, 0.2, 1.0])),
    )
    return Rules(scenario, filter, promoted)


def config_with(scenario: Scenario) -> Config:
    """The shop's configuration, with one scenario beside the default one."""
    config = default_config("shop")
    return msgspec.structs.replace(config, query=msgspec.structs.replace(config.query, scenarios={"s": scenario}))


def default_scenario() -> Scenario:
    """What answers when no scenario is named, as a scenario."""
    query = default_config("shop").query
    return Scenario(**{field: getattr(query, field) for field in Scenario.__struct_fields__})
