"""A simulated shop: users with tastes, sessions, companions, launches, trends and returns, the same for the same seed.

It exists to show and to test the engine on a world whose facts are known: `Simulation.facts` says which items were
bought together, launched or in fashion, so that an answer can be compared with the truth and not only looked at.

Everything is drawn from one Mersenne Twister by comparisons and table look-ups, never through the platform's `exp` or
`log`, so a seed means the same shop on every machine.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from random import Random
from typing import Any, NamedTuple

import polars as pl

from headwater.errors import InvalidInput

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_735_689_600_000
"""2025-01-01T00:00:00Z."""

DAYS = 56

CATEGORIES = (
    "shoes", "shirts", "jackets", "bags", "watches", "lamps", "chairs", "tents", "bikes", "books", "games", "coffee",
)  # fmt: skip
BRANDS = ("arno", "birk", "corvo", "dalia", "ekko", "fjord", "gale", "hana")

_STAY = 0.8
"""Chance that the next view is near the last one."""

_CART, _BUY, _COMPANION, _RETURN = 0.12, 0.55, 0.45, 0.06
_TREND_SHARE = 0.5
_MEAN_SESSION = 6


class Trend(NamedTuple):
    """An item in fashion: from, until (UTC ms)."""

    item: str
    start: int
    end: int


class Facts(NamedTuple):
    """What is true of the simulated shop."""

    companions: dict[str, str]
    """Item -> the item that is often bought with it."""
    launches: dict[str, int]
    """Item -> when it came into the shop (UTC ms); until then nobody sees it."""
    trends: list[Trend]
    tastes: dict[str, list[str]]
    """User -> favoured categories, strongest first."""


class Simulation(NamedTuple):
    """A catalogue as arguments of `put_item`, events in canonical columns sorted by time, and what is true of them."""

    items: list[dict[str, Any]]
    events: pl.DataFrame
    facts: Facts


def simulate_shop(seed: int, events: int = 500_000) -> Simulation:
    """Simulate a shop over 56 days, until it has exactly `events` events. O(events); about 3 us an event.

    Raises `InvalidInput` for fewer than 1,000 events: too few for a shop to show anything.
    """
    if events < 1000:
        raise InvalidInput(f"events = {events}; allowed: 1000 or more", field="events", value=events)
    random = Random(seed)
    shop = _Shop(random, max(120, events // 250))
    visitors = _Visitors(random, max(40, events // 30), shop)
    rows: list[_Row] = []
    while len(rows) < events:
        visitors.session(rows)
    rows.sort()
    del rows[events:]
    columns = {"ts": pl.Int64, "user": pl.String, "type": pl.String, "item": pl.String}
    columns |= {"session": pl.String, "basket": pl.String}
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    facts = Facts(shop.companions(), shop.launches(), shop.trends, visitors.tastes())
    return Simulation(shop.catalogue(), frame, facts)


_Row = tuple[int, str, str, str, str, str | None]


def _zipf(count: int) -> list[float]:
    """Cumulated weights 1, 1/2, 1/3 ..."""
    return list(accumulate(1 / rank for rank in range(1, count + 1)))


class _Shop:
    """Items by category, in order of popularity, with their companions, launches and trends."""

    def __init__(self, random: Random, size: int) -> None:
        self._random = random
        self.names = [f"{CATEGORIES[i % len(CATEGORIES)]}-{i // len(CATEGORIES)}" for i in range(size)]
        self.category = [i % len(CATEGORIES) for i in range(size)]
        shelves: list[list[int]] = [[] for _ in CATEGORIES]
        for item in range(size):
            shelves[self.category[item]].append(item)
        for shelf in shelves:
            random.shuffle(shelf)
        self.shelves = shelves
        self._place = {item: (c, place) for c, shelf in enumerate(shelves) for place, item in enumerate(shelf)}
        self._weights = [_zipf(len(shelf)) for shelf in shelves]
        self.price = [round(5 + 195 * random.random() ** 3, 2) for _ in range(size)]
        self.brand = [random.randrange(len(BRANDS)) for _ in range(size)]
        self.companion = [self._companion(item) for item in range(size)]
        self.launch = [START + int(random.random() * DAYS * DAY) if random.random() < 0.08 else 0 for _ in range(size)]
        self.trends = self._trends(max(4, size // 60))

    def _companion(self, item: int) -> int:
        """Another item, of the next category: who buys a tent looks for a bike."""
        shelf = self.shelves[(self.category[item] + 1) % len(CATEGORIES)]
        return shelf[self._random.randrange(len(shelf))]

    def _trends(self, count: int) -> list[Trend]:
        """Fashions of two days each, the last of them in the last two days."""
        trends = []
        for number in range(count):
            item = self._random.randrange(len(self.names))
            start = START + int((DAYS - 2) * DAY * (number + 1) / count)
            self.launch[item] = 0
            trends.append(Trend(self.names[item], start, start + 2 * DAY))
        return trends

    def draw(self, category: int, ts: int) -> int:
        """An item of a category by popularity; one that is not launched yet gives way to the most popular."""
        weights = self._weights[category]
        shelf = self.shelves[category]
        item = shelf[bisect_right(weights, self._random.random() * weights[-1], hi=len(shelf) - 1)]
        return item if self.launch[item] <= ts else next(i for i in shelf if self.launch[i] <= ts)

    def near(self, item: int, ts: int) -> int:
        """An item that stands close by: the substitutes that people compare."""
        category, place = self._place[item]
        shelf = self.shelves[category]
        other = shelf[(place + 1 + self._random.randrange(4)) % len(shelf)]
        return other if self.launch[other] <= ts else item

    def catalogue(self) -> list[dict[str, Any]]:
        """Arguments of `put_item` for every item."""
        rows = []
        for item, name in enumerate(self.names):
            labels = {"brand": BRANDS[self.brand[item]], "price": self.price[item]}
            row = {"item": name, "categories": [CATEGORIES[self.category[item]]], "labels": labels}
            rows.append(row | {"timestamp": self.launch[item] or START})
        return rows

    def companions(self) -> dict[str, str]:
        return {name: self.names[self.companion[item]] for item, name in enumerate(self.names)}

    def launches(self) -> dict[str, int]:
        return {name: self.launch[item] for item, name in enumerate(self.names) if self.launch[item]}


class _Visitors:
    """Users with tastes; each call of `session` is one visit of one of them."""

    def __init__(self, random: Random, count: int, shop: _Shop) -> None:
        self._random = random
        self._shop = shop
        self._tastes = [random.sample(range(len(CATEGORIES)), 3) for _ in range(count)]
        self._weights = _zipf(count)
        self._visits = [0] * count
        self._numbers = {name: item for item, name in enumerate(shop.names)}

    def tastes(self) -> dict[str, list[str]]:
        return {f"u{user}": [CATEGORIES[c] for c in tastes] for user, tastes in enumerate(self._tastes)}

    def session(self, rows: list[_Row]) -> None:
        """Append the events of one visit."""
        random = self._random
        # Half of the visits come from everybody alike, half from the faithful.
        users = len(self._tastes)
        if random.random() < 0.5:
            user = random.randrange(users)
        else:
            user = bisect_right(self._weights, random.random() * self._weights[-1], hi=users - 1)
        self._visits[user] += 1
        visit = _Visit(f"u{user}", f"s{user}-{self._visits[user]}", START + int(random.random() * DAYS * DAY))
        self._browse(visit, user, rows)

    def _browse(self, visit: _Visit, user: int, rows: list[_Row]) -> None:
        random, shop = self._random, self._shop
        ts, item, bought = visit.start, self._arrive(user, visit.start), 0
        while True:
            rows.append((ts, visit.user, "view", shop.names[item], visit.session, None))
            if random.random() < _CART:
                bought = self._cart(visit, item, ts, bought, rows)
            if random.random() < 1 / _MEAN_SESSION:
                return
            ts += 8_000 + int(random.random() * 90_000)
            item = shop.near(item, ts) if random.random() < _STAY else self._arrive(user, ts)

    def _arrive(self, user: int, ts: int) -> int:
        """Where a visitor enters: what is in fashion, or a shelf that they like."""
        random = self._random
        for trend in self._shop.trends:
            if trend.start <= ts < trend.end and random.random() < _TREND_SHARE:
                return self._numbers[trend.item]
        first, second, third = self._tastes[user]
        draw = random.random()
        taste = first if draw < 0.6 else second if draw < 0.85 else third
        return self._shop.draw(taste, ts)

    def _cart(self, visit: _Visit, item: int, ts: int, bought: int, rows: list[_Row]) -> int:
        """Into the cart, perhaps bought, with its companion, returned. How many baskets the visit has had."""
        random, names = self._random, self._shop.names
        rows.append((ts + 3_000, visit.user, "cart", names[item], visit.session, None))
        if random.random() >= _BUY:
            return bought
        basket = f"b-{visit.session}-{bought}"
        rows.append((ts + 6_000, visit.user, "purchase", names[item], visit.session, basket))
        other = self._shop.companion[item]
        if random.random() < _COMPANION and self._shop.launch[other] <= ts:
            rows.append((ts + 6_500, visit.user, "purchase", names[other], visit.session, basket))
        later = ts + DAY + int(random.random() * 6 * DAY)
        if random.random() < _RETURN and later < START + DAYS * DAY:
            rows.append((later, visit.user, "return", names[item], f"{visit.session}-return", None))
        return bought + 1


class _Visit(NamedTuple):
    user: str
    session: str
    start: int
