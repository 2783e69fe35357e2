"""Who owns what follows from the numbers alone, and nothing is owned twice or by nobody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.actors.host_state import needed_parts, owned_by
from headwater.actors.topology import Topology, deal
from headwater.config import default_config
from headwater.core import new_core
from headwater.events.subjects import partition_of

small = st.integers(1, 40)


@given(small, small, small, small)
def test_every_part_has_one_owner_and_every_host_a_part(parts: int, shards: int, sessions: int, items: int) -> None:
    hosts = deal(parts, shards, sessions, items)
    assert sorted(p for host in hosts for p in host.partitions) == list(range(parts))
    assert sorted(s for host in hosts for s in host.shards) == list(range(shards))
    assert all(host.partitions or host.shards for host in hosts)
    assert len({host.name for host in hosts}) == len(hosts)
    assert deal(parts, shards, sessions, items) == hosts


def test_one_host_can_own_everything() -> None:
    [host] = deal(16, 8, 1, 0)
    assert (host.kind, len(host.partitions), len(host.shards)) == ("whole", 16, 8)


@given(st.text(min_size=1), small, small)
def test_a_user_is_asked_of_the_owner_of_their_partition(user: str, sessions: int, items: int) -> None:
    topology = Topology("default", "g", 1, 16, 8, deal(16, 8, sessions, items))
    owner = topology.owner(user)
    assert partition_of(user, 16) in owner.partitions
    assert owner in topology.answering()
    assert owner not in topology.item_hosts()


@pytest.mark.parametrize(("sessions", "items"), [(1, 0), (2, 2), (3, 1), (16, 8)])
def test_a_snapshot_holds_the_parts_that_its_host_needs(sessions: int, items: int) -> None:
    """What `needed_parts` expects of a union of snapshots, each host writes for itself."""
    config = default_config("shop")
    for host in deal(config.generation.partitions, config.generation.shards, sessions, items):
        core = new_core(config, 1, owned_by(host))
        _, parts = core.snapshot()
        assert {name for name, _ in parts} == needed_parts(host, config.generation.partitions)
