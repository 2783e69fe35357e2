"""Users and items of a sample of a cluster's log, read from its JetStream stream."""

from __future__ import annotations

import numpy as np
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js.api import StreamInfo
from nats.js.errors import NotFoundError, ServiceUnavailableError

from headwater.bench.latency.population import Pairs, add_pairs
from headwater.errors import InvalidInput, LogCorrupt
from headwater.events.frame import decode_frame

_MESSAGES = 300
_SEED = 5


async def sampled_stream(nc: Client, namespace: str, generation: str) -> Pairs:
    """User and item of the feedback in up to 300 messages at random places of the stream that holds the namespace's
    events, of that `generation` if it is known. Raises `InvalidInput` if there is none."""
    context = nc.jetstream()
    pairs = Pairs([], [])
    try:
        streams = [info for info in await context.streams_info() if _holds_events(info, namespace)]
    except (NotFoundError, ServiceUnavailableError, NoRespondersError, TimeoutError):
        streams = []  # a server without JetStream, or one that does not let us look
    if not streams:
        raise InvalidInput(
            f"the server holds no log of namespace {namespace!r} to draw users and items from; name them: --population",
            field="population",
        )
    # Of several generations the running one, else the one that holds most.
    best = max(streams, key=lambda info: (generation in (info.config.name or ""), info.state.messages))
    name = best.config.name or ""
    places = np.arange(best.state.first_seq, best.state.last_seq + 1)
    if len(places) > _MESSAGES:
        places = np.sort(np.random.default_rng(_SEED).choice(places, _MESSAGES, replace=False))
    for place in places.tolist():
        try:
            message = await context.get_msg(name, place)
            if message.subject is not None and ".ev." in message.subject:
                add_pairs(pairs, decode_frame(message.data or b"")[1])
        except (NotFoundError, LogCorrupt):
            continue  # trimmed meanwhile, or a frame that every reader passes over
    return pairs


def _holds_events(info: StreamInfo, namespace: str) -> bool:
    subjects = info.config.subjects or []
    return any(subject.startswith(f"hw.{namespace}.") and ".ev." in subject for subject in subjects)
