"""The suite of `EventLog` on JetStream, with a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.event_log import DurableLogContract
from headwater.events.jetstream_log import JetStreamLog
from headwater.events.jetstream_stream import StreamSettings
from headwater.events.log import EventLog
from headwater.events.nats_server import NatsServer
from nats_server import GENERATION, fresh_namespace, nats_server, options

__all__ = ["nats_server"]


class TestJetStreamLog(DurableLogContract):
    @pytest.fixture(autouse=True)
    def _server(self, nats_server: NatsServer) -> None:
        self.server = nats_server
        self.places: dict[Path, str] = {}

    def open_log(self, place: Path) -> EventLog:
        namespace = self.places.setdefault(place, fresh_namespace())
        return JetStreamLog(options(self.server), namespace, GENERATION, create=StreamSettings())
