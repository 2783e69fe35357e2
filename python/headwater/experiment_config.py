"""`[experiments.NAME]` of `headwater.toml`: decoded, laid over the scenarios to see that it can be, and checked.

Two experiments may not claim the same question of the same visitor: they would answer under each other's changes, and
neither's figures would mean anything. Such a pair is refused unless time, scenarios or segments keep them apart, or
both lie in one layer, whose visitors `traffic` shares out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from itertools import combinations
from typing import Any

import msgspec

from headwater.errors import ConfigError
from headwater.scenario import (
    DEFAULT_SCENARIO,
    MAX_RULES,
    Experiment,
    QueryConfig,
    Scenario,
    check_name,
    in_range,
    refuse,
    validate_scenario,
)

MAX_VARIANTS = 16
_TOLERANCE = 1e-9
_LATEST = 1 << 53

Decode = Callable[[dict[str, Any], str], Scenario]
"""Decodes the table of a whole scenario; the text says at which key it stands."""


def experiments_from(tables: object, query: QueryConfig, where: str, decode: Decode) -> dict[str, Experiment]:
    """The experiments of the table `[experiments]` on the scenarios of `query`. Raises `ConfigError` naming the key."""
    if not isinstance(tables, dict):
        refuse(where, "experiments", tables, "a table for each experiment, [experiments.NAME]")
        return {}
    return {name: _experiment(name, table, query, where, decode) for name, table in tables.items()}


def _experiment(name: str, table: object, query: QueryConfig, where: str, decode: Decode) -> Experiment:
    at = f"experiments.{name}"
    if not isinstance(table, dict):
        refuse(where, at, table, "a table, with variants")
        return Experiment(variants={})
    table = table | {key: _moment(where, f"{at}.{key}", table[key]) for key in ("start", "end") if key in table}
    try:
        experiment = msgspec.convert(table, Experiment)
    except msgspec.ValidationError as err:
        raise _refusal(where, at, table, err) from err
    covered = covered_scenarios(where, at, experiment, query)
    variants = {}
    for variant, own in experiment.variants.items():
        keys = own.query
        for scenario in covered:
            base = msgspec.to_builtins(query.scenario(None if scenario == DEFAULT_SCENARIO else scenario))
            for rest in ("scenarios", "experiments"):
                base.pop(rest, None)
            full = decode(base | own.query, f"{at}.variants.{variant}.query.")
            keys = {key: msgspec.to_builtins(getattr(full, key)) for key in own.query}
        variants[variant] = msgspec.structs.replace(own, query=keys)
    return msgspec.structs.replace(experiment, variants=variants, salt=experiment.salt or name)


def _moment(where: str, key: str, value: object) -> object:
    """A time of TOML as UTC milliseconds; what is none stays for the decoder to refuse."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            refuse(where, key, str(value), "a time with its offset from UTC, as in 2026-12-01T00:00:00Z")
        return round(value.timestamp() * 1000)
    if isinstance(value, date):
        return round(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp() * 1000)
    return value


def _refusal(where: str, at: str, table: dict[str, Any], err: msgspec.ValidationError) -> ConfigError:
    """What the decoder found, with the key."""
    what, _, path = str(err).partition(" - at `$")
    place = path.rstrip("`").replace("[...]", "").replace(".variants", ".variants.*")
    if "unknown field" in what:
        field = what.split("`")[1]
        owner = next((v for v in table.get("variants", {}).values() if isinstance(v, dict) and field in v), table)
        names = "share, serve, query" if place else ", ".join(Experiment.__struct_fields__)
        key, value = f"{at}{place}.{field}", owner.get(field)
        message = f"{where}: {key} = {value!r:.80}: there is no such key; allowed: {names}"
        return ConfigError(message, key=key, value=value, rule=names)
    return ConfigError(f"{where}: {at}{place}: {what}", key=f"{at}{place}", rule=what)


def covered_scenarios(where: str, at: str, experiment: Experiment, query: QueryConfig) -> list[str]:
    """Names of the scenarios that an experiment runs on. Raises `ConfigError` for one that does not exist."""
    every = [DEFAULT_SCENARIO, *query.scenarios]
    for scenario in experiment.scenarios:
        if scenario not in every:
            refuse(where, f"{at}.scenarios", scenario, f"scenarios of [query]: {', '.join(every)}")
    return list(experiment.scenarios) or every


def validate_experiments(where: str, query: QueryConfig, relations: set[str], segments: tuple[str, ...]) -> None:
    """Check every experiment, and that no two of them claim one question. Raises `ConfigError`."""
    if len(query.experiments) > MAX_RULES:
        refuse(where, "experiments", len(query.experiments), f"at most {MAX_RULES} experiments")
    for name, experiment in query.experiments.items():
        check_name(where, "experiments", name)
        _validate(where, f"experiments.{name}", experiment, query, relations, segments)
    for (one, a), (other, b) in combinations(query.experiments.items(), 2):
        if _overlap(a, b, query):
            refuse(
                where,
                f"experiments.{other}",
                f"overlaps with experiments.{one}",
                "one experiment a question: other scenarios, segments or times, or the same `layer` with parts of "
                "`traffic` that do not overlap",
            )


def _validate(
    where: str,
    at: str,
    experiment: Experiment,
    query: QueryConfig,
    relations: set[str],
    segments: tuple[str, ...],
) -> None:
    covered = covered_scenarios(where, at, experiment, query)
    for segment in experiment.segments:
        if segment not in segments:
            known = ", ".join(segments) or "none is configured"
            refuse(where, f"{at}.segments", segment, f"values of [generation.segments]: {known}")
    for key in ("salt", "layer"):
        if len(getattr(experiment, key).encode()) > 256:
            refuse(where, f"{at}.{key}", getattr(experiment, key), "at most 256 bytes")
    low, high = experiment.traffic
    if not 0 <= low < high <= 1:
        refuse(where, f"{at}.traffic", list(experiment.traffic), "[from, to] with 0 <= from < to <= 1")
    for key in ("start", "end"):
        moment = getattr(experiment, key)
        if moment is not None and not 0 <= moment < _LATEST:
            refuse(where, f"{at}.{key}", moment, "UTC milliseconds, 0 to 2^53 - 1")
    if experiment.start is not None and experiment.end is not None and experiment.end <= experiment.start:
        refuse(where, f"{at}.end", experiment.end, f"after its start, {experiment.start}")
    if not 2 <= len(experiment.variants) <= MAX_VARIANTS:
        refuse(where, f"{at}.variants", list(experiment.variants), f"2 to {MAX_VARIANTS} variants")
    _validate_variants(where, at, experiment, covered, query, relations)


def _validate_variants(
    where: str, at: str, experiment: Experiment, covered: list[str], query: QueryConfig, relations: set[str]
) -> None:
    for name, variant in experiment.variants.items():
        key = f"{at}.variants.{name}"
        check_name(where, f"{at}.variants", name)
        in_range(where, f"{key}.share", variant.share, 0, 1)
        for scenario in covered:
            base = query.scenario(None if scenario == DEFAULT_SCENARIO else scenario)
            validate_scenario(where, f"{key}.query", _overlaid(where, key, base, variant.query), relations)
    total = sum(variant.share for variant in experiment.variants.values())
    if abs(total - 1) > _TOLERANCE:
        shares = {name: variant.share for name, variant in experiment.variants.items()}
        refuse(
            where, f"{at}.variants", shares, f"shares that sum to 1, not {total:g} (`traffic` limits who takes part)"
        )


def _overlaid(where: str, key: str, base: Scenario, keys: Mapping[str, Any]) -> Scenario:
    """A scenario with a variant's keys in place of its own."""
    fields = {name: getattr(base, name) for name in Scenario.__struct_fields__}
    try:
        return msgspec.convert(msgspec.to_builtins(fields | dict(keys)), Scenario)
    except msgspec.ValidationError as err:
        raise ConfigError(f"{where}: {key}.query: {err}", key=f"{key}.query", rule=str(err)) from err


def _overlap(a: Experiment, b: Experiment, query: QueryConfig) -> bool:
    """Whether one visitor's question could be claimed by both."""

    def runs(one: Experiment) -> tuple[float, float]:
        return one.start or 0, _LATEST if one.end is None else one.end

    def meets(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return max(one[0], other[0]) < min(one[1], other[1])

    every = {DEFAULT_SCENARIO, *query.scenarios}
    return (
        meets(runs(a), runs(b))
        and bool((set(a.scenarios) or every) & (set(b.scenarios) or every))
        # A user has one segment at most.
        and (not a.segments or not b.segments or bool(set(a.segments) & set(b.segments)))
        and (not a.layer or a.layer != b.layer or meets(a.traffic, b.traffic))
    )
