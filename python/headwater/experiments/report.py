"""The report of a log: what slates earned, and what each experiment says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from headwater.config import Config
from headwater.core import generation_of
from headwater.errors import InvalidInput
from headwater.events.log import EventLog
from headwater.events.sqlite_log import SqliteLog
from headwater.experiments.comparison import Comparison, Value, compare
from headwater.experiments.groups import Group, groups_of
from headwater.experiments.journeys import DAY, Journeys, journeys
from headwater.experiments.log_columns import LogColumns, Wanted, read_columns
from headwater.experiments.settings import ReportSettings, settings_for
from headwater.experiments.significance import ratio_mismatch_p
from headwater.experiments.units import Units, units_of
from headwater.plain_data import PlainData
from headwater.scenario import Experiment
from headwater.store import check_begun, directory_config

MISMATCH = 0.001
"""Below this chance a deal is taken for broken."""


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """A variant: its share as configured last, the users and slates it has, and the users that shares let expect."""

    variant: str
    share: float
    serve: str
    users: int
    expected: float
    slates: int


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """Slates of each variant (in the order of `arms`) served on a day of UTC that begins at `ts`."""

    ts: int
    slates: list[int]


class ExperimentReport(msgspec.Struct, frozen=True, kw_only=True):
    """One experiment. `values` and `comparisons` count users from their first slate of it, for the outcome days."""

    name: str
    start: int | None
    end: int | None
    baseline: str | None
    arms: list[Arm]
    mismatch_p: float | None
    """Chance of such numbers of users under the configured shares."""
    mismatched: bool
    mixed_users: int
    """Saw more than one variant (a merge of two ids, or shares that were changed); left out."""
    values: list[Value]
    comparisons: list[Comparison]
    days: list[Day]
    notes: list[str]


class Report(PlainData, frozen=True, kw_only=True):
    """What a log's slates earned. Times are UTC ms."""

    since: int
    until: int
    clock: int
    slates: int
    settings: ReportSettings
    groups: list[Group]
    experiments: list[ExperimentReport]
    set_aside: dict[str, int]
    notes: list[str]


class _Configured(msgspec.Struct):
    """What a report needs of an activated configuration."""

    experiments: dict[str, Experiment] = {}


def report_directory(
    directory: Path,
    *,
    experiment: str | None = None,
    since: int = 1,
    until: int | None = None,
    settings: ReportSettings | None = None,
    **changes: Any,
) -> Report:
    """The report of a directory's log; writes nothing, and a writer may go on. `changes` are fields of
    `ReportSettings`. O(log). Raises `InvalidInput` for an unknown experiment, `StoreError`s."""
    check_begun(directory)
    config = directory_config(directory)
    log = SqliteLog(directory, generation_of(config.generation), read_only=True)
    try:
        chosen = settings_for(config.generation, **changes) if settings is None else settings
        return report(log, config, chosen, experiment=experiment, since=since, until=until)
    finally:
        log.close()


def report(
    log: EventLog,
    config: Config,
    settings: ReportSettings,
    *,
    experiment: str | None = None,
    since: int = 1,
    until: int | None = None,
) -> Report:
    """The report of log positions `since` to `until`, both included. O(log). Raises `InvalidInput`, `LogCorrupt`."""
    segments = config.generation.segments
    wanted = Wanted(settings.types, segments.label, segments.values, settings.price_label)
    future = config.generation.max_future_ms
    stop = None if until is None else until + 1
    columns = read_columns(log, wanted, start=since, stop=stop, max_future_ms=future)
    history = {version: _experiments(body) for version, body in columns.configs.items()}
    seen = _variants(columns)
    names = _chosen(history, seen, experiment)
    walks = journeys(columns, settings)
    return Report(
        since=since,
        until=log.last() if until is None else until,
        clock=columns.clock,
        slates=len(walks.slates),
        settings=settings,
        groups=groups_of(columns, walks, settings),
        experiments=[_experiment(name, columns, walks, history, seen, settings) for name in names],
        set_aside=walks.set_aside,
        notes=_notes(walks, settings, len(names)),
    )


def _experiments(body: str) -> dict[str, Experiment]:
    return msgspec.json.decode(body, type=_Configured).experiments


def _variants(columns: LogColumns) -> dict[str, int]:
    """Label -> number of every variant that a slate names."""
    numbers = columns.slates["variant"].drop_nulls().unique().to_list()
    return {str(label): number for label, number in zip(columns.texts.texts("names", numbers), numbers, strict=True)}


def _chosen(history: dict[str, dict[str, Experiment]], seen: dict[str, int], asked: str | None) -> list[str]:
    names = {name for experiments in history.values() for name in experiments}
    known = sorted(names | {label.partition("/")[0] for label in seen})
    if asked is None:
        return known
    if asked not in known:
        rule = ", ".join(known) or "none was ever configured"
        raise InvalidInput(
            f"experiment = {asked!r:.80}: the log knows no such experiment; allowed: {rule}",
            field="experiment",
            value=asked,
            rule=rule,
        )
    return [asked]


def _experiment(
    name: str,
    columns: LogColumns,
    walks: Journeys,
    history: dict[str, dict[str, Experiment]],
    seen: dict[str, int],
    settings: ReportSettings,
) -> ExperimentReport:
    versions = [experiments[name] for experiments in history.values() if name in experiments]
    latest = versions[-1] if versions else Experiment(variants={})
    labels = {label.partition("/")[2]: number for label, number in seen.items() if label.partition("/")[0] == name}
    variants = sorted({variant for version in versions for variant in version.variants} | set(labels))
    arms = {number: variants.index(variant) for variant, number in labels.items()}
    baseline = _baseline(variants, latest, settings)
    units = units_of(walks, arms, settings)
    expected = _expected(units, variants, columns, history, name)
    counts = np.bincount(units.arm, minlength=len(variants)).tolist()
    chance = ratio_mismatch_p(counts, expected) if sum(counts) and not any(map(math.isnan, expected)) else None
    values: list[Value] = []
    comparisons: list[Comparison] = []
    if sum(counts) and baseline is not None:
        values, comparisons = compare(units, variants, variants.index(baseline), settings, columns.clock)
    slates, days = _days(walks, arms, len(variants))
    shown = [
        Arm(
            variant=variant,
            share=latest.variants[variant].share if variant in latest.variants else 0.0,
            serve=latest.variants[variant].serve if variant in latest.variants else "slate",
            users=counts[at],
            expected=0.0 if math.isnan(expected[at]) else expected[at],
            slates=slates[at],
        )
        for at, variant in enumerate(variants)
    ]
    return ExperimentReport(
        name=name,
        start=latest.start,
        end=latest.end,
        baseline=baseline,
        arms=shown,
        mismatch_p=chance,
        mismatched=chance is not None and chance < MISMATCH,
        mixed_users=units.mixed,
        values=values,
        comparisons=comparisons,
        days=days,
        notes=_findings(shown, chance, units, comparisons, latest, columns.clock, settings),
    )


def _baseline(variants: list[str], experiment: Experiment, settings: ReportSettings) -> str | None:
    """The one asked for, `control`, the first that changes nothing, the first."""
    if settings.baseline is not None:
        if settings.baseline in variants:
            return settings.baseline
        rule = ", ".join(variants)
        raise InvalidInput(
            f"baseline = {settings.baseline!r:.80}; allowed: {rule}",
            field="baseline",
            value=settings.baseline,
            rule=rule,
        )
    unchanged = [name for name, v in sorted(experiment.variants.items()) if v.serve == "slate" and not v.query]
    return next(iter([name for name in variants if name == "control"] or unchanged or variants), None)


def _expected(
    units: Units, variants: list[str], columns: LogColumns, history: dict[str, dict[str, Experiment]], name: str
) -> list[float]:
    """Users of each variant that the shares let expect: those of the configuration that each user met first. NaN where
    that is not known."""
    numbers, counts = np.unique(units.config, return_counts=True)
    total = np.zeros(len(variants))
    for version, count in zip(columns.texts.texts("names", numbers.tolist()), counts, strict=True):
        experiment = history.get(str(version), {}).get(name)
        if experiment is None:
            return [math.nan] * len(variants)
        shares = [experiment.variants[v].share if v in experiment.variants else 0.0 for v in variants]
        total += np.array(shares) * count
    return [float(users) for users in total]


def _days(walks: Journeys, arms: dict[int, int], count: int) -> tuple[list[int], list[Day]]:
    """Slates of each variant, in all and by day."""
    import polars as pl

    slates = walks.slates.filter(pl.col("variant").is_in(list(arms)))
    if not len(slates):
        return [0] * count, []
    arm = slates["variant"].replace_strict(arms, return_dtype=pl.Int64).to_numpy()
    day = slates["ts"].to_numpy() // DAY
    first, last = int(day.min()), int(day.max())
    if last - first > 3660:  # event times may lie anywhere
        days, day = np.unique(day, return_inverse=True)
    else:
        days, day = np.arange(first, last + 1), day - first
    table = np.bincount(day * count + arm, minlength=len(days) * count).reshape(len(days), count)
    by_day = [Day(ts=int(d) * DAY, slates=row) for d, row in zip(days, table.tolist(), strict=True)]
    return table.sum(axis=0).tolist(), by_day


def _findings(
    arms: list[Arm],
    chance: float | None,
    units: Units,
    comparisons: list[Comparison],
    experiment: Experiment,
    clock: int,
    settings: ReportSettings,
) -> list[str]:
    """What a reader must know before the numbers."""
    notes = []
    if not any(arm.slates for arm in arms):
        later = experiment.start is not None and experiment.start > clock
        why = "it has not begun by the log's time" if later else "nobody who takes part asked for a slate"
        return [f"no traffic: no slate in the log is of this experiment ({why})"]
    if chance is None:
        notes.append("which shares were meant is not in this stretch of the log: the numbers of users are not checked")
    elif chance < MISMATCH:
        notes.append(
            f"SAMPLE RATIO MISMATCH: such numbers of users have a chance of {chance:.2g} under the configured shares. "
            "Something decides beside the deal (lost records, redirects, filters by outcome): do not trust the "
            "comparisons before it is found"
        )
    idle = [arm.variant for arm in arms if not arm.users]
    if idle:
        notes.append(f"without users: {', '.join(idle)}")
    if units.mixed:
        notes.append(f"{units.mixed:,} users saw more than one variant and are left out")
    if comparisons:
        notes.append(
            f"{len(comparisons)} comparisons were made: p-values beside `holm` are for one question asked alone, those "
            "with it hold for all together"
        )
        if not any(comparison.looks for comparison in comparisons):
            notes.append(
                f"always-valid figures begin when {settings.burn_in} users of each variant have been here for "
                f"{max(settings.outcome_days, settings.retention_days):g} days"
            )
    return notes


def _notes(walks: Journeys, settings: ReportSettings, experiments: int) -> list[str]:
    where = "the item's label " + repr(settings.price_label) if settings.price_label else "`value` of the purchases"
    notes = [
        f"revenue is {where}; a purchase is credited to the slate that it names, else to the last click on "
        f"{'the same item' if settings.match == 'item' else 'any item'} within {settings.window_hours:g} h; "
        f"view-through within {settings.view_hours:g} h stands apart"
    ]
    if walks.unpriced:
        notes.append(
            f"{walks.unpriced:,} purchases have no {'price' if settings.price_label else 'value'}: they earn 0"
        )
    if not len(walks.slates):
        notes.append("the log holds no slates in this stretch")
    if not experiments:
        notes.append("no experiment was ever configured here")
    return notes
