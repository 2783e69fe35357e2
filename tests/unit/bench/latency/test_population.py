"""Users and items for requests come from the log, as often as is asked for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from headwater.bench.latency.population import Pairs, Population, sampled_pairs
from headwater.engine import Engine
from headwater.errors import InvalidInput

DRAWS = np.random.default_rng(1).random(20_000)
PAIRS = Pairs(["ann"] * 6 + ["bob"] * 3 + ["cem"], ["x"] * 5 + ["y"] * 5)


def shares(names: list[str]) -> dict[str, float]:
    return {name: count / len(names) for name, count in Counter(names).items()}


def test_by_activity() -> None:
    people = Population(PAIRS, strangers=0.0)
    assert shares(people.user(DRAWS)) == pytest.approx({"ann": 0.6, "bob": 0.3, "cem": 0.1}, abs=0.02)
    assert shares(people.item(DRAWS)) == pytest.approx({"x": 0.5, "y": 0.5}, abs=0.02)


def test_by_rank_and_evenly() -> None:
    zipf = shares(Population(PAIRS, "zipf", 1.0, 0.0).user(DRAWS))
    assert zipf == pytest.approx({"ann": 6 / 11, "bob": 3 / 11, "cem": 2 / 11}, abs=0.02)
    assert shares(Population(PAIRS, "uniform", strangers=0.0).user(DRAWS)) == pytest.approx(
        dict.fromkeys(("ann", "bob", "cem"), 1 / 3), abs=0.02
    )


def test_strangers_are_a_share_and_new() -> None:
    users = Population(PAIRS, strangers=0.25).user(DRAWS)
    strangers = [user for user in users if user.startswith("stranger ")]
    assert len(strangers) / len(users) == pytest.approx(0.25, abs=0.02)
    assert len(set(strangers)) == len(strangers)
    assert set(Population(PAIRS, strangers=1.0).user(DRAWS)) & {"ann", "bob", "cem"} == set()


def test_items_do_not_follow_from_users() -> None:
    people = Population(PAIRS, strangers=0.0)
    together = Counter(zip(people.user(DRAWS), people.item(DRAWS), strict=True))
    assert together["ann", "x"] / together["ann", "y"] == pytest.approx(1, abs=0.1)


def test_a_log_is_sampled() -> None:
    with Engine.open(":memory:", clock="log") as engine:
        for number in range(40):
            engine.track("view", user=f"u{number % 4}", item=f"i{number}", ts=1_700_000_000_000 + number * 60_000)
        whole = sampled_pairs(engine.log)
        assert Counter(whole.users) == {f"u{n}": 10 for n in range(4)}
        few = sampled_pairs(engine.log, frames=10)
        assert 0 < len(few.users) <= 10
        assert set(few.items) < set(whole.items)


def test_an_empty_log_is_refused() -> None:
    with pytest.raises(InvalidInput, match="--population"):
        Population(Pairs([], []))
