"""Tables in the form of Open Bandit Pipeline. What obp makes of them: `test_exploring_shop.py`."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from headwater.errors import InvalidInput
from headwater.learning import Rewards, join, obp_feedback, obp_slates
from reference.slate_log import did, later, log_of, seen, served


@pytest.fixture
def table() -> pl.DataFrame:
    events = [
        *(served("s1", "ann", "cab"), seen([0, 1], "s1", "ann"), did("click", "a", 1, "s1", "ann")),
        *(served("s2", "bob", "bca", pinned=[0], propensities=(1, 0.4, 0.2)), seen([0], "s2", "bob")),
        *(served("s3", "cem", "abc", scenario=None), seen([0], "s3", "cem"), did("click", "a", 0, "s3", "cem")),
        *(served("s4", "dan"), did("click", "a", 0, "s4", "dan"), later(25)),
    ]
    return join(log_of(*events), Rewards(values={"click": 1})).table


def test_feedback_of_the_first_slot(table: pl.DataFrame) -> None:
    feedback = obp_feedback(table)
    assert (feedback["n_rounds"], feedback["n_actions"], feedback["items"]) == (2, 2, ["a", "c"])
    assert feedback["action"].tolist() == [1, 0]
    assert feedback["position"].tolist() == [0, 0]
    assert feedback["reward"].tolist() == [0, 1]
    assert feedback["pscore"].tolist() == [0.5, 0.5]
    assert feedback["context"].tolist() == [[1], [1]]
    assert table["item"].gather(feedback["row"]).to_list() == ["c", "a"]
    for name, dtype in {"action": int, "position": int, "row": int, "reward": float, "pscore": float}.items():
        assert feedback[name].dtype == dtype, name


def test_feedback_of_every_slot_over_the_whole_catalogue(table: pl.DataFrame) -> None:
    feedback = obp_feedback(table, slot=None, items=["x", "c", "b", "a"])
    assert feedback["n_actions"] == 4
    assert feedback["action"].tolist() == [1, 3, 3]
    assert feedback["position"].tolist() == [0, 1, 0]
    assert obp_feedback(table, slot=1)["position"].tolist() == [0], "one slot: one place in action_dist"
    with pytest.raises(InvalidInput, match="1 shown items are not among them, first 'c'"):
        obp_feedback(table, items=["a", "b"])
    with pytest.raises(InvalidInput, match="named twice"):
        obp_feedback(table, items=["a", "c", "a"])


def test_contexts(table: pl.DataFrame) -> None:
    assert obp_feedback(table, context=["score", "pinned", "scenario"])["context"].tolist() == [[1, 0, 1], [1, 0, 0]]
    made = obp_feedback(table, context=lambda rows: np.arange(len(rows) * 2.0).reshape(-1, 2))
    assert made["context"].tolist() == [[0, 1], [2, 3]]
    for broken in (["colour"], [], "score", lambda rows: np.zeros(len(rows))):
        with pytest.raises(InvalidInput, match="context"):
            obp_feedback(table, context=broken)  # type: ignore[arg-type]


def test_slates(table: pl.DataFrame) -> None:
    slates = obp_slates(table)
    assert (slates["n_rounds"], slates["slates"], slates["items"]) == (3, ["s1", "s2", "s3"], ["a", "b", "c"])
    assert slates["slate_id"].tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert slates["position"].tolist() == [0, 1, 2, 1, 2, 0, 1, 2]
    assert slates["action"].tolist() == [2, 0, 1, 2, 0, 0, 1, 2]
    assert slates["reward"].tolist() == [0, 1, 0, 0, 0, 1, 0, 0]
    assert slates["pscore_cascade"] == pytest.approx([0.5, 0.2, 0.04, 0.4, 0.08, 0.5, 0.2, 0.04])
    assert slates["pscore"] == pytest.approx([0.04] * 3 + [0.08] * 2 + [0.04] * 3)
    assert slates["slate_id"].dtype == slates["position"].dtype == slates["action"].dtype == int
    assert obp_slates(table, outcomes="served")["n_rounds"] == 4
