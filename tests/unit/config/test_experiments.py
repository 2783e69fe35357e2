"""`[experiments]`: what it becomes, and what is refused with the key, the value and what is allowed."""

from pathlib import Path
from typing import Any

import pytest

from headwater import load_config
from headwater.config import Config, config_from_table
from headwater.errors import ConfigError

HALVES = {"a": {"share": 0.5}, "b": {"share": 0.5, "query": {"diversity": 0.5}}}


def configured(**experiments: dict[str, Any]) -> Config:
    segments = {"label": "tier", "values": ["vip", "new"]}
    scenarios = {"home": {"pool": 50}, "cart": {}}
    return config_from_table(
        {"generation": {"segments": segments}, "query": {"scenarios": scenarios}, "experiments": experiments}
    )


def halves(**changes: Any) -> dict[str, Any]:
    return {"variants": HALVES, **changes}


def test_a_table_becomes_an_experiment(tmp_path: Path) -> None:
    (tmp_path / "headwater.toml").write_text(
        "[experiments.x]\nstart = 2026-12-01\nend = 2026-12-29T01:00:00+01:00\n"
        "[experiments.x.variants]\na = { share = 0.5 }\n"
        'b = { share = 0.5, query = { consumed_expiry_days = "never", promote = { filter = "x", share = 1 } } }\n'
    )
    experiment = load_config(tmp_path / "headwater.toml").query.experiments["x"]
    assert (experiment.start, experiment.end, experiment.salt) == (1_796_083_200_000, 1_798_502_400_000, "x")
    assert experiment.variants["b"].query == {
        "consumed_expiry_days": None,
        "promote": {"filter": "x", "share": 1.0},
    }


@pytest.mark.parametrize(
    ("table", "key", "said"),
    [
        (halves(salty=1), "experiments.x.salty", "there is no such key; allowed: variants, scenarios"),
        (halves(start="soon"), "experiments.x.start", "Expected `int"),
        (halves(start=5, end=5), "experiments.x.end", "after its start, 5"),
        (halves(start=-1), "experiments.x.start", "0 to 2"),
        (halves(scenarios=["shelf"]), "experiments.x.scenarios", "(default), home, cart"),
        (halves(segments=["old"]), "experiments.x.segments", "vip, new"),
        (halves(traffic=[0.5, 0.5]), "experiments.x.traffic", "0 <= from < to <= 1"),
        (halves(traffic=[0.5, float("nan")]), "experiments.x.traffic", "0 <= from < to <= 1"),
        (halves(traffic=[0.5]), "experiments.x.traffic", "length 2"),
        (halves(salt="x" * 300), "experiments.x.salt", "at most 256 bytes"),
        ({"variants": {"a": {"share": 1.0}}}, "experiments.x.variants", "2 to 16 variants"),
        ({"variants": HALVES | {"c": {"share": 0.1}}}, "experiments.x.variants", "shares that sum to 1, not 1.1"),
        ({"variants": HALVES | {"c": {"share": -0.1}}}, "experiments.x.variants.c.share", "0 to 1"),
        ({"variants": HALVES | {"c/d": {"share": 0.0}}}, "experiments.x.variants", "names of letters"),
        ({"variants": {**HALVES, "c": {}}}, "experiments.x.variants.*", "missing required field `share`"),
        (
            {"variants": {**HALVES, "c": {"share": 0.0, "querry": {}}}},
            "experiments.x.variants.*.querry",
            "allowed: share, serve, query",
        ),
        (
            {"variants": {**HALVES, "c": {"share": 0.0, "query": {"divers": 1}}}},
            "experiments.x.variants.c.query.divers",
            "there is no such key; allowed: sources, rrf_k",
        ),
        (
            {"variants": {**HALVES, "c": {"share": 0.0, "query": {"diversity": 2}}}},
            "experiments.x.variants.c.query.diversity",
            "0 to 1",
        ),
        (
            {"variants": {**HALVES, "c": {"share": 0.0, "query": {"sources": {"friends": 1}}}}},
            "experiments.x.variants.c.query.sources.friends",
            "one of the sources",
        ),
        (
            {"variants": {**HALVES, "c": {"share": 0.0, "query": {"scenarios": {}}}}},
            "experiments.x.variants.c.query.scenarios",
            "there is no such key",
        ),
        ({"variants": {**HALVES, "c": {"share": 0.0, "serve": "none"}}}, "experiments.x.variants.*.serve", "'none'"),
    ],
)
def test_what_is_wrong_is_named(table: dict[str, Any], key: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        configured(x=table)
    assert refused.value.details["key"].replace("[0]", "") == key
    assert said in refused.value.message


def test_a_moment_without_an_offset_and_misplaced_tables_are_refused(tmp_path: Path) -> None:
    toml = tmp_path / "headwater.toml"
    toml.write_text("[experiments.x]\nstart = 2026-12-01T00:00:00\n")
    with pytest.raises(ConfigError, match="a time with its offset from UTC"):
        load_config(toml)
    toml.write_text("[query.experiments.x]\n")
    with pytest.raises(ConfigError, match=r"query\.experiments = .*\[experiments.NAME\]"):
        load_config(toml)
    toml.write_text("experiments = 3\n")
    with pytest.raises(ConfigError, match="experiments = 3; allowed: a table for each experiment"):
        load_config(toml)
    toml.write_text("[experiments]\nx = 3\n")
    with pytest.raises(ConfigError, match=r"experiments\.x = 3; allowed: a table, with variants"):
        load_config(toml)


@pytest.mark.parametrize(
    ("x", "y", "overlap"),
    [
        ({}, {}, True),
        ({"scenarios": ["home"]}, {}, True),
        ({"scenarios": ["home"]}, {"scenarios": ["cart", "(default)"]}, False),
        ({"segments": ["vip"]}, {"segments": ["new"]}, False),
        ({"segments": ["vip"]}, {}, True),
        ({"end": 10}, {"start": 10}, False),
        ({"end": 10}, {"start": 9}, True),
        ({"layer": "l", "traffic": [0, 0.5]}, {"layer": "l", "traffic": [0.5, 1]}, False),
        ({"layer": "l", "traffic": [0, 0.6]}, {"layer": "l", "traffic": [0.5, 1]}, True),
        ({"layer": "l", "traffic": [0, 0.5]}, {"layer": "m", "traffic": [0.5, 1]}, True),
        ({"traffic": [0, 0.5]}, {"traffic": [0.5, 1]}, True),
    ],
)
def test_two_experiments_may_not_claim_one_question(x: dict[str, Any], y: dict[str, Any], overlap: bool) -> None:
    if not overlap:
        assert set(configured(x=halves(**x), y=halves(**y)).query.experiments) == {"x", "y"}
        return
    with pytest.raises(
        ConfigError, match=r"experiments\.y = 'overlaps with experiments\.x'; allowed: one experiment a"
    ):
        configured(x=halves(**x), y=halves(**y))
