"""A client of a cluster, by itself."""

from __future__ import annotations

import asyncio

import pytest

from headwater import connect
from headwater.config import config_from_table
from headwater.events.nats_server import NatsServer
from host_rig import hosts
from nats_server import nats_server

__all__ = ["nats_server"]

pytestmark = pytest.mark.e2e


def test_a_client_that_is_closed_asks_no_longer_who_owns_what(nats_server: NatsServer) -> None:
    with hosts(nats_server, config_from_table({"generation": {"partitions": 8, "shards": 4}}), 1, 0) as running:

        async def main() -> bool:
            async with connect(namespace=running.namespace, options=running.options) as client:
                asking = client._refresh_soon()
            return asking.cancelled()

        assert asyncio.run(main())
