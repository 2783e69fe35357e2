"""The Rust benchmarks fold with the shipped configuration."""

from __future__ import annotations

from pathlib import Path

from headwater.config import default_config
from headwater.core import fold_json, query_json

_SOURCES = Path(__file__).parents[3] / "bench" / "src"


def test_the_files_are_the_shop_profile() -> None:
    config = default_config("shop")
    assert (_SOURCES / "shop_fold.json").read_bytes().strip() == fold_json(config.generation)
    assert (_SOURCES / "shop_query.json").read_bytes().strip() == query_json(config.query)
