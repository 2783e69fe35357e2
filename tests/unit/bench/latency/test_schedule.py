"""Which requests are due when: rates, mixes, seeds, and bad values."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.bench.latency.schedule import VERBS, Turn, mix_of, rates_of, schedule
from headwater.errors import InvalidInput

MIX = {"recommend": 0.7, "similar": 0.1, "track": 0.2}


def turn(**changes: object) -> Turn:
    return Turn(**({"rate": 500.0, "seconds": 40.0, "seed": 3, "mix": MIX} | changes))  # type: ignore[arg-type]


def test_poisson_gaps_are_exponential_at_the_rate() -> None:
    due = schedule(turn()).due_ns / 1e9
    gaps = np.diff(due)
    assert np.all(gaps >= 0)
    assert due[-1] < 40
    # 20,000 expected, standard deviation 141; mean and standard deviation of the gaps are both 2 ms.
    assert abs(len(due) - 20_000) < 700
    assert gaps.mean() == pytest.approx(1 / 500, rel=0.04)
    assert gaps.std() == pytest.approx(1 / 500, rel=0.06)


def test_constant_arrivals_are_evenly_spaced() -> None:
    due = schedule(turn(arrivals="constant", rate=8.0, seconds=1.0)).due_ns
    assert due.tolist() == [125_000_000 * i for i in range(8)]


def test_verbs_follow_the_mix() -> None:
    plan = schedule(turn())
    shares = np.bincount(plan.verb, minlength=len(VERBS)) / len(plan)
    for verb, weight in MIX.items():
        assert shares[VERBS.index(verb)] == pytest.approx(weight, abs=0.02)
    assert shares[VERBS.index("session")] == 0


def test_equal_seeds_give_equal_schedules() -> None:
    first, again, other = (schedule(turn(seed=seed)) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(first.due_ns[:50], other.due_ns[:50])
    assert 0 <= first.draw.min() < first.draw.max() < 1


def test_more_than_there_is_room_for_is_refused() -> None:
    with pytest.raises(InvalidInput, match="lower the rate"):
        schedule(turn(rate=1e6, seconds=60.0))


def test_a_mix_is_normalised() -> None:
    assert mix_of("recommend=3, track=1", {}) == {"recommend": 0.75, "track": 0.25}
    assert mix_of("track=0,similar=2", {}) == {"similar": 1.0}
    assert mix_of(None, MIX) == MIX


@pytest.mark.parametrize(
    "text", ["", "buy=1", "recommend", "recommend=-1", "recommend=nan", "similar=1,similar=1", "track=0"]
)
def test_a_wrong_mix_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match="verbs: recommend"):
        mix_of(text, MIX)


def test_rates_are_sorted() -> None:
    assert rates_of("500,200.5") == [200.5, 500.0]


@pytest.mark.parametrize("text", ["", "x", "0", "-5", "nan", "inf", "5,5", "2e6"])
def test_a_wrong_rate_is_named(text: str) -> None:
    with pytest.raises(InvalidInput, match="requests a second"):
        rates_of(text)
