"""What an answer is worth."""

from __future__ import annotations

import math

import pytest

from headwater.config import fold_profile
from headwater.errors import InvalidInput
from headwater.learning.rewards import RewardRules, Rewards, parse_values, parse_window, rewards_of


def test_the_highest_spec_that_holds_counts() -> None:
    rules = RewardRules(Rewards(values={"click": 1, "rating": 0.5, "rating>=4": 2, "rating<=2": 0.25}))
    assert rules.reward("click", None) == 1
    assert [rules.reward("rating", value) for value in (5, 4, 3, 2, None)] == [2, 2, 0.5, 0.5, 0.5]
    assert rules.reward("view", None) is None


def test_impression_and_negative_types_reward_only_when_named_exactly() -> None:
    barred = {"impression": ("impression",), "negative": ("dislike", "rating<=2")}
    rules = RewardRules(Rewards(values={"rating": 1, "click": 1}, **barred))  # type: ignore[arg-type]
    assert [rules.reward("rating", value) for value in (3, 2)] == [1, None]
    assert rules.reward("dislike", None) is None
    assert rules.is_impression("impression", None)
    assert not rules.is_impression("click", None)
    named = RewardRules(Rewards(values={"rating": 1, "rating<=2": 3, "dislike": 2}, **barred))  # type: ignore[arg-type]
    assert (named.reward("rating", 1), named.reward("dislike", None)) == (3, 2)


def test_a_configuration_gives_votes_one_and_bars_its_negative_types() -> None:
    rewards = rewards_of(fold_profile("media"))
    rules = RewardRules(rewards)
    assert set(rewards.values) == set(fold_profile("media").votes)
    assert (rules.reward("play", None), rules.reward("rating", 5), rules.reward("rating", 1)) == (1, 1, None)
    given = rewards_of(fold_profile("shop"), {"purchase": 5}, window_hours=2, combine="sum")
    assert (given.values, given.window_ms, given.negative) == (
        {"purchase": 5},
        7_200_000,
        ("dislike", "hide", "return"),
    )


@pytest.mark.parametrize(
    "broken",
    [
        {"values": {}},
        {"values": {"click": 0}},
        {"values": {"click": -1}},
        {"values": {"click": math.nan}},
        {"values": {"click": True}},
        {"values": {"rating>": 1}},
        {"values": {"click": 1}, "window_hours": 0},
        {"values": {"click": 1}, "window_hours": math.nan},
        {"values": {"click": 1}, "combine": "mean"},
        {"values": {"click": 1}, "negative": ("a b",)},
    ],
)
def test_what_cannot_be_meant_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="allowed: "):
        Rewards(**broken)  # type: ignore[arg-type]


def test_values_and_windows_as_text() -> None:
    assert parse_values("click=1, purchase=5,rating>=4=2.5") == {"click": 1, "purchase": 5, "rating>=4": 2.5}
    assert [parse_window(text) for text in ("90m", "24h", "7d")] == [1.5, 24, 168]
    for text in ("click", "click=", "=1", "click=1,click=2", "rating>=4", "click=x", ""):
        with pytest.raises(InvalidInput, match="TYPE=NUMBER"):
            parse_values(text)
    for text in ("24", "h", "-1h", "1w", ""):
        with pytest.raises(InvalidInput, match="90m, 24h, 7d"):
            parse_window(text)
