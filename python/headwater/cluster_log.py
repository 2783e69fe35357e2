"""The log of a cluster as an `EventLog`, found by its namespace: the truth that replays, audits and copies read.

The stream itself says which `[generation]` it is of, so hosts need not answer. Needs the extra `cluster`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from headwater.config import Config, fold_config_from
from headwater.core import generation_of
from headwater.errors import GenerationMismatch, StoreError
from headwater.events.jetstream_api import JetStreamApi
from headwater.events.jetstream_log import JetStreamLog
from headwater.events.jetstream_stream import Place, StreamState, places, stream_state
from headwater.events.loop_thread import LoopThread
from headwater.events.nats_options import NatsOptions
from headwater.scenario import query_profile


def find_log(options: NatsOptions, namespace: str) -> tuple[Place, StreamState, Config]:
    """The one log of a namespace, its state, and the configuration that it was begun with. The `[query]` is the
    profile's: which one answered is in the log.

    Raises `StoreError` (no log, or several generations), `GenerationMismatch` (of another version of the fold),
    `AccessDenied`, `Unavailable`.
    """
    loop = LoopThread("headwater-find-log")
    try:
        api = JetStreamApi(options)

        async def look() -> tuple[Place, StreamState]:
            try:
                found = await places(api, namespace)
                if len(found) != 1:
                    named = ", ".join(place.generation for place in found) or "none"
                    raise StoreError(
                        f"{options.shown}: logs in namespace {namespace!r}: {named}; exactly one is needed: take away "
                        "generations that are no longer served, or name another namespace",
                        url=options.shown,
                    )
                return found[0], await stream_state(api, found[0])
            finally:
                await api.close()

        place, state = loop.wait(look())
    finally:
        loop.stop()
    generation = fold_config_from(msgspec.json.decode(state.config))
    if generation_of(generation) != place.generation:
        raise GenerationMismatch(
            f"{options.shown}: the log is of generation {place.generation}; this version makes "
            f"{generation_of(generation)} of its configuration: read it with the version that wrote it",
            found=place.generation,
            expected=generation_of(generation),
        )
    return place, state, Config(generation=generation, query=query_profile(generation.profile))


@contextmanager
def cluster_log(options: NatsOptions, namespace: str) -> Iterator[tuple[JetStreamLog, Config]]:
    """The log of a namespace, for reading, with its configuration; see `find_log`."""
    place, _, config = find_log(options, namespace)
    log = JetStreamLog(options, namespace, place.generation, read_only=True)
    try:
        yield log, config
    finally:
        log.close()
