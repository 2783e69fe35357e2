"""CUPED: what users did before takes their differences out of what they do now (Deng, Xu, Kohavi, Walker, "Improving
the sensitivity of online controlled experiments by utilizing pre-experiment data", WSDM 2013).

    adjusted = y - theta (x - mean x),  theta = cov(x, y) / var(x)

x is from before the first slate of the experiment, so treatment cannot have touched it, and the difference of means
keeps its expectation; its variance falls to 1 - rho^2 of what it was, rho being the correlation of x and y.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Adjusted(NamedTuple):
    """Values with what the past explains taken out; by how much that lowers their variance (0 to 1)."""

    values: Floats
    theta: float
    reduction: float


def adjust(y: Floats, x: Floats, arms: NDArray[np.int64]) -> Adjusted:
    """Adjust `y` by `x`, users of all variants together; covariances are within variants, so that an effect does not
    pass for one."""
    inner_y, inner_x = y.astype(np.float64), x.astype(np.float64)
    for arm in np.unique(arms):
        own = arms == arm
        inner_y[own] -= inner_y[own].mean()
        inner_x[own] -= inner_x[own].mean()
    spread, total = float(inner_x @ inner_x), float(inner_y @ inner_y)
    if spread <= 0 or total <= 0:
        return Adjusted(y, 0.0, 0.0)
    shared = float(inner_x @ inner_y)
    theta = shared / spread
    rho = shared / math.sqrt(spread * total)
    return Adjusted(y - theta * (x - x.mean()), theta, rho * rho)
