"""Simulated visitors for the demonstration: somebody looks at what is recommended, so that the live page has life."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from random import Random

import msgspec

from headwater.http import bodies
from headwater.http.problems import Refused
from headwater.http.replies import SlateReply
from headwater.http.verbs import Service

_PAUSE_S = 0.15
_STEP_MS = 20_000
_slates = msgspec.json.Decoder(SlateReply)


def come(service: Service, ending: threading.Event, users: Sequence[str], seed: int = 1) -> None:
    """Visitors ask and click until `ending` is set: some 6 steps a second, through the same door as everybody."""
    random = Random(seed)
    while not ending.wait(_PAUSE_S * (0.5 + random.random())):
        user = random.choice(users)
        try:
            slate = _slates.decode(service.answer("recommend", bodies.RecommendBody(user=user, n=8), "json"))
            if not slate.items:
                continue
            slot = min(random.randrange(8), random.randrange(8), len(slate.items) - 1)
            kind = random.choices(("view", "cart", "purchase"), (20, 3, 1))[0]
            event = bodies.EventBody(
                type=kind,
                user=user,
                item=slate.items[slot].item,
                ts=service.engine.now() + random.randrange(_STEP_MS),
                slate=slate.slate,
                slot=slot,
            )
            service.answer("track", event, "json")
        except Refused as err:
            if err.status >= 500:  # the store is full or closed: it says so itself
                return
