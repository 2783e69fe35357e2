"""Users and items of a sample of a cluster's log, read from its JetStream stream."""

from __future__ import annotations

import numpy as np
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from headwater.bench.latency.population import Pairs, add_pairs
from headwater.errors import InvalidInput, LogCorrupt
from headwater.events.frame import decode_frame

_MESSAGES = 300
_SEED = 5


async def sampled_stream(nc: Client, namespace: str) -> Pairs:
    """User and item of the feedback in up to 300 messages at random places of the stream that holds the namespace's
    events. Raises `InvalidInput` if there is none."""
    context = nc.jetstream()
    pairs = Pairs([], [])
    try:
        stream = await context.find_stream_name_by_subject(f"hw.{namespace}.ev.0")
        state = (await context.stream_info(stream)).state
    except (NotFoundError, TimeoutError) as err:
        raise InvalidInput(
            f"the server holds no log of namespace {namespace!r} to draw users and items from; name them: --population",
            field="population",
        ) from err
    places = np.arange(state.first_seq, state.last_seq + 1)
    if len(places) > _MESSAGES:
        places = np.sort(np.random.default_rng(_SEED).choice(places, _MESSAGES, replace=False))
    for place in places.tolist():
        try:
            message = await context.get_msg(stream, place)
            if message.subject is not None and ".ev." in message.subject:
                add_pairs(pairs, decode_frame(message.data or b"")[1])
        except (NotFoundError, LogCorrupt):
            continue  # trimmed meanwhile, or a frame that every reader passes over
    return pairs
