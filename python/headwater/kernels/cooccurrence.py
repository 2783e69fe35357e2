"""Items that are touched together: bounded counts of pairs, and what they say of given items.

Rows hold the neighbours of one item, at most `capacity`; a full row lets the smallest go (SpaceSaving: Metwally,
Agrawal and El Abbadi, ICDT 2005), for a newcomer on its second hit. Measures are computed when they are asked for.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from headwater import core
from headwater.kernels.arrays import array_of, float_of, int_of, refuse

MAX_ITEMS = 2**31 - 1
MAX_COUNT = 2**40

Metric = Literal["cosine", "jaccard", "conditional", "lift", "pmi", "phi", "llr"]
METRICS: tuple[str, ...] = get_args(Metric)


class CooccurrenceCounts:
    """Counts of pairs of items over units: sessions, baskets, users.

    Items are numbers, best without gaps. In a unit each item counts once, at its first place, and is paired in both
    directions with the `window` distinct items before it. A unit of `unit_cap` distinct items is closed there and the
    rest is another, so that no unit counts for too much. Counts are whole numbers; nothing decays.

    Memory: 56 bytes an item up to the largest, 9 bytes and a share of a cache line a pair, 13 in rows that are full.
    Safe to use from several threads: questions run beside each other, changes exclude them.
    """

    def __init__(self, capacity: int = 256, window: int = 12, *, unit_cap: int = 256, max_items: int = 2**24) -> None:
        """Rows of at most `capacity` neighbours, items from 0 to `max_items` - 1. Raises `InvalidArray`."""
        self._kernel = core.CooccurrenceKernel(
            int_of("capacity", capacity, 1, 65_535),
            int_of("window", window, 1, 65_535),
            int_of("unit_cap", unit_cap, 1, MAX_COUNT),
            int_of("max_items", max_items, 1, MAX_ITEMS),
        )

    def __repr__(self) -> str:
        return f"CooccurrenceCounts(units={self.units}, pairs={self.pairs}, bytes={self.nbytes})"

    def add_units(self, offsets: NDArray[np.int64], items: NDArray[np.uint32]) -> None:
        """Counts units: unit i is `items[offsets[i]:offsets[i + 1]]`, items in the order they were touched.

        `offsets`: int64 (n + 1,), ascending from 0 to the number of items. `items`: uint32. O(items x window); the GIL
        is released. Raises `InvalidArray`, with nothing counted, for other arrays and for items beyond `max_items` or
        beyond the memory there is; with a part counted, when the rows would outgrow 16 GiB.
        """
        offsets = array_of("offsets", offsets, np.int64, (None,))
        self._kernel.add_units(offsets, array_of("items", items, np.uint32, (None,)))

    def top(
        self,
        seeds: NDArray[np.uint32],
        k: int,
        *,
        metric: Metric = "cosine",
        shrinkage: float = 0.0,
        weights: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
        """The `k` items with the largest sums of weight x metric over all seeds, equal sums by ascending number.

        `seeds`: uint32 (s,); they are no answers themselves, and items never counted say nothing. `weights`: float64
        (s,), finite, 1 each unless given. With c the pair's count, every metric is multiplied by c / (c + `shrinkage`).
        cosine, jaccard and conditional relate c to the units that have the items; lift, pmi, phi (Pearson) and llr
        (Dunning's G2, 1993, negative for pairs rarer than chance) to the pairs drawn.

        Returns items, uint32, and sums, float64, of the same length, at most k: sums that are not above 0 are left out.
        O(s x capacity). Raises `InvalidArray`.
        """
        seeds = array_of("seeds", seeds, np.uint32, (None,))
        if metric not in METRICS:
            refuse("metric", f"{metric!r:.80}; allowed: {', '.join(METRICS)}")
        if weights is not None:
            weights = array_of("weights", weights, np.float64, seeds.shape)
            if not math.isfinite(weights.sum()) or not np.isfinite(weights).all():
                refuse("weights", "NaN, an infinity or too large a sum; allowed: finite numbers")
        shrinkage = float_of("shrinkage", shrinkage, 0.0, 1e9)
        k = min(int_of("k", k, 0, MAX_COUNT), self._kernel.width)
        items, scores = np.empty(k, np.uint32), np.empty(k, np.float64)
        found = self._kernel.top(seeds, weights, metric, shrinkage, items, scores)
        return items[:found], scores[:found]

    @property
    def units(self) -> int:
        """Units counted."""
        return self._kernel.sizes()[0]

    @property
    def pairs(self) -> int:
        """Directed pairs held."""
        return self._kernel.sizes()[2]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._kernel.sizes()[3]
