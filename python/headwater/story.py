"""A visitor's walk through the engine: cold start, clicks, a dislike, a filter, and a new item that is discovered."""

from __future__ import annotations

from collections.abc import Callable

from headwater.engine import Engine
from headwater.slate import Slate

Say = Callable[[object], None]

_STEP = 20_000
"""Between two of the visitor's clicks, in ms."""
_DISCOVERERS = 12
"""Visitors who meet the new item."""


def tell(engine: Engine, say: Say) -> dict[str, int | str | None]:
    """Walk the visitor through; what happened, for a program.

    Every slate's record is in the log before the next step, so that the same seed tells the same story and leaves the
    same log.
    """
    return _Walk(engine, say).all()


class _Walk:
    def __init__(self, engine: Engine, say: Say) -> None:
        self._engine = engine
        self._say = say
        self._now = engine.now()

    def all(self) -> dict[str, int | str | None]:
        first, second = _two_worlds(self._engine)
        self._cold()
        changed = self._clicks(first, second)
        disliked = self._dislike()
        passing = self._filter(first)
        discovered = self._discovery(first)
        self._neighbours(first)
        return {"changed_by_a_click": changed, "disliked": disliked, "passing_filter": passing, **discovered}

    def _recommend(self, n: int, user: str = "visitor", **asked: object) -> Slate:
        slate = self._engine.recommend(user, n, now=self._now, **asked)  # type: ignore[arg-type]
        self._engine.flush()
        return slate

    def _view(self, item: str, user: str = "visitor", slate: Slate | None = None) -> None:
        self._now += _STEP
        slot = None if slate is None else slate.item_ids.index(item)
        named = None if slate is None else slate.id
        self._engine.track("view", user=user, item=item, ts=self._now, slate=named, slot=slot)

    def _cold(self) -> None:
        self._say("\n[bold]2. A new visitor[/bold], of whom nothing is known")
        self._say(self._recommend(5))

    def _clicks(self, first: str, second: str) -> int:
        self._view(first)
        before = self._recommend(8)
        self._say(f"   after one click, a view of {_escaped(first)}:")
        self._say(before)
        self._view(second)
        after = self._recommend(8)
        changed = len(set(after.item_ids) - set(before.item_ids))
        self._say(f"   after a view of {_escaped(second)}, {changed} of {len(after)} slots changed:")
        self._say(after)
        for _ in range(3):
            slate = self._recommend(3)
            if slate.items:
                self._view(slate[0].item, slate=slate)
        five = self._recommend(8)
        self._say("   after five clicks, the last three on what was recommended:")
        self._say(five)
        if five.items:
            self._say(_escaped(self._engine.explain(five, five[0].item).text))
        return changed

    def _dislike(self) -> str | None:
        before = self._recommend(8)
        if not before.items:
            return None
        disliked = before[0].item
        self._now += _STEP
        self._engine.track("dislike", user="visitor", item=disliked, ts=self._now, slate=before.id, slot=0)
        after = self._recommend(8)
        self._say(f"\n[bold]3. A dislike[/bold] of {_escaped(disliked)}: it is gone, and what is like it comes later")
        self._say(after)
        self._say(_escaped(self._engine.explain(after, disliked).text))
        return disliked

    def _filter(self, first: str) -> int:
        """A filter that the shop's items have fields for, or one by id."""
        text, params = f"item != '{first}'", {}
        for slot in self._recommend(20):
            price = self._engine.item(slot.item).labels.get("price")
            if isinstance(price, int | float):
                text, params = "price < max", {"max": price}
                break
        slate = self._recommend(5, filter=text, params=params, diversity=0.3)
        told = "".join(f", {name} = {value}" for name, value in params.items())
        self._say(f"\n[bold]4. A filter[/bold]: {_escaped(text)}{told}; and some diversity")
        self._say(slate)
        return len(slate)

    def _discovery(self, like: str) -> dict[str, int | str | None]:
        """A new item, put beside `like`, is served as fresh, looked at, and then stands on its own."""
        engine = self._engine
        known = engine.item(like)
        engine.put_item("brand-new", categories=known.categories, labels=known.labels, timestamp=self._now)
        self._say("\n[bold]5. A new item[/bold] that nobody has seen")
        served = clicked = 0
        for n in range(_DISCOVERERS):
            self._view(like, user=f"discoverer-{n}")
            slate = self._recommend(5, user=f"discoverer-{n}", sources={"fresh": 4.0}, exploration=0.2)
            if n == 0:
                self._say("   the first visitor who may meet it (exploring, with propensities):")
                self._say(slate)
            engine.seen(slate, range(len(slate)), ts=self._now)
            if "brand-new" in slate.item_ids:
                served += 1
                self._view("brand-new", user=f"discoverer-{n}", slate=slate)
                clicked += 1
        self._view(like, user="latecomer")
        slate = self._recommend(40, user="latecomer")
        place = next((slot for slot, item in enumerate(slate.item_ids) if item == "brand-new"), None)
        self._say(f"   served to {served} of {_DISCOVERERS} visitors, looked at by {clicked}; then, without freshness:")
        if place is None:
            self._say("   it is not among 40 items yet: " + _escaped(engine.explain(slate, "brand-new").text))
        else:
            self._say(_escaped(engine.explain(slate, "brand-new").text))
        return {"new_item_served": served, "new_item_slot": place}

    def _neighbours(self, first: str) -> None:
        self._say("\n[bold]6. Similar items and what is trending[/bold]")
        self._say(self._engine.similar(first, 5, now=self._now))
        self._say(self._engine.trending(n=5, now=self._now))


def _two_worlds(engine: Engine) -> tuple[str, str]:
    """A popular item with neighbours, and another that is none of its neighbours."""
    popular = engine.recommend("nobody", 100, sources={"popular": 1.0}, record=False).item_ids
    first = next((item for item in popular if len(engine.similar(item, 5))), popular[0])
    near = set(engine.similar(first, 100).item_ids) | {first}
    far = [item for item in popular if item not in near and len(engine.similar(item, 5))]
    return first, far[0] if far else popular[-1]


def _escaped(text: str) -> str:
    """Text in which nothing is markup."""
    from rich.markup import escape

    return escape(text)
