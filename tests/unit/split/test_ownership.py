"""Hosts that keep some parts of the state each: together they keep what one engine keeps."""

from __future__ import annotations

import pytest

from headwater.core import Ownership, new_core, restore_core, whole_digest
from headwater.errors import ConfigError, LogCorrupt, SnapshotInvalid
from reference.host_cluster import HostCluster
from replay.golden_log import golden_config
from replay.make_golden import read_log, read_state

LOG = read_log()
POSITIONS = range(1, len(LOG) + 1)
TOPOLOGIES = [(1, 1), (2, 2), (4, 2), (3, 2), (1, 2)]


def folded(sessions: int, items: int, stop: int = len(LOG)) -> HostCluster:
    cluster = HostCluster(golden_config(), sessions, items)
    cluster.feed(POSITIONS[:stop], LOG[:stop])
    return cluster


@pytest.mark.parametrize(("sessions", "items"), TOPOLOGIES)
def test_digests_of_hosts_add_up_to_that_of_the_whole(sessions: int, items: int) -> None:
    cluster = folded(sessions, items)
    assert cluster.digest() == read_state().digest["whole"]
    for host in cluster.items:
        assert {p: d for p, d in host.core.digest().items() if p != "whole"}.items() <= read_state().digest.items()
        assert host.core.stats()["outcomes"] == read_state().outcomes


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_batches_do_not_matter(batch: int) -> None:
    cluster = HostCluster(golden_config(), 3, 2)
    for start in range(0, len(LOG), batch):
        cluster.feed(POSITIONS[start : start + batch], LOG[start : start + batch])
    assert cluster.digest() == read_state().digest["whole"]


@pytest.mark.parametrize("cut", [0, 1, len(LOG) // 3, len(LOG) - 1, len(LOG)])
def test_snapshot_and_tail_of_each_host_make_the_same_state(cut: int) -> None:
    cluster = folded(3, 2, cut).restored()
    cluster.feed(POSITIONS[cut:], LOG[cut:])
    assert cluster.digest() == read_state().digest["whole"]


def test_parts_at_one_position_make_hosts_of_any_topology() -> None:
    cut = len(LOG) // 2
    before = folded(3, 2, cut)
    parts = [part for host in (*before.sessions, *before.items) for part in host.core.snapshot()[1]]
    after = HostCluster(golden_config(), 2, 1)
    for host in (*after.sessions, *after.items):
        host.core = restore_core(golden_config(), 1, parts, host.owned)
    after.feed(POSITIONS[cut:], LOG[cut:])
    assert after.digest() == read_state().digest["whole"]


def test_a_host_holds_its_own_parts_and_no_others() -> None:
    session = new_core(golden_config(), 1, Ownership.session([1, 3]))
    item = new_core(golden_config(), 1, Ownership.item([1]))
    assert session.digest().keys() == {"whole", "catalogue", "partition-01", "partition-03"}
    assert item.digest().keys() == {"whole", "control", "catalogue", "neighbourhood", "shard-1"}
    assert {name for name, _ in session.snapshot()[1]} == {"activation", "catalogue", "partition-01", "partition-03"}
    admission = {f"admission-{p:02}" for p in range(4)}
    stored = {"control", "catalogue", "neighbourhood", "shard-1", "items"} | admission
    assert {name for name, _ in item.snapshot()[1]} == stored
    with pytest.raises(SnapshotInvalid, match=r"partition-02: is missing"):
        restore_core(golden_config(), 1, session.snapshot()[1], Ownership.session([2]))
    with pytest.raises(SnapshotInvalid, match="partition-00: is missing"):
        restore_core(golden_config(), 1, item.snapshot()[1])


def test_an_item_host_keeps_no_users_and_a_session_host_no_items() -> None:
    cluster = folded(1, 1)
    whole = new_core(golden_config(), 1)
    whole.apply(1, LOG)
    session, item = cluster.sessions[0].core.stats(), cluster.items[0].core.stats()
    assert item["users"] == 0 < session["users"] == whole.stats()["users"]
    assert session["pairs"] == session["sessions"] == 0 < item["pairs"] == whole.stats()["pairs"]
    assert session["bytes_users"] + item["bytes_users"] < 2 * whole.stats()["bytes_users"]


@pytest.mark.parametrize(
    "owned", [Ownership(), Ownership((0,), (0,)), Ownership.session([4]), Ownership.item([2])], ids=str
)
def test_ownership_that_cannot_be_is_refused(owned: Ownership) -> None:
    with pytest.raises(ConfigError, match="own"):
        new_core(golden_config(), 1, owned)


def test_only_hosts_that_are_not_fed_every_frame_may_leave_positions_out() -> None:
    item = new_core(golden_config(), 1, Ownership.item([0, 1]))
    item.apply_at([1, 2], LOG[:2])
    for positions in ([4], [3, 5], [2], [4, 3]):
        with pytest.raises(LogCorrupt, match="does not follow"):
            item.apply_at(positions, LOG[: len(positions)])
    assert item.position == 2, "nothing of a refused batch is folded"
    with pytest.raises(LogCorrupt, match="does not follow"):
        item.reached(3)
    item.reached(2)
    session = new_core(golden_config(), 1, Ownership.session([0]))
    session.apply_at([3, 9], LOG[:2])
    session.reached(12)
    session.reached(5)
    assert session.position == 12
    with pytest.raises(LogCorrupt, match="does not follow"):
        session.apply_at([12], LOG[:1])


def test_frames_of_other_partitions_are_passed_over() -> None:
    fed_all = new_core(golden_config(), 1, Ownership.session([1, 3]))
    fed_all.apply(1, LOG)
    own = folded(2, 1).sessions[1]
    assert own.owned == Ownership.session([1, 3])
    assert fed_all.digest() == own.core.digest()
    assert fed_all.position == own.core.position == len(LOG)


def test_a_whole_digest_needs_every_part_and_no_contradiction() -> None:
    cluster = folded(2, 2)
    digests = [host.core.digest() for host in (*cluster.sessions, *cluster.items)]
    with pytest.raises(ValueError, match="no host has partition-01, partition-03"):
        whole_digest(golden_config(), [digests[0], *digests[2:]])
    with pytest.raises(ValueError, match="part catalogue is"):
        whole_digest(golden_config(), [*digests[1:], digests[0] | {"catalogue": "0" * 32}])
