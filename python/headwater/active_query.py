"""Which `[query]` answers: the one active in the log, whatever this process was opened with.

A writer activates its own configuration when it opens (`ConfigActivated`); a read-only engine answers under the last
one that a writer activated. A version names content: equal versions, equal configurations.
"""

from __future__ import annotations

import xxhash

from headwater.core import Core, query_json
from headwater.scenario import QueryConfig


def query_version(query: QueryConfig) -> str:
    """The version of a query configuration: the XXH3-64 of its canonical bytes, 16 hex digits."""
    return xxhash.xxh3_64_hexdigest(query_json(query))


def active_version(core: Core, opened_with: str) -> str:
    """The version that a core answers under; before the first activation the one that it was opened with."""
    return core.active_config() or opened_with
