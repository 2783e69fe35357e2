"""The commented `headwater.toml` that `headwater init` writes.

It is made from the defaults themselves: every key with its default, commented out, so that a line without effect is
a comment. Prose lines begin with `##`: taking one `# ` away from all other comments gives the defaults.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from headwater.config import NEVER, Profile, default_config
from headwater.errors import StoreError

_NOTES: dict[str, str] = {
    "generation.session_gap_minutes": "a longer pause begins a new session",
    "generation.rapid_repeat_seconds": "the same user, item and type within this time counts once",
    "generation.recent_items": "distinct items remembered exactly per user",
    "generation.consumed_items": "consumed items remembered exactly per user",
    "generation.seen_generation_days": "what is older than two of these is no longer known as seen",
    "generation.fresh_days": "put items count as fresh for this long at most",
    "generation.dedup_horizon": "events with an event_id per partition within which a repeat is recognised",
    "generation.max_future_hours": "how far event times may lie ahead of the clock",
    "generation.partitions": "user partitions: the unit of ownership",
    "generation.shards": "item shards",
    "generation.tag_labels": "labels that count as tags, beside the categories",
    "generation.votes": "types that count for popularity and trending",
    "generation.consumption": "bought, watched, read",
    "generation.positive": "shows interest",
    "generation.strong": "shows much interest",
    "generation.negative": "rejects the item",
    "generation.impression": "mere exposure: logged, never counted",
    "generation.auto_insert_items": "items that only events name may be shown",
    "generation.affinity_weights": "how much an event says about tastes",
    "generation.segments": "users whose votes also count apart, by the value of a label of theirs",
    "query.sources": "weight of each source in the fusion; 0 switches it off. Replaced as a whole",
    "query.pool": "candidates taken of each source",
    "query.seeds": "latest items that candidates are looked up from",
    "query.metric": "cosine, jaccard, conditional, lift, pmi, phi, llr, count",
    "query.shrinkage": "a pair seen c times keeps c / (c + shrinkage) of its score",
    "query.rrf_k": "weight / (rrf_k + rank); smaller favours top ranks",
    "query.knn_neighbours": "most similar sessions that vote",
    "query.knn_last_items": "latest items that sessions are compared by",
    "query.knn_step": "comparing: each older item weighs this share of the next newer one; 0: linear",
    "query.knn_vote_step": "voting: the same, by the newest shared item",
    "query.knn_near": "voting: share for each place away from the newest shared item; 1: off",
    "query.knn_before": "voting: share of what came before the newest shared item; 1: off",
    "query.knn_oldest": "comparing: share of the oldest session held; 1: off",
    "query.knn_rarity": "comparing: how much more rare shared items weigh; 0: off",
    "query.knn_own": "voting: share of the visitor's own items; 0: none",
    "query.fresh_days": "the source fresh offers items up to this age",
    "query.fresh_budget": "... and until they were served so often",
    "query.filter": "only items that pass, e.g. \"price < 100 and 'shoes' in categories\"; empty: all",
    "query.exclude_consumed": "leave out what the visitor consumed",
    "query.consumed_expiry_days": 'consumed items come back after this long; "never" is allowed',
    "query.consumed_expiry_label": "items with a number in this label come back after so many days instead",
    "query.touched_factor": "scores of items touched before are multiplied by this",
    "query.dislike_factor": "scores of items just like a rejected one are multiplied by this; 1: off",
    "query.freshness": "scores are multiplied by 1 + this for a brand-new item, by less as it ages; 0: off",
    "query.freshness_half_life_days": "after this age the half of freshness is left",
    "query.popularity_debias": "b: scores are divided by (1 + votes)^b; 0: off",
    "query.boosts": "[[query.boosts]]: filter, factor",
    "query.slate_pool": "best candidates that a slate is chosen from",
    "query.diversity": "0: by score alone, 1: by unlikeness alone",
    "query.diversity_debias": "this x diversity is added to popularity_debias, so that slates do not become alike",
    "query.diversity_by": '"tags", or the name of an embedding',
    "query.diversity_method": "mmr, dpp",
    "query.one_per_group": "of the items of a group_id at most one in a slate",
    "query.caps": "[[query.caps]]: field, max",
    "query.pins": "[[query.pins]]: slot, item",
    "query.exploration": "expected share of slots that differ from the best slate",
    "query.exploration_uniform": "this share of it is spread evenly over all candidates",
    "query.promote": "share of the slots that is kept for items that pass",
    "query.scenarios": "[query.scenarios.NAME]: says only what differs from [query]",
    "engine.clock": '"wall", or "log": the last event\'s time, for replays',
    "engine.graph_above": "embeddings of so many vectors are answered from a graph, nearly exactly; 0: never",
    "engine.record_slates": "write what was served to the log",
    "cluster.item_hosts": "0 with one session host: that host owns everything",
    "cluster.deadline_ms": "of a request that names none",
    "cluster.silent_ms": "a host that told nothing for this long is killed and started again",
    "cluster.requests_per_second": "per host; 0: no limit",
    "cluster.events_per_second": "per host; 0: no limit",
    "cluster.snapshot_every_frames": "log positions; 0: only when asked",
    "cluster.replicas": "1, 3, 5: copies that a NATS cluster keeps of the log",
    "cluster.log_max_bytes": "0: what the server allows",
    "engine.snapshot_every_events": "0: only when asked",
    "http.host": "another than a loopback address needs keys: `headwater key add`",
    "http.workers": "web worker processes before the one engine",
    "http.cors_origins": "origins whose pages may call from a browser",
    "http.rate_per_key": "requests a second; 0: no limit",
}

_HEAD = """\
## Headwater. Everything here is optional: a line without effect is commented out and shows the default.
"""

_TABLES: dict[str, str] = {
    "generation": """\
## What the log is folded into. Changing it under a running log is refused; build the next generation with
##   headwater replay DIR --to NEW_DIR --config NEW.toml
## Event types are free; the lists of types say what they count for. "rating>=4" is a rating of at least 4.
""",
    "query": "## How questions are answered. May change at any time; each change is an event in the log.\n",
    "experiments": """\
## Who is answered otherwise: variants lie over the scenarios of [query], as named scenarios do over it. For example
##   [experiments.wider]
##   start = 2026-12-01T00:00:00Z
##   [experiments.wider.variants]
##   as-it-is = { share = 0.45 }
##   diverse = { share = 0.45, query = { diversity = 0.3 } }
##   holdout = { share = 0.1, serve = "popular" }
""",
    "engine": "## This process only; never visible in state or digests.\n",
    "cluster": "## Hosts and their limits, for `headwater serve`.\n",
    "http": "## The gateway of `headwater serve DIR --http`; its limits hold for all web workers together.\n",
}

_RELATIONS = """\
## Relations: which events pair up. `unit` is "session", "user" or "basket": what counts as together. One relation
## that is not a comment replaces all of these.
"""


def template(profile: Profile) -> str:
    """The text of the file for a profile."""
    defaults: dict[str, Any] = msgspec.to_builtins(default_config(profile))
    defaults["experiments"] = defaults["query"].pop("experiments")
    return "\n".join([_HEAD, *("\n".join(_table(name, defaults[name])) + "\n" for name in _TABLES)])


def _table(name: str, values: dict[str, Any]) -> Iterator[str]:
    yield f"[{name}]"
    yield _TABLES[name].rstrip("\n")
    below: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) or key == "relations":
            below[key] = value
        elif key == "profile":
            yield f'{key} = "{value}"  # "shop" (browse and buy) or "media" (play, read, rate)'
        else:
            yield f"# {_line(f'{name}.{key}', value)}"
    for key, value in below.items():
        yield ""
        if key == "relations":
            yield _RELATIONS.rstrip("\n")
            for relation in value:
                yield f"# [[{name}.relations]]"
                yield from (f"# {_line('', entry, field)}" for field, entry in relation.items())
            continue
        note = _NOTES.get(f"{name}.{key}")
        yield f"# [{name}.{key}]" + (f"  # {note}" if note else "")
        yield from (f"# {_line(f'{name}.{key}.{field}', entry)}" for field, entry in value.items())


def _line(path: str, value: Any, key: str | None = None) -> str:
    key = path.rpartition(".")[2] if key is None else key
    key = key if key.replace("_", "").replace("-", "").isalnum() else json.dumps(key)
    text = json.dumps(NEVER if value is None else value)
    note = _NOTES.get(path)
    return f"{key} = {text}" + (f"  # {note}" if note else "")


def write_template(directory: Path, profile: Profile) -> tuple[Path, bool]:
    """Write DIR/headwater.toml unless there is one: its path, and whether it was written. Raises `StoreError`."""
    path = directory / "headwater.toml"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if path.exists():
            return path, False
        with open(path, "x", encoding="utf-8") as file:
            file.write(template(profile))
    except OSError as err:
        raise StoreError(f"{directory}: cannot be used: {err.strerror or err}", path=str(directory)) from err
    return path, True
