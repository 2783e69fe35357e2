"""Whether a difference is one: fixed-horizon and always-valid tests, Holm's correction, sample-ratio mismatch.

Metrics are ratios of sums over users (clicks / slates, revenue / users), so users, not slates, are what is independent.
With residuals r_i = (num_i - value den_i) / mean(den) the variance of a ratio is var(r) / n (the delta method: Deng,
Knoblich, Lu, "Applying the delta method in metric analytics", KDD 2018).

*Always valid.* The normal-mixture test (Robbins 1970; mSPRT of Johari, Koomen, Pekelis, Walsh, "Peeking at A/B
tests", KDD 2017; confidence sequences of Howard, Ramdas, McAuliffe, Sekhon, Ann. Statist. 49, 2021; with estimated
variance Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory", Ann. Statist. 52, 2024):
at n users with z = difference / standard error the mixture likelihood ratio is

    L_n = (1 + rho^2 n)^(-1/2) exp(z^2 / 2 * rho^2 n / (1 + rho^2 n))

and under no difference sup_n L_n exceeds 1 / alpha with probability at most alpha (asymptotically in the first look),
so p_n = min over m <= n of 1 / L_m may be looked at after every user. The interval that goes with it is difference +-
se sqrt((1 + rho^2 n) / (rho^2 n) (2 ln(1 / alpha) + ln(1 + rho^2 n))). `rho^2` is fixed beforehand: it makes the
interval narrowest at the planned number of users (Waudby-Smith et al., appendix on the choice of rho).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_normal = NormalDist()


class Ratio(NamedTuple):
    """A ratio of sums over users, and the standard error of it."""

    value: float
    error: float
    users: int


def ratio(num: Floats, den: Floats) -> Ratio:
    """sum(num) / sum(den) with its delta-method standard error; `num` and `den` are by user. NaN where `den` sums to
    0."""
    users, bottom = len(num), float(den.sum())
    if bottom <= 0:
        return Ratio(math.nan, math.nan, users)
    value = float(num.sum()) / bottom
    residual = num - value * den
    scale = math.sqrt(users / (users - 1)) if users > 1 else math.nan
    return Ratio(value, scale * math.sqrt(float(residual @ residual)) / bottom, users)


def two_sided(z: float) -> float:
    """Probability that a standard normal is at least as far from 0. NaN stays."""
    return math.erfc(abs(z) / math.sqrt(2))


def critical(confidence: float) -> float:
    """How many standard errors a fixed-horizon interval reaches to each side."""
    return _normal.inv_cdf(0.5 + confidence / 2)


def mixture(planned: float, alpha: float) -> float:
    """rho^2 under which the always-valid interval at level `alpha` is about narrowest at `planned` users."""
    log = -2 * math.log(alpha)
    return (log + math.log(log) + 1) / planned


def always_valid_p(z: Floats, users: Floats, rho2: float) -> Floats:
    """p-values at consecutive looks: may be read at any of them, or at all. NaN looks change nothing."""
    spread = 1 + rho2 * users
    log = -0.5 * np.log(spread) + 0.5 * np.square(z) * (rho2 * users) / spread
    return np.minimum.accumulate(np.minimum(1.0, np.exp(-np.nan_to_num(log, nan=0.0))))


def always_valid_radius(error: Floats, users: Floats, rho2: float, alpha: float) -> Floats:
    """Half the width of the always-valid interval at each look."""
    spread = 1 + rho2 * users
    radius: Floats = error * np.sqrt(spread / (rho2 * users) * (2 * math.log(1 / alpha) + np.log(spread)))
    return radius


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values adjusted for their number (Holm 1979): rejecting those at most alpha keeps the chance of any false one
    at alpha. None is no test and stays."""
    order = sorted((p, at) for at, p in enumerate(values) if p is not None and not math.isnan(p))
    adjusted: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, at) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        adjusted[at] = highest
    return adjusted


def chi_square_p(statistic: float, freedom: int) -> float:
    """Upper tail of the chi-square distribution, by its closed forms (Abramowitz and Stegun 26.4.4, 26.4.5)."""
    if statistic <= 0:
        return 1.0
    half = statistic / 2
    if freedom % 2 == 0:
        term = total = 1.0
        for k in range(1, freedom // 2):
            term *= half / k
            total += term
        return math.exp(-half) * total
    term, total = math.sqrt(statistic), 0.0
    for k in range(1, (freedom - 1) // 2 + 1):
        if k > 1:
            term *= statistic / (2 * k - 1)
        total += term
    return math.erfc(math.sqrt(half)) + math.sqrt(2 / math.pi) * math.exp(-half) * total


def ratio_mismatch_p(counts: Sequence[float], expected: Sequence[float]) -> float:
    """Chance that a sound deal departs so far from what was expected (Fabijan et al., "Diagnosing sample ratio mismatch
    in online controlled experiments", KDD 2019). `expected` sums to what `counts` do."""
    pairs = [(count, e) for count, e in zip(counts, expected, strict=True) if e > 0 or count > 0]
    if any(e <= 0 for _, e in pairs):
        return 0.0  # who should not be there is
    if len(pairs) < 2:
        return 1.0
    return chi_square_p(sum((count - e) ** 2 / e for count, e in pairs), len(pairs) - 1)
