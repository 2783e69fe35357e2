"""Configuration files of an evaluation: a `headwater.toml` with one table more, `[evaluate]`; and what holds without
one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from headwater.config import Config, Profile, config_from_table, default_config, load_table
from headwater.errors import ConfigError
from headwater.scenario import Strict, in_range


class Options(Strict, frozen=True, kw_only=True):
    """`[evaluate]`: what belongs to the protocol and not to the engine."""

    exclude_current: bool = False
    """session-next-item: the latest item of the prefix is no answer. For data in which no click repeats the one
    before."""
    drop_longest: float = 0.0
    """session-next-item: this share of training sessions, the longest, is left out."""
    item_knn_neighbours: int = 95
    """fixed-split, source `item-knn:RELATION`: nearest items of each candidate that are summed over."""


class Configured(NamedTuple):
    """A configuration under a name."""

    name: str
    config: Config
    options: Options


def load(path: Path) -> Configured:
    """Read a file. Raises `ConfigError`."""
    table = load_table(path)
    own = table.pop("evaluate", {})
    return Configured(path.stem, config_from_table(table, where=str(path)), options_from(own, str(path)))


def options_from(table: object, where: str) -> Options:
    """`[evaluate]`, checked. Raises `ConfigError`."""
    try:
        options = msgspec.convert(table, Options)
    except msgspec.ValidationError as err:
        raise ConfigError(f"{where}: evaluate: {err}", key="evaluate", value=table, rule=str(err)) from err
    in_range(where, "evaluate.drop_longest", options.drop_longest, 0, 0.5)
    in_range(where, "evaluate.item_knn_neighbours", options.item_knn_neighbours, 1, 1000)
    return options


def shipped(profile: Profile) -> Configured:
    """The profile as it ships."""
    return Configured(profile, default_config(profile), Options())


def for_sessions() -> Configured:
    """What session-next-item asks without a file: `shop`, by the sources and weights of session kNN that were best on
    the last 10 % of Diginetica's training sessions (`docs/quality.md`). The visitor's own items may be answers,
    because the protocol has no filter on what was seen."""
    config = default_config("shop")
    query = msgspec.structs.replace(
        config.query,
        sources={"session-knn": 1.0, "repeats": 0.6},
        rrf_k=5.0,
        knn_neighbours=200,
        knn_step=0.72,
        knn_vote_step=0.72,
        knn_near=0.82,
        knn_before=0.8,
        knn_oldest=0.35,
        knn_rarity=1.0,
        knn_own=1.0,
    )
    return Configured("sessions", msgspec.structs.replace(config, query=query), Options())
