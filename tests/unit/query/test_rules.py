"""Rules of slates on random shops: what may not be shown never is, whatever the sources, diversity and exploration."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from headwater import Engine, Slate
from headwater.scenario import Promote, Scenario
from reference.cooccurrence import DAY
from reference.random_shops import (
    FILTERS,
    ITEMS,
    START,
    UNPUT,
    USERS,
    Filter,
    Rules,
    Shop,
    config_with,
    rules,
    shops,
)
from reference.showing import Catalogue, addable, broken_caps, kept_slots, most, passing, repeated_groups


class Question(NamedTuple):
    """A request."""

    user: str
    n: int
    filter: Filter | None
    exclude: list[str]
    days_later: int
    listed: list[str] | None


QUESTIONS = st.builds(
    Question,
    st.sampled_from([*USERS, "stranger"]),
    st.integers(1, 12),
    st.one_of(st.none(), FILTERS),
    st.lists(st.sampled_from([*ITEMS, *UNPUT, "ghost"]), max_size=3),
    st.sampled_from([0, 2, 25, 60]),
    st.one_of(st.none(), st.none(), st.lists(st.sampled_from([*ITEMS, *UNPUT, "ghost"]), min_size=1, max_size=12)),
)


class Asked(NamedTuple):
    """A slate, and what plain Python says of the question."""

    slate: Slate
    catalogue: Catalogue
    showable: set[str]
    n: int


def ask(engine: Engine, shop: Shop, made: Rules, question: Question) -> Asked:
    """The answer, and the items that may be in it."""
    last = shop.events[-1].ts if shop.events else START
    now = last + question.days_later * DAY
    said: dict[str, Any] = {"scenario": "s", "now": now, "record": False}
    if question.filter is not None:
        said |= {"filter": question.filter.text, "params": question.filter.params}
    catalogue = shop.catalogue()
    showable = catalogue.visible()
    for filter in (made.filter, question.filter):
        if filter is not None:
            showable = passing(catalogue, showable, filter.passes)
    history, fold = shop.history(question.user), engine.config.generation
    showable -= history.rejected(fold) | history.consumed(fold, made.scenario, catalogue, now)
    if question.listed is None:
        slate = engine.recommend(question.user, question.n, exclude=question.exclude, **said)
        showable -= set(question.exclude)
    else:
        slate = engine.rank(question.user, question.listed, question.n, **said)
        showable &= set(question.listed)
    return Asked(slate, catalogue, showable, question.n)


@given(shops(), rules(), QUESTIONS)
def test_no_rule_is_ever_broken(shop: Shop, made: Rules, question: Question) -> None:
    with shop.open(config_with(made.scenario)) as engine:
        slate, catalogue, showable, n = ask(engine, shop, made, question)
    ids = slate.item_ids
    assert len(ids) == len(set(ids)) <= n
    assert set(ids) <= showable
    assert broken_caps(catalogue, made.scenario.caps, ids) == []
    if made.scenario.one_per_group:
        assert repeated_groups(catalogue, ids) == []
    for slot in slate:
        assert 0 < slot.propensity <= 1
        assert slot.propensity == 1 or made.scenario.exploration > 0


@given(shops(), rules(), QUESTIONS)
def test_a_slate_is_short_only_when_the_rules_leave_no_more(shop: Shop, made: Rules, question: Question) -> None:
    with shop.open(config_with(made.scenario)) as engine:
        slate, catalogue, showable, n = ask(engine, shop, made, question)
    whole = made.scenario.slate_pool >= len(showable)
    if len(slate) < n:
        if whole:
            assert addable(catalogue, made.scenario, slate.item_ids, showable) == set()
        assert slate.fallback is not None
        assert f"only {len(slate)} of {n} items can be shown" in slate.fallback
    elif slate.fallback is not None:
        assert "can be shown" not in slate.fallback
    if whole and not made.scenario.caps and not made.scenario.pins:
        assert len(slate) == min(n, most(catalogue, made.scenario, showable))


@given(shops(), rules(), QUESTIONS)
def test_a_pin_is_in_its_slot_or_a_note_says_why_not(shop: Shop, made: Rules, question: Question) -> None:
    with shop.open(config_with(made.scenario)) as engine:
        slate, _, showable, n = ask(engine, shop, made, question)
    pins = {pin.slot: pin.item for pin in made.scenario.pins if pin.slot < n}
    for slot, item in pins.items():
        in_place = slot < len(slate) and slate[slot].item == item and slate[slot].pinned
        noted = [note for note in slate.notes if f"pinned item {item} " in note]
        assert in_place != bool(noted), (slate.item_ids, slate.notes)
        if item not in showable:
            assert noted == [f"pinned item {item} may not be shown here"]
    for slot, shown in enumerate(slate):
        assert shown.pinned == (pins.get(slot) == shown.item)
        if shown.pinned:
            assert shown.propensity == 1


def _is_certain(scenario: Scenario) -> bool:
    """Whether no draw can use up what a group or a cap allows of the promoted items in the pool."""
    return scenario.exploration == 0 or not (scenario.caps or scenario.one_per_group)


@given(shops(), rules(), QUESTIONS)
def test_promoted_items_keep_their_share(shop: Shop, made: Rules, question: Question) -> None:
    """Each slot that is kept holds a promoted item, as long as there is any that the rules still allow."""
    with shop.open(config_with(made.scenario)) as engine:
        slate, catalogue, showable, n = ask(engine, shop, made, question)
    if made.promoted is None:
        assert not any(slot.promoted for slot in slate)
        return
    promoted = passing(catalogue, showable, made.promoted.passes)
    kept = kept_slots(made.scenario.promote.share, n)
    pinned = [r.item for r in slate if r.pinned]
    for slot, shown in enumerate(slate):
        if shown.promoted:
            assert slot in kept
            assert shown.item in promoted
        elif slot in kept and not shown.pinned and len(slate) == n and _is_certain(made.scenario):
            above = slate.item_ids[:slot]
            fixed = [*above, *(item for item in pinned if item not in above)]
            assert addable(catalogue, made.scenario, fixed, promoted) == set()


def test_a_share_a_hair_below_one_keeps_no_slot_of_one() -> None:
    """The engine reads the configuration's numbers to the last place, as Python wrote them."""
    share = math.nextafter(1.0, 0.0)
    assert kept_slots(share, 1) == []
    assert kept_slots(1.0, 1) == [0]
    shown = {}
    for kept in (share, 1.0):
        scenario = Scenario(sources={"popular": 1.0}, promote=Promote(filter="x > 1", share=kept))
        with Engine.open(":memory:", config=config_with(scenario), clock="log") as engine:
            engine.put_items([{"item": "led", "labels": {"x": 0}}, {"item": "pushed", "labels": {"x": 2}}])
            for user in ("u1", "u2", "u3"):
                engine.track("view", user=user, item="led", ts=START)
            engine.track("view", user="u1", item="pushed", ts=START)
            slate = engine.recommend("stranger", 1, scenario="s", now=START + 1000)
        shown[kept] = [(slot.item, slot.promoted) for slot in slate]
    assert shown == {share: [("led", False)], 1.0: [("pushed", True)]}


@given(shops(), rules(), st.lists(st.sampled_from([*ITEMS, *UNPUT, "ghost"]), min_size=1, max_size=4))
def test_an_anonymous_visitor_is_not_shown_what_they_came_with(shop: Shop, made: Rules, came_with: list[str]) -> None:
    with shop.open(config_with(made.scenario)) as engine:
        now = shop.events[-1].ts if shop.events else START
        slate = engine.session(came_with, 8, scenario="s", now=now)
    catalogue = shop.catalogue()
    showable = catalogue.visible()
    if made.filter is not None:
        showable = passing(catalogue, showable, made.filter.passes)
    if not made.scenario.sources.get("repeats"):
        showable -= set(came_with)
    assert set(slate.item_ids) <= showable
    assert broken_caps(catalogue, made.scenario.caps, slate.item_ids) == []
