"""A large shop for measuring queries: 100,000 items with vectors, labels and variants, and a log with a long tail.

Items lie in clusters of one hundred, in the order of their popularity: a cluster shares a category, most of a brand
and the neighbourhood of its vectors, and visits of `headwater.bench.zipf.ZipfLog` stay near each other in the same
order. So what is seen together is also alike, as in a real shop, and every source has something to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from headwater.bench.zipf import ZipfLog
from headwater.config import Config, Segments, default_config
from headwater.scenario import SOURCES, Cap, Scenario

DAY = 86_400_000
START = 1_700_000_000_000
"""Of the log."""
_SPAN = 230 * DAY
EMBEDDING = "text"
ALL = "all"
"""The scenario with every source, MMR by vectors, exploration and rules."""
BROAD, NARROW = "price < 200 and in_stock", "picked"
"""Filters that let about 4 in 5 and 1 in 100 items pass."""

_CLUSTER = 100
_CATEGORIES, _BRANDS = 60, 800
_COUNTRIES = ("fi", "se", "no", "dk")
_VISIT = 6


class ShopSize(NamedTuple):
    """How much of everything."""

    items: int = 100_000
    events: int = 1_000_000
    users: int = 40_000
    dim: int = 64


FULL_SHOP = ShopSize()
TINY_SHOP = ShopSize(items=2_000, events=8_000, users=400)


class LargeShop:
    """Catalogue, users and log; equal seeds give equal shops."""

    def __init__(self, size: ShopSize, seed: int = 23) -> None:
        self.size = size
        self._random = np.random.default_rng(seed)
        self._log = ZipfLog(size.events, size.items, exponent=0.8, seed=seed)

    def config(self) -> Config:
        """The shop's profile with segments and the scenario `ALL`."""
        config = default_config("shop")
        generation = msgspec.structs.replace(
            config.generation, segments=Segments(label="country", values=_COUNTRIES), fresh_days=30.0
        )
        sources = dict.fromkeys(SOURCES, 0.2) | config.query.sources | {f"vector:{EMBEDDING}": 0.5}
        everything = Scenario(
            sources={name: weight for name, weight in sources.items() if name != "list"},
            diversity=0.3,
            diversity_by=EMBEDDING,
            exploration=0.1,
            caps=(Cap(field="brand", max=4),),
        )
        query = msgspec.structs.replace(config.query, scenarios={ALL: everything})
        return msgspec.structs.replace(config, generation=generation, query=query)

    def items(self) -> Iterator[list[dict[str, Any]]]:
        """Arguments of `put_item`, ten thousand at a time."""
        random, count = self._random, self.size.items
        clusters = count // _CLUSTER + 1
        centres = random.standard_normal((clusters, self.size.dim), np.float32)
        brand = random.zipf(1.4, clusters) % _BRANDS
        category = random.integers(0, _CATEGORIES, clusters)
        price = np.exp(random.normal(3.8, 1.1, count)).round(2)
        born = START + _SPAN - (random.random(count) * 720 * DAY).astype(np.int64)
        for first in range(0, count, 10_000):
            numbers = np.arange(first, min(first + 10_000, count))
            own = numbers // _CLUSTER
            vectors = centres[own] + 0.8 * random.standard_normal((len(numbers), self.size.dim), np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            odd = random.random((len(numbers), 3))
            yield [
                {
                    "item": f"i{number}",
                    "categories": [f"category {category[cluster]}"],
                    "labels": {
                        "brand": f"brand {brand[cluster] if o[0] < 0.7 else number % _BRANDS}",
                        "price": float(price[number]),
                        "in_stock": bool(o[1] < 0.88),
                        "picked": bool(o[2] < 0.01),
                    },
                    "timestamp": int(born[number]),
                    "group_id": f"g{number // 4}" if number % 20 < 4 else None,
                    "embeddings": {EMBEDDING: vector.astype("<f4").tobytes()},
                }
                for number, cluster, vector, o in zip(numbers, own, vectors, odd, strict=True)
            ]

    def visits(self) -> Iterator[pl.DataFrame]:
        """Events in time order: visits of about six views, some of which end in a cart and a purchase."""
        random, made = self._random, 0
        names = np.array([f"i{n}" for n in range(self.size.items)], dtype=object)
        for start in range(0, len(self._log.sessions), 2000):
            items = np.concatenate(self._log.sessions[start : start + 2000])
            ends = np.cumsum(random.integers(2, 2 * _VISIT - 1, len(items) // 2))
            visit = np.searchsorted(ends, np.arange(len(items)), side="right")
            owner = (random.random(visit[-1] + 1) ** 2 * self.size.users).astype(np.int64)
            ts = START + (made + np.arange(len(items))) * (_SPAN // self.size.events)
            frame = pl.DataFrame(
                {
                    "type": "view",
                    "item": names[items].tolist(),
                    "user": owner[visit],
                    "ts": ts,
                    "visit": visit + made,
                    "draw": random.random(len(items)),
                }
            ).with_columns(pl.format("u{}", "user").alias("user"), pl.format("s{}", "visit").alias("session"))
            carts = frame.filter(pl.col("draw") < 0.1).with_columns(pl.lit("cart").alias("type"), pl.col("ts") + 1)
            bought = frame.filter(pl.col("draw") < 0.04).with_columns(
                pl.lit("purchase").alias("type"), pl.col("ts") + 2, pl.format("b{}", "visit").alias("basket")
            )
            made += len(items)
            yield pl.concat([frame, carts, bought], how="diagonal").sort("ts").drop("visit", "draw")

    def countries(self) -> list[tuple[str, str]]:
        """User and country of one user in two."""
        return [(f"u{user}", _COUNTRIES[user % len(_COUNTRIES)]) for user in range(0, self.size.users, 2)]

    def visitors(self, count: int) -> list[str]:
        """Who asks: any user, one in twenty of whom nobody knows."""
        drawn: NDArray[np.int64] = self._random.integers(0, self.size.users, count)
        return [f"u{user}" if n % 20 else f"new {user}" for n, user in enumerate(drawn.tolist())]
