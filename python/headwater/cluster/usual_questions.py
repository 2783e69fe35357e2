"""What of a host's questions is answered without Python, and how Python goes on with one that is not usual after all.

The core takes the messages of a subscription where they are read (`headwater.core.Wire`, `core_rs/src/py/wire`); what
it does not take comes to the endpoint as ever.
"""

from __future__ import annotations

from typing import Any

from headwater.actors.host_state import HostState
from headwater.cluster.answers import shown
from headwater.cluster.endpoint import Endpoint, Incoming, Settle
from headwater.cluster.metrics import HostMetrics
from headwater.cluster.scatter import LAYOUT
from headwater.cluster.slates import Slates
from headwater.core import LeftQuestion
from headwater.protocol import Recommend


async def answer_recommend(nc: Any, endpoint: Endpoint, slates: Slates, metrics: HostMetrics) -> None:
    """`recommend` of a session host that asks item hosts."""

    def left(question: LeftQuestion) -> None:
        def begin(asked: Recommend, settle: Settle) -> bool:
            slates.go_on(asked, question, lambda slate: settle(lambda: shown(slate(), asked)))
            return True

        message = Incoming(question.reply, question.data, question.headers)
        endpoint.take_over(message, "recommend", question.age, begin)

    usual = slates.usual(endpoint.door, metrics.times("recommend"), left)
    nc.wire.answer_recommend(endpoint.subscription("recommend"), await nc.inbox(), usual)


def answer_candidates(nc: Any, endpoint: Endpoint, state: HostState, metrics: HostMetrics) -> None:
    """Candidates of an item host."""
    subscription, times = endpoint.subscription("candidates"), metrics.times("candidates")
    nc.wire.answer_candidates(subscription, endpoint.door, times, state.core, LAYOUT)
