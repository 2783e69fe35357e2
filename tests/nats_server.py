"""A real nats-server for tests: one a session for those that only need one, one of its own for a test that kills it.

A namespace of its own keeps a test's log apart from all others on the shared server.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.events.nats_options import NatsOptions
from headwater.events.nats_server import NatsServer, NatsServerOptions, free_port

GENERATION = "0123456789abcdef" * 2
_count = itertools.count(1)


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """The session's server. Nobody stops it."""
    with NatsServer(server_options(tmp_path_factory.mktemp("nats"))) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server that the test may kill and start again: `server.kill(); server.start()`."""
    server = NatsServer(server_options(tmp_path / "nats")).start()
    yield server
    server.kill()


def server_options(directory: Path, **settings: object) -> NatsServerOptions:
    """A server on a free port."""
    return NatsServerOptions(directory=directory, port=free_port(), **settings)


def options(server: NatsServer) -> NatsOptions:
    """How a client reaches it; patient as long as the machine is busy, not with reconnecting."""
    return NatsOptions(url=server.url, reconnect_wait=0.05, request_timeout=10.0)


def fresh_namespace() -> str:
    """A namespace that no other test of this process uses."""
    return f"t{os.getpid()}-{next(_count)}"
