"""What the lines of a host's log say of the question that they are about."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from headwater.client import SyncClient
from headwater.cluster.logs import request_id, slate_id
from headwater.config import Config, config_from_table
from headwater.errors import HeadwaterError, InvalidQuery, Unavailable
from headwater.events.nats_server import NatsServer
from host_rig import Hosts, hosts
from nats_server import nats_server

__all__ = ["nats_server"]

pytestmark = pytest.mark.e2e

Said = list[tuple[str, str | None, str | None]]
"""Lines, each with the request and the slate that it is of."""


class Noting(logging.Handler):
    """Notes what is said, and what it is of."""

    def __init__(self) -> None:
        super().__init__()
        self.said: Said = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((record.getMessage(), request_id.get(), slate_id.get()))


@contextmanager
def noted() -> Iterator[Noting]:
    handler, logger = Noting(), logging.getLogger("headwater.cluster")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def config() -> Config:
    return config_from_table({"generation": {"partitions": 8, "shards": 4}})


def refused(client: SyncClient, error: type[HeadwaterError], **asked: str) -> None:
    with pytest.raises(error):
        client.recommend("u1", 2, **asked)


def test_each_line_is_of_its_own_question(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(running: Hosts, *names: str) -> None:
        running.shut(*names)
        for name in names:
            monkeypatch.setattr(
                running.hosts[name]._endpoint,
                "_refusal",
                lambda _, always: None if always else Unavailable("not now", retry_after_ms=1),
            )

    with hosts(nats_server, config(), 1, 2) as running, running.client() as client:
        client.recommend("u1", 2, after=client.track("view", user="u1", item="i1"))
        with noted() as log:
            silent(running, "i0")
            slate = client.recommend("u1", 2)
            refused(client, InvalidQuery, filter="price <")
            silent(running, "i1")
            refused(client, Unavailable)
    told = ("answered without", "recommend refused")
    left_out, wrong, nobody = [line for line in log.said if line[0].startswith(told)]
    assert left_out[0].startswith("answered without item host i0")
    assert left_out[2] == slate.id
    assert wrong[0].startswith("recommend refused: invalid-query")
    assert nobody[0].startswith("recommend refused: unavailable")
    assert wrong[2] is None, "it came to no slate"
    requests = [line[1] for line in (left_out, wrong, nobody)]
    assert None not in requests
    assert len(set(requests)) == 3
