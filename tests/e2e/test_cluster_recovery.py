"""Hosts as plain processes: what they begin from, what they refuse, and what bounds them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cluster_rig import HEADWATER, Cluster, cluster, wait_for
from headwater.errors import InvalidQuery, Overloaded, Unavailable
from headwater.events.types import Feedback

pytestmark = pytest.mark.e2e

ONE = ("--processes", "--session-hosts", "1", "--item-hosts", "0")
TOML = "[cluster]\nbeat_ms = 50\nsilent_ms = 5000\nsnapshot_every_frames = 10\n"


def fill(served: Cluster, count: int) -> None:
    with served.client() as client:
        for n in range(count):
            client.track("view", user=f"u{n % 5}", item=f"i{n % 7}")


def test_a_damaged_snapshot_is_passed_over_for_an_older_one_and_said(tmp_path: Path) -> None:
    with cluster(tmp_path / "shop", *ONE, toml=TOML) as served:
        fill(served, 25)
        wait_for("two snapshots", lambda: len(positions(served)) == 2)
        position, digest = served.whole_digest()
        assert served.replayed(position + 1).digest()["whole"] == digest
        served.stop()
        older, newest = positions(served)[-2:]
        [file] = (served.directory / "snapshots").glob(f"{newest:020d}.parts/neighbourhood.hws")
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        served.serve(*ONE)
        [host] = served.all_ready()
        assert host["recovered_from_snapshot"] == older < newest
        assert str(newest) in host["passed_over"][0]
        assert served.whole_digest() == (position, digest)


def positions(served: Cluster) -> list[int]:
    return sorted(int(path.name.removesuffix(".parts")) for path in (served.directory / "snapshots").glob("*.parts"))


def test_a_log_that_lost_its_tail_is_refused_loudly(tmp_path: Path) -> None:
    with cluster(tmp_path / "shop", *ONE, toml=TOML) as served:
        fill(served, 12)
        served.stop()
        shutil.rmtree(served.directory / "nats" / "jetstream")
        command = [HEADWATER, "serve", str(served.directory), "--embedded-nats", "--port", str(served.port), *ONE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert "the log lost its tail" in done.stderr
        assert "w0" in done.stderr


def test_what_a_host_takes_is_bounded_and_said(tmp_path: Path) -> None:
    bounds = "requests_per_second = 20\nevents_per_second = 30\nmax_request_bytes = 2000\n"
    with cluster(tmp_path / "shop", *ONE, toml=TOML + bounds) as served, served.client(patience=1.0) as client:
        with pytest.raises(Overloaded, match="20 requests a second") as refused:
            client.recommend_many([f"u{n}" for n in range(200)], 1, record=False)
        assert 0 < refused.value.details["retry_after_ms"] <= 1000
        with pytest.raises(InvalidQuery, match="max_request_bytes"):
            client.session([f"item-{n:05d}" for n in range(500)])
        # Of one user, so they go as one message: given, and owed for the next hundred seconds.
        client.track_many([Feedback(type="view", user="u1", item="x", ts=n) for n in range(3000)])
        with pytest.raises(Unavailable, match="events a second"):
            client.track("view", user="u1", item="x")
        wait_for("it answers again", lambda: client.trending(n=1))


def test_another_generation_under_a_running_log_is_refused(tmp_path: Path) -> None:
    with cluster(tmp_path / "shop", *ONE, toml=TOML) as served:
        fill(served, 3)
        served.stop()
        (served.directory / "headwater.toml").write_text(TOML + "[generation]\npartitions = 4\n")
        command = [HEADWATER, "serve", str(served.directory), "--embedded-nats", "--port", str(served.port), *ONE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert "partitions: log 16, asked 4" in done.stderr
