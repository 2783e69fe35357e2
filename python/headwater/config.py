"""`headwater.toml`: what a generation folds, how queries are answered, how the process runs.

Its tables, by when they may change:

* `[generation]` (`FoldConfig`): what the log is folded into. Part of the generation's identity: another value means
  another generation (design, section 1), never a silent change of running state.
* `[query]` (`QueryConfig`): how a question is answered. Free to change; each activation is an event in the log.
  `[experiments.NAME]` belong to it: they stand apart in the file and in `QueryConfig.experiments` here.
* `[engine]` (`EngineConfig`): this process only (threads, snapshot rhythm). Never visible in state or digest.
* `[cluster]` (`ClusterConfig`): hosts and their limits, read by `headwater serve`.
* `[http]` (`headwater.http_config`): the gateway of `headwater serve --http`. Likewise.

Event-type specs appear in several lists: `"view"` is every event of the type, `"rating>=4"` and `"rating<=2"` only
those whose value passes. This module only decodes and validates; it reads no clock and starts nothing.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal, get_type_hints

import msgspec

from headwater.cluster_limits import ClusterConfig, validate_cluster
from headwater.errors import ConfigError
from headwater.experiment_config import experiments_from, validate_experiments
from headwater.http_config import HttpConfig, validate_http
from headwater.scenario import (
    Boost,
    Cap,
    Pin,
    Promote,
    QueryConfig,
    Scenario,
    Strict,
    in_range,
    query_profile,
    refuse,
    scenario_tables,
    validate_query,
)

Profile = Literal["shop", "media"]
Unit = Literal["session", "user", "basket"]

PROFILES: tuple[str, ...] = ("shop", "media")
MAX_RELATIONS = 8
MAX_SEGMENTS = 32
NEVER = "never"
"""What `consumed_expiry_days` is in a `headwater.toml` that has no other word for nothing."""

TYPE_SPEC = re.compile(r"^(?P<type>[^<>=\s]{1,64})(?:(?P<op>>=|<=)(?P<value>-?\d+(?:\.\d+)?))?$")


class Relation(Strict, frozen=True, kw_only=True):
    """One kind of co-occurrence: which events pair up, within what unit, remembered how long (design, section 4).

    `from_types` and `to_types` are type specs. `unit` bounds what counts as together: a session, a user's run of
    events whose gaps are at most `within_days`, or a basket (events of one user with the same `basket`). `window` is
    how many of the unit's latest distinct items a new item is paired with; `unit_cap` distinct items close the unit.
    """

    name: str
    from_types: tuple[str, ...]
    to_types: tuple[str, ...]
    unit: Unit = "session"
    window: int = 12
    unit_cap: int = 256
    within_days: float = 30.0
    half_life_days: float = 60.0
    capacity: int = 256
    """Neighbours kept of one item, over all shards."""


class Trending(Strict, frozen=True, kw_only=True):
    """Trending = (short - expected) / sqrt(expected + prior), expected from the long window (design, section 4)."""

    short_half_life_hours: float = 24.0
    long_half_life_days: float = 14.0
    prior: float = 10.0


class SessionKnn(Strict, frozen=True, kw_only=True):
    """Bounds of the recent-session index."""

    postings: int = 500
    """Most recent sessions kept of one item (m)."""
    max_sessions: int = 1_000_000
    max_session_items: int = 50


class Segments(Strict, frozen=True, kw_only=True):
    """Users whose votes also count apart, by the value of a label of theirs (`put_user`)."""

    label: str = ""
    values: tuple[str, ...] = ()
    """One segment each; a user of none of them counts overall only. None: off."""


class FoldConfig(Strict, frozen=True, kw_only=True):
    """`[generation]`: everything that the state depends on beside the log itself."""

    profile: Profile = "shop"
    partitions: int = 16
    shards: int = 8
    session_gap_minutes: float = 30.0
    recent_items: int = 50
    """Distinct items remembered exactly per user; older ones go to a Bloom filter."""
    consumed_items: int = 128
    """Consumed items remembered exactly per user; older ones go to a Bloom filter."""
    seen_generation_days: float = 180.0
    """A per-user Bloom generation is rotated after this much event time."""
    rapid_repeat_seconds: float = 5.0
    dedup_horizon: int = 10_000_000
    """Events with an `event_id` per user partition within which a repeat is recognised."""
    max_future_hours: float = 24.0
    popularity_half_life_days: float = 30.0
    fresh_days: float = 30.0
    """Put items are held as fresh for this long after they were born."""
    votes: tuple[str, ...] = ()
    """Types that count for popularity and trending, one vote per user, item and day."""
    consumption: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()
    """Types that show interest in the item; `strong`: types that show much."""
    strong: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()
    impression: tuple[str, ...] = ()
    """Types that are mere exposure: logged, but they touch no session and no count."""
    affinity_weights: dict[str, float] = {}
    affinity_half_life_days: float = 14.0
    tag_labels: tuple[str, ...] = ("brand", "genres", "tags", "artist", "author")
    """Labels whose string or list values are tags, beside the categories. Titles are none: one tag an item."""
    auto_insert_items: bool = True
    relations: tuple[Relation, ...] = ()
    trending: Trending = Trending()
    session_knn: SessionKnn = SessionKnn()
    segments: Segments = Segments()

    @property
    def max_future_ms(self) -> int:
        """How far ahead of its append time an event may be, in ms."""
        return int(self.max_future_hours * 3_600_000)


class EngineConfig(Strict, frozen=True, kw_only=True):
    """`[engine]`: this process only."""

    threads: int = 2
    clock: Literal["wall", "log"] = "wall"
    """What `now` defaults to in queries: the wall clock, or the last event's time (replays of old logs)."""
    snapshot_every_events: int = 5_000_000
    snapshots_kept: int = 2
    record_slates: bool = True
    graph_above: int = 400_000
    """An embedding of so many vectors or more is answered from a graph (HNSW) instead of a scan; 0: none is."""


class Config(Strict, frozen=True, kw_only=True):
    """The whole of `headwater.toml`."""

    generation: FoldConfig
    query: QueryConfig
    engine: EngineConfig = EngineConfig()
    cluster: ClusterConfig = ClusterConfig()
    http: HttpConfig = HttpConfig()


_TABLES: dict[str, Any] = {
    "generation": FoldConfig,
    "query": QueryConfig,
    "engine": EngineConfig,
    "cluster": ClusterConfig,
    "http": HttpConfig,
    "trending": Trending,
    "session_knn": SessionKnn,
    "promote": Promote,
    "segments": Segments,
}
_ROWS: dict[str, Any] = {"relations": Relation, "boosts": Boost, "caps": Cap, "pins": Pin}

_BROWSE = ("view", "click", "cart", "purchase", "buy")
_BOUGHT = ("purchase", "buy")
_WANTED = ("cart", "purchase", "buy", "like")
_LIKED = ("like", "rating>=4", "purchase")
_PLAYED = ("play", "read", "watch", "click", "view", "rating", "purchase")


def fold_profile(profile: Profile) -> FoldConfig:
    """The shipped `[generation]` of a profile: `shop` (browse and buy) or `media` (play, read, rate)."""
    if profile == "shop":
        return FoldConfig(
            profile="shop",
            votes=_BROWSE,
            consumption=_BOUGHT,
            positive=("view", "click", *_WANTED),
            strong=_WANTED,
            negative=("dislike", "hide", "return"),
            impression=("impression",),
            affinity_weights={"view": 1.0, "click": 1.0, "cart": 3.0, "purchase": 5.0, "buy": 5.0, "like": 3.0},
            relations=(
                Relation(name="also_viewed", from_types=_BROWSE, to_types=_BROWSE, unit="session", window=10),
                Relation(
                    name="also_bought",
                    from_types=_BOUGHT,
                    to_types=_BOUGHT,
                    unit="user",
                    window=12,
                    within_days=30.0,
                    half_life_days=180.0,
                ),
                Relation(
                    name="bought_together",
                    from_types=_BOUGHT,
                    to_types=_BOUGHT,
                    unit="basket",
                    window=64,
                    half_life_days=180.0,
                ),
                Relation(
                    name="bought_after_view",
                    from_types=("view", "click"),
                    to_types=_BOUGHT,
                    unit="user",
                    window=12,
                    within_days=7.0,
                    half_life_days=90.0,
                ),
            ),
        )
    if profile == "media":
        return FoldConfig(
            profile="media",
            votes=_PLAYED,
            consumption=("play", "read", "watch", "rating", "purchase"),
            positive=("play", "read", "watch", "like", "rating>=4", "view", "click"),
            strong=_LIKED,
            negative=("dislike", "hide", "rating<=2"),
            impression=("impression",),
            affinity_weights={
                "view": 0.5,
                "click": 0.5,
                "play": 2.0,
                "read": 2.0,
                "watch": 2.0,
                "like": 3.0,
                "rating>=4": 3.0,
            },
            relations=(
                Relation(
                    name="also_liked",
                    from_types=_LIKED,
                    to_types=_LIKED,
                    unit="user",
                    window=12,
                    unit_cap=512,
                    within_days=90.0,
                    half_life_days=365.0,
                ),
                Relation(
                    name="also_played",
                    from_types=_PLAYED,
                    to_types=_PLAYED,
                    unit="session",
                    window=6,
                    half_life_days=180.0,
                ),
            ),
        )
    raise ConfigError(f"profile {profile!r} is unknown; allowed: {', '.join(PROFILES)}", key="profile", value=profile)


def fold_config_from(table: dict[str, Any]) -> FoldConfig:
    """The `[generation]` that a log was begun with; keys that came later than the log have the profile's defaults.

    Raises `msgspec.ValidationError` or `ConfigError`.
    """
    defaults: dict[str, Any] = msgspec.to_builtins(fold_profile(table.get("profile", "shop")))
    return msgspec.convert(_overlay(defaults, table), FoldConfig)


def default_config(profile: Profile = "shop") -> Config:
    """The shipped configuration of a profile. Raises `ConfigError` for an unknown one."""
    return Config(generation=fold_profile(profile), query=query_profile(profile))


def load_config(path: Path) -> Config:
    """Read and validate `headwater.toml`; keys that it leaves out keep the profile's defaults.

    Raises `ConfigError` naming key, value and what is allowed.
    """
    return config_from_table(load_table(path), where=str(path))


def load_table(path: Path) -> dict[str, Any]:
    """The tables of a TOML file as they stand there. Raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as err:
        raise ConfigError(f"{path}: cannot be read: {err.strerror or err}", key=str(path), rule="a TOML file") from err
    except UnicodeDecodeError as err:
        raise ConfigError(f"{path}: not UTF-8 at byte {err.start}", key=str(path), rule="UTF-8") from err
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise ConfigError(f"{path}: not valid TOML: {err}", key=str(path), rule="TOML 1.0") from err


def config_from_table(table: dict[str, Any], where: str = "configuration") -> Config:
    """Decode a nested mapping (as `tomllib` gives it) over the defaults of its profile, and validate."""
    generation = table.get("generation", {})
    profile: Any = generation.get("profile", "shop") if isinstance(generation, dict) else "shop"
    if profile not in ("shop", "media"):
        raise ConfigError(
            f"{where}: generation.profile = {profile!r}; allowed: {', '.join(PROFILES)}",
            key="generation.profile",
            value=profile,
        )
    defaults: dict[str, Any] = msgspec.to_builtins(default_config(profile))
    del defaults["query"]["experiments"]
    merged = _overlay(defaults, table)
    experiments = merged.pop("experiments", {})
    query = merged.get("query")
    if isinstance(query, dict) and "experiments" in query:
        refuse(where, "query.experiments", query["experiments"], "[experiments.NAME], a table of its own")
    tables = scenario_tables(query) if isinstance(query, dict) else {}
    _say_never(query)
    try:
        config = msgspec.convert(merged, Config)
    except msgspec.ValidationError as err:
        raise _conversion_error(where, err, table) from err
    config = _with_experiments(_with_scenarios(config, tables, where), experiments, where)
    validate_config(config, where)
    return config


def _with_scenarios(config: Config, tables: dict[str, Any], where: str) -> Config:
    """`config` with each scenario of `tables` laid over its `[query]`."""
    base = msgspec.to_builtins(config.query)
    del base["scenarios"], base["experiments"]
    scenarios = dict(config.query.scenarios)
    for name, table in tables.items():
        scenarios[name] = _scenario(where, _overlay(base, table), f"query.scenarios.{name}.")
    return msgspec.structs.replace(config, query=msgspec.structs.replace(config.query, scenarios=scenarios))


def _with_experiments(config: Config, tables: object, where: str) -> Config:
    """`config` with the experiments of `[experiments]`."""
    experiments = experiments_from(tables, config.query, where, lambda table, at: _scenario(where, table, at))
    return msgspec.structs.replace(config, query=msgspec.structs.replace(config.query, experiments=experiments))


def _scenario(where: str, table: dict[str, Any], at: str) -> Scenario:
    """A whole scenario of a table. `at` begins the keys that errors name."""
    table = dict(table)
    _say_never(table)
    try:
        return msgspec.convert(table, Scenario)
    except msgspec.ValidationError as err:
        raise _conversion_error(where, err, table, Scenario, at) from err


def _say_never(scenario: object) -> None:
    if isinstance(scenario, dict) and scenario.get("consumed_expiry_days") == NEVER:
        scenario["consumed_expiry_days"] = None


def _conversion_error(
    where: str, err: msgspec.ValidationError, table: dict[str, Any], spec: Any = Config, at_key: str = ""
) -> ConfigError:
    """What the decoder found, with the key, its value and what is allowed there."""
    what, _, at = str(err).partition(" - at `$")
    path = [part for part in re.split(r"[.\[\]`]+", at) if part]
    parent: Any = spec
    value: Any = table
    before = ""
    for part in path:
        parent = spec
        if part.isdecimal() and isinstance(value, list):
            value, spec = value[int(part)], _ROWS.get(before, spec)
        elif part == "...":  # a value of a map of names
            value = next((v for v in value.values() if not isinstance(v, int | float)), value)
        else:
            value = value.get(part) if isinstance(value, dict) else None
            spec = {**_TABLES, "relations": spec}.get(part, spec)
        before = part
    key = at_key + re.sub(r"\.(\d+)", r"[\1]", ".".join(part for part in path if part != "..."))
    unknown = re.search(r"unknown field `(.*)`", what)
    if unknown is None:
        if what.startswith("Invalid enum value"):
            what = f"allowed: {', '.join(get_type_hints(parent)[path[-1]].__args__)}"
        return ConfigError(f"{where}: {key} = {value!r:.80}: {what}", key=key, value=value, rule=what)
    name = unknown[1]
    key = f"{key}.{name}" if path else f"{at_key}{name}"
    allowed = ", ".join((*spec.__struct_fields__, *(("experiments",) if spec is Config else ())))
    value = value.get(name) if isinstance(value, dict) else None
    message = f"{where}: {key} = {value!r:.80}: there is no such key; allowed: {allowed}"
    return ConfigError(message, key=key, value=value, rule=allowed)


def _overlay(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` on `base`, table by table; maps of names (weights, sources) and lists are replaced whole."""
    out = dict(base)
    for key, value in over.items():
        whole = key in ("sources", "affinity_weights", "relations", "promote")
        if isinstance(value, dict) and isinstance(base.get(key), dict) and not whole:
            out[key] = _overlay(base[key], value)
        else:
            out[key] = value
    return out


def validate_config(config: Config, where: str = "configuration") -> None:
    """Check ranges and references between keys. Raises `ConfigError` for the first broken rule."""
    gen, query, engine = config.generation, config.query, config.engine
    in_range(where, "generation.partitions", gen.partitions, 1, 1024)
    in_range(where, "generation.shards", gen.shards, 1, 256)
    in_range(where, "generation.session_gap_minutes", gen.session_gap_minutes, 0.1, 7 * 24 * 60)
    in_range(where, "generation.recent_items", gen.recent_items, 4, 1000)
    in_range(where, "generation.consumed_items", gen.consumed_items, 4, 4000)
    in_range(where, "generation.seen_generation_days", gen.seen_generation_days, 1, 36_500)
    in_range(where, "generation.rapid_repeat_seconds", gen.rapid_repeat_seconds, 0, 3600)
    in_range(where, "generation.dedup_horizon", gen.dedup_horizon, 1, 1_000_000_000)
    in_range(where, "generation.max_future_hours", gen.max_future_hours, 0, 24 * 366)
    in_range(where, "generation.popularity_half_life_days", gen.popularity_half_life_days, 0.01, 36_500)
    in_range(where, "generation.fresh_days", gen.fresh_days, 0, 36_500)
    in_range(where, "generation.affinity_half_life_days", gen.affinity_half_life_days, 0.01, 36_500)
    in_range(where, "generation.trending.short_half_life_hours", gen.trending.short_half_life_hours, 0.1, 24 * 366)
    in_range(where, "generation.trending.long_half_life_days", gen.trending.long_half_life_days, 0.1, 36_500)
    in_range(where, "generation.trending.prior", gen.trending.prior, 0.1, 1e6)
    if gen.trending.long_half_life_days * 24 <= gen.trending.short_half_life_hours:
        refuse(
            where,
            "generation.trending.long_half_life_days",
            gen.trending.long_half_life_days,
            "longer than the short half-life",
        )
    in_range(where, "generation.session_knn.postings", gen.session_knn.postings, 1, 65_535)
    in_range(where, "generation.session_knn.max_sessions", gen.session_knn.max_sessions, 1, 1 << 30)
    in_range(where, "generation.session_knn.max_session_items", gen.session_knn.max_session_items, 2, 1000)
    for key in ("votes", "consumption", "positive", "strong", "negative", "impression"):
        for spec in getattr(gen, key):
            _type_spec(where, f"generation.{key}", spec)
    for spec, weight in gen.affinity_weights.items():
        _type_spec(where, "generation.affinity_weights", spec)
        in_range(where, f"generation.affinity_weights.{spec}", weight, 0, 1000)
    _validate_relations(where, gen.relations)
    _validate_segments(where, gen.segments)
    relations = {r.name for r in gen.relations}
    validate_query(where, query, relations)
    validate_experiments(where, query, relations, gen.segments.values)
    in_range(where, "engine.threads", engine.threads, 1, 256)
    in_range(where, "engine.snapshot_every_events", engine.snapshot_every_events, 0, 1 << 50)
    in_range(where, "engine.snapshots_kept", engine.snapshots_kept, 1, 100)
    in_range(where, "engine.graph_above", engine.graph_above, 0, 1 << 32)
    validate_cluster(where, config.cluster)
    validate_http(where, config.http)


def _validate_relations(where: str, relations: tuple[Relation, ...]) -> None:
    if len(relations) > MAX_RELATIONS:
        refuse(where, "generation.relations", len(relations), f"at most {MAX_RELATIONS} relations")
    names: set[str] = set()
    for rel in relations:
        key = f"generation.relations[{rel.name}]"
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", rel.name) or rel.name in names:
            refuse(where, key, rel.name, "unique names of lower-case letters, digits and _")
        names.add(rel.name)
        for spec in (*rel.from_types, *rel.to_types):
            _type_spec(where, f"{key}.types", spec)
        if not rel.from_types or not rel.to_types:
            refuse(where, f"{key}.from_types", rel.from_types, "at least one type on each side")
        in_range(where, f"{key}.window", rel.window, 1, 4096)
        in_range(where, f"{key}.unit_cap", rel.unit_cap, max(2, rel.window), 4096)
        in_range(where, f"{key}.within_days", rel.within_days, 0.001, 36_500)
        in_range(where, f"{key}.half_life_days", rel.half_life_days, 0.01, 36_500)
        in_range(where, f"{key}.capacity", rel.capacity, 8, 4096)


def _validate_segments(where: str, segments: Segments) -> None:
    key, values = "generation.segments", segments.values
    if len(values) > MAX_SEGMENTS or len(set(values)) < len(values):
        refuse(where, f"{key}.values", list(values), f"at most {MAX_SEGMENTS} values, each once")
    for value in values:
        if not 1 <= len(value.encode()) <= 1024:
            refuse(where, f"{key}.values", value, "1 to 1024 bytes")
    if len(segments.label.encode()) > 128 or (values and not segments.label):
        refuse(where, f"{key}.label", segments.label, "the name of a user label, 1 to 128 bytes")


def _type_spec(where: str, key: str, spec: str) -> None:
    if not TYPE_SPEC.match(spec):
        refuse(where, key, spec, 'an event type, optionally with a bound: "view", "rating>=4", "rating<=2"')
