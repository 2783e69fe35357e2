"""Merged users on a cluster: whichever id they come with, the host of their account answers, and only for them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cluster_rig import cluster
from headwater.cluster.permissions import permissions
from headwater.events.subjects import partition_of
from headwater.events.types import UserMerge

pytestmark = pytest.mark.e2e

PARTITIONS = 16


def on(host: int, prefix: str) -> str:
    """An id that one of two session hosts owns."""
    return next(f"{prefix}{n}" for n in range(100) if partition_of(f"{prefix}{n}", PARTITIONS) % 2 == host)


def test_what_a_merged_user_does_or_asks_their_account_does(tmp_path: Path) -> None:
    visitor, account = on(0, "visitor"), on(1, "account")
    options = ("--processes", "--session-hosts", "2", "--item-hosts", "1")
    with cluster(tmp_path / "shop", *options) as served, served.client() as client:
        client.put_item("i1")

        def track(event_id: str) -> int:
            """On the path of a plain request: the client's own way for events knows of no merges."""
            event = {"type": "view", "user": visitor, "item": "i1", "event_id": event_id}
            host = client._client._owner(visitor)
            answer = client._wait(client._client._ask("track", host, event, None, compact=False))
            return int(msgspec.msgpack.decode(answer)["position"])

        track("e1")
        position = client.write(UserMerge(from_user=visitor, into_user=account, ts=1_795_000_000_000))
        assert client.recommend(visitor, 1, after=position).user == account
        assert client.session(["i1"], 1, visitor=visitor, after=position).user == account
        track("e1")  # a retry of what came before the merge: nothing for the account
        view = client.session_of(visitor, after=track("e2"))
        assert view.user == account
        assert view.state.events == 1


def test_hosts_may_ask_each_other_for_the_account() -> None:
    allowed = permissions("default", "0" * 32, "host").publish
    for verb in ("recommend", "rank", "session", "session_of", "track", "seen"):
        assert f"hw.default.h.*.{verb}" in allowed
