"""The exploring shop's log, exported to Parquet, read back, in the forms of Open Bandit Pipeline."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from headwater.events.memory_log import MemoryLog
from headwater.learning import export, obp_feedback, obp_slates
from headwater.learning.estimators import slate_target
from reference.exploring_shop import CLICK, REWARDS, WANTED, segment_of, target_probabilities, write_visits

SEED = 20_25
ITEMS = sorted(CLICK["north"])


def exported_table(folder: Path) -> pl.DataFrame:
    """What `export` wrote of the shop's log."""
    log = MemoryLog()
    write_visits(log, SEED)
    file = folder / "slates.parquet"
    export(log, file, REWARDS)
    return pl.read_parquet(file)


def target_of(table: pl.DataFrame) -> list[float]:
    """The wanted policy's probability of each row's item."""
    return target_probabilities(WANTED, table.select("slate", "user", "slot", "item").iter_rows())


def obp_input(table: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Arguments for obp as plain lists: `slot` for IPW and SNIPW at slot 0, `slates` for SIPS and RIPS."""
    single = obp_feedback(table, items=ITEMS)
    users = table["user"].to_list()
    action_dist = np.zeros((single["n_rounds"], single["n_actions"], 1))
    for n, row in enumerate(single["row"]):
        weights = [WANTED[segment_of(users[row])][item] for item in ITEMS]
        action_dist[n, :, 0] = np.array(weights) / math.fsum(weights)
    slot = {name: single[name].tolist() for name in ("action", "position", "reward", "pscore")}
    many = obp_slates(table, items=ITEMS) | slate_target(table, target_of(table))
    names = ("slate_id", "position", "reward", "pscore", "pscore_cascade")
    targets = ("evaluation_policy_pscore", "evaluation_policy_pscore_cascade")
    return {
        "slot": slot | {"action_dist": action_dist.tolist()},
        "slates": {name: many[name].tolist() for name in (*names, *targets)},
    }


def digest(arguments: dict[str, dict[str, Any]]) -> str:
    """Hash of the arguments: golden numbers belong to one input."""
    return hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()
