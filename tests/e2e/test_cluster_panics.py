"""A panic of the core while a host answers: whoever asked is told, and the host goes on."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from headwater.cluster import slates
from headwater.cluster.slates import Slates
from headwater.config import config_from_table
from headwater.core import Core, LineVisits
from headwater.errors import InternalError
from headwater.events.nats_server import NatsServer
from host_rig import hosts
from nats_server import nats_server

__all__ = ["nats_server"]

pytestmark = pytest.mark.e2e

NOW = 1_700_000_000_000
SAID = "a defect of the core: capacity overflow"


def panic(*_: object) -> object:
    return LineVisits(2**64 - 1)


class Panicking:
    """A core that panics when it is asked for candidates."""

    def __init__(self, core: Core) -> None:
        self._own = core
        self.candidates = panic

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


@pytest.mark.parametrize("step", ["scatter_at_once", "_scattered", "_gathered", "candidates"])
def test_a_panic_is_told_and_the_host_goes_on(
    nats_server: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
) -> None:
    config = config_from_table({"generation": {"partitions": 4, "shards": 2}})
    with hosts(nats_server, config, 1, 1) as running, running.client() as client:
        position = client.track("view", user="u1", item="i1")
        expected = client.recommend("u1", 1, after=position, now=NOW)
        running.shut()
        with monkeypatch.context() as patched, caplog.at_level(logging.ERROR, "headwater.cluster"):
            if step == "candidates":
                state = running.hosts["i0"].state
                patched.setattr(state, "_core", Panicking(state.core))
            elif step == "scatter_at_once":
                patched.setattr(slates, step, panic)
            else:
                patched.setattr(Slates, step, panic)
            # Who waits for a position is not answered at once.
            after = position if step == "_scattered" else None
            with pytest.raises(InternalError, match=SAID):
                client.recommend("u1", 1, after=after)
        assert SAID in caplog.text
        assert client.recommend("u1", 1, now=NOW).item_ids == expected.item_ids
        assert [host._endpoint._begun for host in running.hosts.values()] == [0, 0]
