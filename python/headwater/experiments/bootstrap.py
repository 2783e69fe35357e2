"""Intervals by resampling users.

Each resample weighs every user by a draw of Poisson(1), which for many users is the bootstrap (Hanley and MacGibbon
2006; Chamandy, Muralidharan, Najmi, Naidu, "Estimating uncertainty for massive data streams", 2012): sums over
resampled users become one matrix product. Beyond `UNITS` users they are put into that many random groups that are
weighed as one; groups of independent users are independent, so that the spread of a sum is the same and only its
estimate is a little coarser (relative error 1 / sqrt(2 UNITS), half a percent).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UNITS = 1 << 15
_BLOCK = 1 << 22


def units_of(users: int, seed: int) -> Ints:
    """For each user the unit that they are resampled with."""
    if users <= UNITS:
        return np.arange(users, dtype=np.int64)
    # Equally large groups: users in random order, dealt out.
    order = np.random.Generator(np.random.PCG64((seed, 1))).permutation(users)
    units = np.empty(users, dtype=np.int64)
    units[order] = np.arange(users, dtype=np.int64) % UNITS
    return units


def unit_sums(units: Ints, groups: Ints, count: int, size: int, values: Floats | None = None) -> Floats:
    """Sums of `values` (of ones, without) by unit and group: (size, count). O(rows + size * count)."""
    flat = np.bincount(units * count + groups, weights=values, minlength=size * count)
    return flat.reshape(size, count).astype(np.float64)


def resampled(sums: Floats, resamples: int, seed: int) -> Floats:
    """Column sums of `sums` (units, columns) under each resample: (resamples, columns). O(resamples * units *
    columns)."""
    draw = np.random.Generator(np.random.PCG64((seed, 2)))
    size = max(1, len(sums))
    # In single precision relative to the mean, so that nothing is lost in large sums.
    out = np.empty((resamples, sums.shape[1]))
    scale = np.maximum(np.abs(sums).max(axis=0, initial=0.0), 1e-300)
    scaled = (sums / scale).astype(np.float32)
    block = max(1, _BLOCK // size)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        weights = _POISSON[draw.integers(0, 1 << 16, (rows, len(sums)), dtype=np.uint16)]
        out[start : start + rows] = weights @ scaled
    sums_of: Floats = out * scale
    return sums_of


def _poisson_table() -> NDArray[np.float32]:
    """Quantiles of Poisson(1) at 2^16 evenly spaced probabilities."""
    chances, chance = [], np.exp(-1.0)
    for k in range(1, 12):
        chances.append(chance)
        chance /= k
    cumulated = np.cumsum(chances)
    return np.searchsorted(cumulated, (np.arange(1 << 16) + 0.5) / (1 << 16)).astype(np.float32)


_POISSON = _poisson_table()


def percentiles(values: Floats, confidence: float) -> tuple[float, float]:
    """The percentile interval of resampled values; NaN (an empty resample) is left out."""
    kept = values[np.isfinite(values)]
    if not len(kept):
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(kept, [tail, 1 - tail])
    return float(low), float(high)
