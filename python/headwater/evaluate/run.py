"""An evaluation from files to figures: reads, builds the engines that are asked, runs the protocol."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from headwater.config import Config
from headwater.errors import InvalidInput
from headwater.evaluate import next_item, ranking_items
from headwater.evaluate.configured import Configured
from headwater.evaluate.contender import FUSED, Contender, check_source, only_asked_relations
from headwater.evaluate.events import EventLog, load_events
from headwater.evaluate.outcomes import Outcomes, ReplayReport, categories_of
from headwater.evaluate.reading import read_columns
from headwater.evaluate.replay import Plan, rejected_types, replay
from headwater.evaluate.score import Score
from headwater.evaluate.sessions import Sessions, load_sessions
from headwater.evaluate.splits import Split, held_out, last_of_each_user, load_splits
from headwater.evaluate.trial import Trial
from headwater.progress import Call

Part = Literal["test", "valid", "tail"]


class Table(msgspec.Struct, frozen=True):
    """Figures of several contenders on the same predictions."""

    protocol: str
    k: int
    rows: dict[str, dict[str, Any]]
    notes: list[str]
    facts: dict[str, Any]
    """What was trained on and how long the run took."""


def sessions_table(
    folder: Path, configured: Configured, sources: tuple[str, ...], k: int, part: Part, progress: Call
) -> Table:
    """session-next-item over a folder. Raises `InvalidInput`."""
    data = load_sessions(folder, part, configured.options.drop_longest)
    return score_sessions(data, configured, sources, k, progress)


def score_sessions(data: Sessions, configured: Configured, sources: tuple[str, ...], k: int, progress: Call) -> Table:
    """session-next-item over sessions that were read before."""
    check_k(k, len(data.items))
    config, entrants = entrants_of(configured, sources)
    trial, seconds = _fed(config, data)
    started = time.perf_counter()
    scores = next_item.next_item(data, entrants, k, configured.options.exclude_current, trial, progress)
    rate = len(data.predictions) * len(entrants) / max(time.perf_counter() - started, 1e-9)
    facts = {
        "items": len(data.items),
        "sessions": trial.core.stats()["sessions"],
        "clicks": len(data.train),
        "fold_seconds": round(seconds, 2),
        "predictions_per_s": round(rate),
    }
    notes = list(data.notes)
    if config.query.knn_own == 0 and not config.query.sources.get("repeats"):
        notes.append("items of the session get no votes: knn_own is 0 and the source repeats is off")
    return _table("session-next-item", k, scores, next_item.METRICS, notes, facts)


def _fed(config: Config, data: Sessions) -> tuple[Trial, float]:
    started = time.perf_counter()
    trial = Trial(config)
    trial.feed(data.train)
    return trial, time.perf_counter() - started


def splits_table(folder: Path, configured: Configured, sources: tuple[str, ...], k: int, progress: Call) -> Table:
    """fixed-split over a folder: the figures of one pair of files, or the mean over several. Raises `InvalidInput`."""
    return _over_splits("fixed-split", load_splits(folder), configured, sources, k, progress)


def leave_one_out_table(path: Path, configured: Configured, sources: tuple[str, ...], k: int, progress: Call) -> Table:
    """leave-one-out over a file (user, item, perhaps ts). Raises `InvalidInput`."""
    events = read_columns(path, ("user", "item"), ("ts",))
    if "ts" in events.columns:
        events = events.sort("ts", maintain_order=True)
    return _over_splits("leave-one-out", [last_of_each_user(events)], configured, sources, k, progress)


def _over_splits(
    protocol: str, splits: list[Split], configured: Configured, sources: tuple[str, ...], k: int, progress: Call
) -> Table:
    tables = []
    for split in splits:
        catalogue = split.train["item"].n_unique()
        check_k(k, catalogue)
        config, entrants = entrants_of(configured, sources)
        trial = Trial(config)
        trial.feed(split.train)
        neighbours = configured.options.item_knn_neighbours
        scores = ranking_items.rank_items(split, entrants, k, trial, neighbours, progress)
        facts = {"items": catalogue, "events": len(split.train)}
        tables.append(_table(protocol, k, scores, ranking_items.METRICS, split.notes, facts))
    return tables[0] if len(tables) == 1 else _mean(splits, tables)


def _mean(splits: list[Split], tables: list[Table]) -> Table:
    """Figures averaged over splits, counts summed; each split's own figures beside them."""
    rows: dict[str, dict[str, Any]] = {}
    for name, first in tables[0].rows.items():
        row: dict[str, Any] = {}
        for key, value in first.items():
            values = [table.rows[name][key] for table in tables]
            if isinstance(value, float):
                row[key] = float(np.mean(values))
            elif isinstance(value, int):
                row[key] = sum(values)
        row["query_us"] = first["query_us"]
        row["splits"] = {
            split.name: {key: value for key, value in table.rows[name].items() if isinstance(value, float)}
            for split, table in zip(splits, tables, strict=True)
        }
        rows[name] = row
    notes = [f"mean of {len(tables)} splits; query_us is of the first", *(note for t in tables for note in t.notes)]
    return Table(tables[0].protocol, tables[0].k, rows, notes, tables[0].facts)


def _table(
    protocol: str, k: int, scores: list[Score], metrics: tuple[str, ...], notes: list[str], facts: dict[str, Any]
) -> Table:
    rows = {score.name: score.figures(facts["items"], metrics) for score in scores}
    return Table(protocol, k, rows, notes, facts)


def entrants_of(configured: Configured, sources: tuple[str, ...]) -> tuple[Config, list[Contender]]:
    """The configuration that counts what these sources read, and one contender a source. Raises `InvalidInput`."""
    asked = {source.removeprefix(ranking_items.ITEM_KNN) for source in sources}
    for source in sources:
        check_source(configured.config, source.removeprefix(ranking_items.ITEM_KNN))
    config = only_asked_relations(configured.config, asked)
    if FUSED in sources and not any(weight > 0 for weight in config.query.sources.values()):
        raise InvalidInput("fused: no source has a weight above 0", field="source", value=FUSED)
    return config, [Contender(source, config, source) for source in sources]


def check_k(k: int, catalogue: int) -> None:
    """Refuse a list that cannot be filled. Raises `InvalidInput`."""
    if not 1 <= k <= min(catalogue, 1000):
        raise InvalidInput(
            f"k = {k}; allowed: 1 to {min(catalogue, 1000)}, the catalogue has {catalogue} items",
            field="k",
            value=k,
            rule=f"1 to {min(catalogue, 1000)}",
        )


class Replayed(msgspec.Struct, frozen=True):
    """A prequential evaluation."""

    protocol: str
    contenders: list[str]
    report: ReplayReport
    notes: list[str]
    facts: dict[str, Any]


def replay_log(
    log: EventLog, configured: list[Configured], sources: tuple[str, ...], plan: Plan, progress: Call
) -> Replayed:
    """Prequential replay: for each configuration one pass in which all `sources` are asked. Raises `InvalidInput`."""
    check_k(plan.k, log.events["item"].n_unique())
    _check_comparable(configured, log)
    outcomes: Outcomes | None = None
    facts: dict[str, Any] = {}
    started = time.perf_counter()
    for one in configured:
        _, entrants = entrants_of(one, sources)
        if len(configured) > 1:
            entrants = [c._replace(name=f"{one.name}: {c.source}" if len(sources) > 1 else one.name) for c in entrants]
        mine = Outcomes([c.name for c in entrants], plan.k, categories_of(log.facts.values()))
        facts = replay(log, entrants, plan, mine, progress)
        outcomes = mine if outcomes is None else outcomes.joined(mine)
    if outcomes is None:
        raise InvalidInput("no configuration to evaluate", field="config", value=None)
    report = outcomes.report(facts["items"], plan.seed)
    facts["seconds"] = round(time.perf_counter() - started, 1)
    notes = list(log.notes)
    if plan.sample < 1:
        notes.append(f"events of {plan.sample:.1%} of the users are predicted (seed {plan.seed}); all are folded")
    if plan.start or plan.end < 1:
        notes.append(f"the log is predicted from {plan.start:.0%} to {plan.end:.0%} of its events")
    if plan.only_new:
        notes.append("lists leave out what the user touched before; only targets that are new to the user count")
    return Replayed("prequential", outcomes.names, report, notes, facts)


def _check_comparable(configured: list[Configured], log: EventLog) -> None:
    """Configurations must go by different names, and agree on which of the log's events are no targets."""
    names = [one.name for one in configured]
    if len(set(names)) < len(names):
        raise InvalidInput(f"two configurations of one name: {', '.join(names)}", field="config", value=names)
    occurring = set(log.events["type"].unique().to_list())
    no_targets = {one.name: rejected_types(one.config, occurring) for one in configured}
    if len({frozenset(types) for types in no_targets.values()}) > 1:
        said = "; ".join(f"{name}: {', '.join(types) or 'none'}" for name, types in no_targets.items())
        rule = "the same negative and impression types in all of them"
        raise InvalidInput(f"they differ in which events are no targets ({said}); allowed: {rule}", rule=rule)


def tuning_measure(
    shape: Literal["sessions", "split", "events"],
    path: Path,
    source: str,
    metric: str,
    k: int,
    part: Part,
    sample: float,
    until: float,
    seed: int,
    *,
    only_new: bool = False,
) -> Callable[[Configured], float]:
    """What `headwater tune` maximises: reads the data once. Raises `InvalidInput`, also for the test part."""
    if part == "test" or not 0 < until <= 0.9:
        raise InvalidInput("a search never sees the test part: part valid or tail, a prefix up to 0.9", field="part")
    silent: Call = lambda done, total: None  # noqa: E731
    if shape == "events":
        log, plan = load_events(path), Plan(k, sample, seed, 0.0, until, only_new)
        return lambda one: float(replay_log(log, [one], (source,), plan, silent).report.overall[source][metric])
    if shape == "split":
        held = [held_out(split, seed) for split in load_splits(path)]
        return lambda one: float(
            _over_splits("fixed-split", held, one, (source,), k, silent).rows[source][f"{metric}@{k}"]
        )
    data: dict[float, Sessions] = {}

    def measure(one: Configured) -> float:
        longest = one.options.drop_longest
        if longest not in data:
            loaded = load_sessions(path, part, longest)
            rng = np.random.default_rng(seed)
            count = max(1, int(len(loaded.predictions) * sample))
            drawn = sorted(rng.choice(len(loaded.predictions), count, replace=False).tolist())
            data[longest] = loaded._replace(predictions=[loaded.predictions[place] for place in drawn])
        table = score_sessions(data[longest], one, (source,), k, silent)
        return float(table.rows[source][f"{metric}@{k}"])

    return measure
