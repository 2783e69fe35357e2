"""The exported file and what it says of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from headwater.errors import InvalidInput, StoreError
from headwater.learning import COLUMNS, Rewards, export, join
from reference.slate_log import did, later, log_of, seen, served

LOG = [served(), seen([0, 1]), did("click", "b", 1), later(25)]
REWARDS = Rewards(values={"click": 1.0})


def test_the_file_holds_the_joined_rows(tmp_path: Path) -> None:
    file = tmp_path / "slates.parquet"
    report = export(log_of(*LOG), file, REWARDS)
    assert_frame_equal(pl.read_parquet(file), join(log_of(*LOG), REWARDS).table)
    assert report == {
        **{"file": str(file), "schema": str(tmp_path / "slates.schema.json"), "first_position": 1, "last_position": 4},
        **{"clock": later(25).ts, "slates": 1, "slots": 3, "set_aside": {}},
        **{"statuses": {"rewarded": 1, "negative": 1, "unobserved": 1, "open": 0}},
    }


def test_the_schema_stands_in_the_file_and_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "slates.parquet"
    export(log_of(*LOG), file, {"click": 2.0}, start=2, stop=4)
    beside = json.loads((tmp_path / "slates.schema.json").read_text())
    inside = json.loads(pl.read_parquet_metadata(file)["headwater"])
    assert inside == beside
    assert (beside["format"], beside["version"], beside["first_position"], beside["last_position"]) == (
        *("headwater-learning", 1, 2, 3),
    )
    assert beside["rewards"]["values"] == {"click": 2.0}
    frame = pl.read_parquet(file)
    assert [(c["name"], c["dtype"]) for c in beside["columns"]] == [(n, str(t)) for n, t in frame.schema.items()]
    assert all(c["meaning"] for c in beside["columns"])


def test_propensities_say_which_estimators_they_support() -> None:
    named = {column.name: column.estimators for column in COLUMNS if column.estimators is not None}
    assert set(named) == {"propensity", "propensity_cascade"}
    supported = {name: [e for e, text in by.items() if text.startswith("supported")] for name, by in named.items()}
    assert supported == {
        "propensity": ["IPS, SNIPS, DR on slot 0", "IPS, SNIPS, DR on one slot k > 0"],
        "propensity_cascade": ["RIPS", "SIPS"],
    }
    assert all(by["IIPS"].startswith("not supported") for by in named.values())


def test_an_empty_log_gives_an_empty_table_with_its_schema(tmp_path: Path) -> None:
    report = export(log_of(later(0)), tmp_path / "none.parquet", REWARDS)
    assert (report["slates"], report["slots"]) == (0, 0)
    assert pl.read_parquet(tmp_path / "none.parquet").columns == [column.name for column in COLUMNS]


def test_files_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"names ending in \.parquet"):
        export(log_of(*LOG), tmp_path / "slates.csv", REWARDS)
    with pytest.raises(StoreError, match="cannot be written"):
        export(log_of(*LOG), tmp_path / "absent" / "slates.parquet", REWARDS)


def test_importing_it_loads_neither_polars_nor_numpy() -> None:
    code = "import sys, headwater.learning; print([m for m in ('polars', 'numpy', 'click') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
