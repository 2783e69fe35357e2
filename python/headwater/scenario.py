"""`[query]` and `[experiments]`: how a question is answered. One scenario by default, others by name, variants of both.

A *scenario* is everything between the state and a slate: which sources give candidates, what may be shown, what is
raised or demoted, how alike the items of a slate may be, how much is explored. `[query]` itself is the scenario that
answers when none is named; a table `[query.scenarios.NAME]` says only what differs there. An *experiment* answers some
visitors' questions by a variant of the scenario, which again says only what differs.

Decoded by `headwater.config`, mirrored by `core_rs/src/scenario.rs` field by field. Nothing here is part of the
generation: a change is an event in the log (`ConfigActivated`) and needs no rebuild.
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import msgspec

from headwater.errors import ConfigError

Metric = Literal["cosine", "jaccard", "conditional", "lift", "pmi", "phi", "llr", "count"]
Method = Literal["mmr", "dpp"]
Serve = Literal["slate", "nothing", "popular"]

SOURCES: tuple[str, ...] = (
    "session-knn",
    "repeats",
    "tag-affinity",
    "trending",
    "trending-in-tags",
    "trending-in-segment",
    "popular",
    "popular-in-segment",
    "fresh",
    "list",
)
"""Candidate sources beside the relations, which are sources under their own names, and `vector:NAME`."""

VECTOR = "vector:"
"""Prefix of the sources that look for neighbours in the embedding of that name."""

DEFAULT_SCENARIO = "(default)"
"""What the scenario that answers when none is named is called where scenarios are listed."""

MAX_SLOTS = 1000
MAX_RULES = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of `headwater.toml`: frozen, and keys that it does not know are refused."""


class Boost(Strict, frozen=True, kw_only=True):
    """Scores of items that pass `filter` are multiplied by `factor`."""

    filter: str
    factor: float


class Cap(Strict, frozen=True, kw_only=True):
    """At most `max` items of a slate share a value of `field` (a category, a brand, any label but a fraction)."""

    field: str
    max: int


class Pin(Strict, frozen=True, kw_only=True):
    """The item stands in the slot (from 0), if it may be shown at all."""

    slot: int
    item: str


class Promote(Strict, frozen=True, kw_only=True):
    """The share of slots that is kept for items that pass `filter`, as long as there are any."""

    filter: str = ""
    share: float = 0.0


class Scenario(Strict, frozen=True, kw_only=True):
    """How one kind of question is answered."""

    # Candidates.
    sources: dict[str, float] = {}
    """Source name -> weight in the reciprocal-rank fusion; 0 switches it off."""
    rrf_k: float = 60.0
    pool: int = 200
    """Candidates taken of each source."""
    seeds: int = 10
    """Latest items of the visitor that candidates are looked up from."""
    metric: Metric = "cosine"
    shrinkage: float = 5.0
    knn_neighbours: int = 100
    knn_last_items: int = 6
    knn_step: float = 0.0
    """Each older item weighs this share of the next newer one where sessions are compared; 0: weights fall linearly."""
    knn_vote_step: float = 0.0
    """The same where a session votes, by the newest item that it shares."""
    knn_near: float = 1.0
    """An item of a neighbour session counts this share for each place away from the newest shared item."""
    knn_before: float = 1.0
    """Items that the neighbour session touched before the newest shared item count this share."""
    knn_oldest: float = 1.0
    """The oldest session held is this share as similar as the newest would be, those between them linearly."""
    knn_rarity: float = 0.0
    """r: a shared item weighs 1 + r x ln(sessions held / sessions with it) in a similarity."""
    knn_own: float = 0.0
    """Votes for the visitor's own compared items count this share; 0: they get none."""
    fresh_days: float = 14.0
    """Items are fresh for so long after they came, and until they were served `fresh_budget` times."""
    fresh_budget: int = 100
    # What may be shown.
    filter: str = ""
    """Only items that pass; empty: all (see the guide on filters)."""
    exclude_consumed: bool = True
    consumed_expiry_days: float | None = 30.0
    """Consumed items come back after this long; None (in `headwater.toml`: "never"): never."""
    consumed_expiry_label: str = ""
    """Items that have this numeric label come back after so many days instead."""
    # What counts how much.
    touched_factor: float = 0.5
    """Scores of items the visitor already touched are multiplied by this; 0 leaves them out."""
    dislike_factor: float = 0.5
    """Scores of items just like a rejected one are multiplied by this, less alike ones by less; 1 does nothing."""
    freshness: float = 0.0
    """Scores are multiplied by 1 + this for an item of this moment, by less and less as it ages."""
    freshness_half_life_days: float = 14.0
    popularity_debias: float = 0.0
    """b: scores are divided by (1 + votes)^b; 0 does nothing."""
    boosts: tuple[Boost, ...] = ()
    # What a slate looks like.
    slate_pool: int = 500
    """So many of the best candidates are what a slate is chosen from."""
    diversity: float = 0.0
    """0 orders by score alone, 1 by unlikeness alone."""
    diversity_debias: float = 0.0
    """This times `diversity` is added to `popularity_debias`: unlikeness alone shows everybody the same few items."""
    diversity_by: str = "tags"
    """What makes items alike: "tags", or the name of an embedding."""
    diversity_method: Method = "mmr"
    one_per_group: bool = True
    caps: tuple[Cap, ...] = ()
    pins: tuple[Pin, ...] = ()
    promote: Promote = Promote()
    # Exploration.
    exploration: float = 0.0
    """Expected share of slots that differ from the best slate."""
    exploration_uniform: float = 0.1
    """This share of what is explored is spread evenly over all candidates: their floor probability."""


class Variant(Strict, frozen=True, kw_only=True):
    """One of the ways in which an experiment answers."""

    share: float
    """Of the visitors who take part."""
    serve: Serve = "slate"
    """"nothing" and "popular" are holdouts: no recommendations, or the same popular items for everybody."""
    query: dict[str, Any] = {}
    """Keys of `[query]` that differ from the scenario's, as it is."""


class Experiment(Strict, frozen=True, kw_only=True):
    """Who is answered otherwise, how, and when. A visitor's variant is a hash of `salt` and their id."""

    variants: dict[str, Variant]
    scenarios: tuple[str, ...] = ()
    """None: all of them. The one without a name is "(default)"."""
    segments: tuple[str, ...] = ()
    """Only users of these segments (`[generation.segments]`); none: everybody."""
    salt: str = ""
    """Another salt deals anew; empty: the experiment's name."""
    layer: str = ""
    """Experiments of one layer share its visitors out by `traffic`, and so exclude each other."""
    traffic: tuple[float, float] = (0.0, 1.0)
    """From where to where in the layer (of its own, without a name) visitors take part."""
    start: int | None = None
    """UTC ms; in `headwater.toml` a date or a time with its offset. Compared with the question's `now`."""
    end: int | None = None
    """The first moment after it."""


class QueryConfig(Scenario, frozen=True, kw_only=True):
    """`[query]`: the scenario that answers when none is named, the named ones, each in full, and the experiments."""

    scenarios: dict[str, Scenario] = {}
    experiments: dict[str, Experiment] = {}

    def scenario(self, name: str | None) -> Scenario:
        """The scenario of that name; the default one for None. Raises `KeyError`."""
        return self if name is None else self.scenarios[name]


def query_profile(profile: Literal["shop", "media"]) -> QueryConfig:
    """The shipped `[query]` of a profile."""
    if profile == "media":
        return QueryConfig(
            sources={
                "also_liked": 1.0,
                "also_played": 0.7,
                "session-knn": 1.0,
                "tag-affinity": 0.3,
                "trending": 0.2,
                "popular": 0.1,
            },
            consumed_expiry_days=None,
            diversity_debias=0.5,
        )
    return QueryConfig(
        sources={
            "also_viewed": 1.0,
            "also_bought": 0.7,
            "bought_together": 0.5,
            "bought_after_view": 0.8,
            "session-knn": 1.0,
            "tag-affinity": 0.3,
            "trending": 0.2,
            "popular": 0.1,
        }
    )


def validate_query(where: str, query: QueryConfig, relations: set[str]) -> None:
    """Check ranges and references of every scenario. Raises `ConfigError` for the first broken rule."""
    validate_scenario(where, "query", query, relations)
    if len(query.scenarios) > MAX_RULES:
        refuse(where, "query.scenarios", len(query.scenarios), f"at most {MAX_RULES} scenarios")
    for name, scenario in query.scenarios.items():
        check_name(where, "query.scenarios", name)
        if isinstance(scenario, QueryConfig):
            refuse(where, f"query.scenarios.{name}", "a QueryConfig", "a Scenario, without scenarios of its own")
        validate_scenario(where, f"query.scenarios.{name}", scenario, relations)


_RANGES: dict[str, tuple[float, float]] = {
    "rrf_k": (0.001, 1e6),
    "pool": (1, 10_000),
    "seeds": (1, 100),
    "shrinkage": (0, 1e9),
    "knn_neighbours": (1, 10_000),
    "knn_last_items": (1, 100),
    "knn_step": (0, 1),
    "knn_vote_step": (0, 1),
    "knn_near": (0, 1),
    "knn_before": (0, 1),
    "knn_oldest": (0, 1),
    "knn_rarity": (0, 100),
    "knn_own": (0, 1),
    "fresh_days": (0, 36_500),
    "fresh_budget": (0, 1 << 31),
    "touched_factor": (0, 1),
    "dislike_factor": (0, 1),
    "freshness": (0, 1000),
    "freshness_half_life_days": (0.01, 36_500),
    "popularity_debias": (0, 2),
    "slate_pool": (1, 1000),
    "diversity": (0, 1),
    "diversity_debias": (0, 2),
    "exploration": (0, 1),
    "exploration_uniform": (0, 1),
}


def validate_scenario(where: str, at: str, scenario: Scenario, relations: set[str]) -> None:
    """Check ranges and references of one scenario. Raises `ConfigError` for the first broken rule."""
    for name, weight in scenario.sources.items():
        check_source(where, f"{at}.sources.{name}", name, relations)
        in_range(where, f"{at}.sources.{name}", weight, 0, 1e6)
    for key, (low, high) in _RANGES.items():
        in_range(where, f"{at}.{key}", getattr(scenario, key), low, high)
    if scenario.consumed_expiry_days is not None:
        in_range(where, f"{at}.consumed_expiry_days", scenario.consumed_expiry_days, 0, 36_500)
    for rules in ("boosts", "caps", "pins"):
        if len(getattr(scenario, rules)) > MAX_RULES:
            refuse(where, f"{at}.{rules}", len(getattr(scenario, rules)), f"at most {MAX_RULES}")
    for i, boost in enumerate(scenario.boosts):
        in_range(where, f"{at}.boosts[{i}].factor", boost.factor, 0, 1000)
    for i, cap in enumerate(scenario.caps):
        in_range(where, f"{at}.caps[{i}].max", cap.max, 1, MAX_SLOTS)
    slots = [pin.slot for pin in scenario.pins]
    for i, slot in enumerate(slots):
        in_range(where, f"{at}.pins[{i}].slot", slot, 0, MAX_SLOTS - 1)
        if slot in slots[:i]:
            refuse(where, f"{at}.pins[{i}].slot", slot, "one item a slot")
    in_range(where, f"{at}.promote.share", scenario.promote.share, 0, 1)
    if scenario.promote.share > 0 and not scenario.promote.filter:
        refuse(where, f"{at}.promote.filter", "", "a filter, where a share is promoted")


def check_name(where: str, key: str, name: str) -> None:
    """Refuse what cannot name a scenario, an experiment or a variant."""
    if not _NAME.fullmatch(name):
        refuse(where, key, name, "names of letters, digits and _ . -, at most 64")


def check_source(where: str, key: str, name: str, relations: set[str]) -> None:
    """Refuse a source that does not exist."""
    if name in relations or name in SOURCES or (name.startswith(VECTOR) and len(name) > len(VECTOR)):
        return
    allowed = ", ".join((*sorted(relations), *SOURCES, f"{VECTOR}NAME"))
    refuse(where, key, name, f"one of the sources {allowed}")


def in_range(where: str, key: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside a range, its ends included."""
    if not math.isfinite(value) or not low <= value <= high:
        refuse(where, key, value, f"{low:g} to {high:g}")


def refuse(where: str, key: str, value: object, allowed: str) -> None:
    """Raise `ConfigError` with key, value and what is allowed."""
    raise ConfigError(f"{where}: {key} = {value!r}; allowed: {allowed}", key=key, value=value, rule=allowed)


def scenario_tables(query: dict[str, Any]) -> dict[str, Any]:
    """The tables of `[query.scenarios]`, taken out of `query`; what is no table stays for the decoder to refuse."""
    tables = query.get("scenarios", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        return {}
    return dict(query.pop("scenarios", {}))
