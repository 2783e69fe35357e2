"""Which `[query]` answers: the one active in the log, whatever this process was opened with.

A writer activates its own configuration when it opens (`ConfigActivated`); a read-only engine answers under the last
one that a writer activated. A version names content: equal versions, equal configurations.
"""

from __future__ import annotations

import msgspec
import xxhash

from headwater.actors.runtime import EmbeddedRuntime
from headwater.core import Core, query_json
from headwater.errors import LogCorrupt
from headwater.events.frame import decode_frame
from headwater.events.subjects import CONTROL_SUBJECT
from headwater.events.types import ConfigActivated
from headwater.scenario import QueryConfig


def query_version(query: QueryConfig) -> str:
    """The version of a query configuration: the XXH3-64 of its canonical bytes, 16 hex digits."""
    return xxhash.xxh3_64_hexdigest(query_json(query))


def active_version(core: Core, opened_with: str) -> str:
    """The version that a core answers under; before the first activation the one that it was opened with."""
    return core.active_config() or opened_with


def query_of(version: str, runtime: EmbeddedRuntime) -> QueryConfig:
    """The configuration of a version that a slate was answered under. O(log) unless it is the runtime's own."""
    own = runtime.config.query
    if version in ("", query_version(own)):
        return own
    for batch in runtime.log.read(subjects=[CONTROL_SUBJECT]):
        for frame in batch.frames:
            try:
                events = decode_frame(frame)[1]
            except LogCorrupt:
                continue  # no reader takes a broken frame in, so it activated nothing
            for event in events:
                if isinstance(event, ConfigActivated) and event.version == version:
                    return msgspec.json.decode(event.body, type=QueryConfig)
    raise LogCorrupt(f"the log holds no query configuration of version {version}", reason="config")
