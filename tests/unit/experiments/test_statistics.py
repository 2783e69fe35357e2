"""The statistics keep their promises: known values, simulated error rates, planted effects."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from headwater.bench.experiment_bench import rates
from headwater.experiments import bootstrap
from headwater.experiments.cuped import adjust
from headwater.experiments.significance import (
    always_valid_p,
    always_valid_radius,
    chi_square_p,
    critical,
    holm,
    mixture,
    ratio,
    ratio_mismatch_p,
    two_sided,
)


@pytest.mark.parametrize(
    ("freedom", "at", "p"),
    [
        *[(1, 3.841459, 0.05), (1, 10.827566, 0.001), (2, 5.991465, 0.05), (3, 7.814728, 0.05)],
        *[(4, 13.276704, 0.01), (5, 11.070498, 0.05), (7, 14.067140, 0.05), (10, 23.209251, 0.01)],
    ],
)
def test_chi_square_has_the_tabled_values(freedom: int, at: float, p: float) -> None:
    assert chi_square_p(at, freedom) == pytest.approx(p, rel=1e-5)


def test_a_broken_deal_is_found_and_a_sound_one_is_not() -> None:
    assert ratio_mismatch_p([5000, 5100], [5050, 5050]) > 0.3
    assert ratio_mismatch_p([5000, 5500], [5250, 5250]) < 1e-5
    assert ratio_mismatch_p([10, 5], [15, 0]) == 0.0
    assert ratio_mismatch_p([10], [10]) == 1.0
    draw = np.random.Generator(np.random.PCG64(1))
    counts = draw.multinomial(10_000, [0.5, 0.3, 0.2], 4000)
    found = np.mean([ratio_mismatch_p(row, [5000, 3000, 2000]) < 0.05 for row in counts.tolist()])
    assert abs(found - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 4000)


def test_holm_is_holms() -> None:
    assert holm([0.01, 0.04, None, 0.03, 0.005]) == [
        pytest.approx(0.03),
        pytest.approx(0.06),
        None,
        pytest.approx(0.06),
        pytest.approx(0.02),
    ]
    assert holm([math.nan, 0.6, 0.7]) == [None, 1.0, 1.0]


def test_normal_tails() -> None:
    assert two_sided(critical(0.95)) == pytest.approx(0.05)
    assert two_sided(-1.0) == pytest.approx(2 * NormalDist().cdf(-1.0))


def test_the_always_valid_interval_and_p_value_say_the_same() -> None:
    rho2, users = mixture(1000, 0.05), np.array([200.0, 1000.0, 5000.0])
    radius = always_valid_radius(np.ones(3), users, rho2, 0.05)
    # A difference at the edge of the interval has p = alpha, each look by itself.
    edges = [always_valid_p(radius[i : i + 1], users[i : i + 1], rho2)[0] for i in range(3)]
    assert edges == pytest.approx([0.05] * 3)
    # Relative to one look the price is least where it was planned to be.
    around = always_valid_radius(np.ones(3), np.array([100.0, 1000.0, 10_000.0]), rho2, 0.05)
    assert around[1] < min(around[0], around[2])
    p = always_valid_p(np.array([0.0, 4.0, np.nan, 0.0]), np.array([100.0, 200.0, 300.0, 400.0]), rho2)
    assert p[0] == 1.0
    assert p[1] < 0.02
    assert p[1] == p[2] == p[3]


def test_a_ratios_error_is_that_of_its_users() -> None:
    """Slates of one user are alike: counting them as independent would promise too much."""
    draw = np.random.Generator(np.random.PCG64(3))
    values, errors = [], []
    for _ in range(400):
        taste = draw.beta(1, 9, 500)
        slates = draw.geometric(0.2, 500).astype(np.float64)
        found = ratio(draw.binomial(slates.astype(int), taste).astype(np.float64), slates)
        values.append(found.value)
        errors.append(found.error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.1)
    assert math.isnan(ratio(np.zeros(3), np.zeros(3)).value)


def test_the_bootstrap_agrees_with_theory_also_in_groups() -> None:
    draw = np.random.Generator(np.random.PCG64(4))
    for users in (2000, 3 * bootstrap.UNITS):
        table = np.column_stack([draw.lognormal(0, 1, users), np.ones(users)])
        units = bootstrap.units_of(users, 0)
        size = min(users, bootstrap.UNITS)
        sums = np.column_stack([np.bincount(units, weights=column, minlength=size) for column in table.T])
        many = bootstrap.resampled(sums, 1000, 5)
        expected = ratio(table[:, 0], table[:, 1])
        spread = (many[:, 0] / many[:, 1]).std()
        assert spread == pytest.approx(expected.error, rel=0.08)
        low, high = bootstrap.percentiles(many[:, 0] / many[:, 1], 0.95)
        assert (high - low) / 2 == pytest.approx(1.96 * expected.error, rel=0.1)
    again = bootstrap.resampled(sums, 1000, 5)
    assert (again == many).all()
    assert bootstrap.resampled(np.zeros((0, 2)), 10, 0).tolist() == [[0.0, 0.0]] * 10


def test_poisson_weights_are_poisson() -> None:
    weights = bootstrap._POISSON
    assert weights.mean() == pytest.approx(1, abs=1e-3)
    assert weights.var() == pytest.approx(1, abs=2e-3)
    assert (weights == 0).mean() == pytest.approx(math.exp(-1), abs=1e-4)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_cuped_takes_out_what_the_past_explains_and_no_more(rho: float) -> None:
    draw = np.random.Generator(np.random.PCG64(6))
    plain, adjusted, told = [], [], []
    for _ in range(600):
        arms = draw.integers(0, 2, 400)
        x = draw.normal(size=400)
        y = rho * x + math.sqrt(1 - rho * rho) * draw.normal(size=400) + 0.2 * arms
        found = adjust(y, x, arms)
        told.append(found.reduction)
        plain.append(y[arms == 1].mean() - y[arms == 0].mean())
        adjusted.append(found.values[arms == 1].mean() - found.values[arms == 0].mean())
    assert np.mean(adjusted) == pytest.approx(0.2, abs=0.02)
    assert np.mean(told) == pytest.approx(rho * rho, abs=0.01)
    # 600 runs tell a ratio of variances to some 8 %.
    assert np.var(adjusted) / np.var(plain) == pytest.approx(1 - rho * rho, rel=0.2)


def test_without_a_difference_tests_claim_one_as_often_as_they_say() -> None:
    found = rates(runs=300, users=2000, lift=0.0)
    slack = 3 * math.sqrt(0.05 * 0.95 / 300)
    assert abs(found.fixed_once - 0.05) < slack
    assert abs(found.cuped_once - 0.05) < slack
    assert found.always_valid_peeking < 0.05 + slack / 2
    # What looking every day at a test for one look does.
    assert found.fixed_peeking > 0.12


def test_a_planted_lift_is_found_and_sooner_with_cuped() -> None:
    found = rates(runs=60, users=4000, lift=0.25)
    assert found.fixed_once > 0.9
    assert found.always_valid_peeking > 0.6
    assert found.cuped_once >= found.fixed_once
    assert found.cuped_mean_difference == pytest.approx(found.mean_difference, rel=0.1)
    # 1 - rho^2 of what it was, as far as 60 runs can tell.
    assert found.variance_ratio == pytest.approx(found.variance_promised, rel=0.5)
