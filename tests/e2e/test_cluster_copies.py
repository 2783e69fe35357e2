"""Copies of a cluster's log, and its log written anew: backup, restore, erasure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cluster_rig import Cluster, wait_for
from headwater import Engine, cluster_backup
from headwater.cli import main
from headwater.client import erasing
from headwater.config import Config, config_from_table
from headwater.errors import AccessDenied, InvalidQuery, StoreError, Unavailable
from headwater.events.jetstream_api import JetStreamApi, JetStreamRefusal
from headwater.events.jetstream_stream import Place, delete_stream, place_of
from headwater.events.nats_server import NatsServer
from headwater.events.types import Feedback
from headwater.receipts import check
from host_rig import Hosts, hosts
from nats_server import fresh_namespace, nats_server  # noqa: F401 - a fixture

pytestmark = pytest.mark.e2e

START = 1_795_000_000_000
TOML = "[cluster]\nbeat_ms = 50\nsilent_ms = 2000\nsnapshot_every_frames = 20\n"


def config() -> Config:
    return config_from_table({"generation": {"partitions": 8, "shards": 4}})


def history(begin: int, count: int) -> list[Feedback]:
    return [
        Feedback(type="view", user=f"u{n % 13}", item=f"i{n % 17}", ts=START + n * 1000)
        for n in range(begin, begin + count)
    ]


def run(url: str, namespace: str, *arguments: str, code: int = 0) -> Any:
    """A command with --url, in this process; what it printed as JSON."""
    command, *rest = arguments
    done = CliRunner().invoke(main, [command, "--url", url, "--namespace", namespace, *rest, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if code == 0 else done.output


def test_a_backup_is_compared_with_the_hosts_and_restored_to_a_directory_or_another_cluster(
    nats_server: NatsServer,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hosts(nats_server, config(), 2, 1) as running, running.client() as client:
        url, namespace = running.options.url, running.namespace
        client.put_items({"item": f"i{n}"} for n in range(17))
        client.track_many(history(0, 100))
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "file").touch()
        with monkeypatch.context() as unfolded:
            unfolded.setattr(cluster_backup, "fold_log", None)
            assert "neither empty nor a backup" in run(url, namespace, "backup", str(tmp_path / "other"), code=1)
        first = run(url, namespace, "backup", str(tmp_path / "copy"))
        client.track_many(history(100, 50))
        client.merge("u1", "u2")
        second = run(url, namespace, "backup", str(tmp_path / "copy"))
        position, digest = running.whole_digest()
        assert (second["position"], second["digest"]) == (position, digest)
        assert second["frames"] == position - first["position"], "only what came since"
        assert "not archived" in run(url, namespace, "archive", code=1)
        done = CliRunner().invoke(main, ["restore", str(tmp_path / "copy"), str(tmp_path / "shop"), "--json"])
        assert done.exit_code == 0, done.output
        with Engine.open(tmp_path / "shop", read_only=True) as engine:
            assert (engine.position, engine.digest()["whole"]) == (position, digest)
        with monkeypatch.context() as unfolded:
            unfolded.setattr(cluster_backup, "new_core", None)
            assert "holds a log" in run(url, namespace, "restore", str(tmp_path / "copy"), code=1)
        other = fresh_namespace()
        assert run(url, other, "restore", str(tmp_path / "copy"))["digest"] == digest
    with hosts(nats_server, config(), 1, 0, namespace=other) as restored:
        assert restored.whole_digest()[1] == digest


@pytest.mark.slow
def test_erasing_makes_the_log_anew_while_a_client_waits_and_nothing_of_the_user_is_left(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "shop", toml=TOML)
    try:
        cluster.serve("--processes", "--session-hosts", "2", "--item-hosts", "1")
        with cluster.client() as client:
            client.put_items({"item": f"i{n}"} for n in range(17))
            for begin in range(0, 200, 20):
                client.track_many(history(begin, 20))
            client.track("view", user="visitor-who-goes", item="i1")
            client.merge("visitor-who-goes", "somebody-who-goes")
            client.recommend("somebody-who-goes", 3)
            kept = client.recommend("u3", 3, record=False, after=client.position, now=START + 300_000)
            before = client.track("purchase", user="somebody-who-goes", item="i2")
            wait_for("a snapshot", lambda: any(tmp_path.glob("shop/snapshots/*.parts")))
        told = run(
            cluster.url, "default", "forget", "visitor-who-goes", "--erase", "--receipts", str(tmp_path / "receipts")
        )
        assert told["ids"] == 2
        assert told["events"] >= 6
        assert told["position"] < told["position_before"]
        assert check(tmp_path / "receipts", Path(told["receipt"]), "somebody-who-goes").digest == told["digest"]
        cluster.all_ready()
        assert cluster.whole_digest() == (told["position"], told["digest"])
        assert told["position_before"] > before
        with cluster.client(patience=30.0) as client:
            with pytest.raises(InvalidQuery):
                client.session_of("somebody-who-goes")
            again = client.recommend("u3", 3, record=False, now=START + 300_000)
            assert len(again.items) == len(kept.items)
            client.track("view", user="u3", item="i3")
            wait_for("a snapshot of the new log", lambda: any(tmp_path.glob("shop/snapshots/log-*")))
        position, digest = cluster.whole_digest()
        assert cluster.replayed(position + 1).digest()["whole"] == digest
        assert run(cluster.url, "default", "verify", "--slates")["problems"] == []
        cluster.stop()
        files = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "logs"]
        assert [path for path in files if b"-who-goes" in path.read_bytes()] == []
        assert not list(tmp_path.glob("shop/snapshots/*.parts"))
    finally:
        cluster.end()


def erase(running: Hosts, place: Path) -> erasing.ErasedFromCluster:
    """Erase u1 from the cluster, and end its hosts."""
    with running.client() as client:
        return erasing.erase_from_cluster(
            client, running.options, running.namespace, "u1", place / "r", START, lambda _: None
        )


def again(running: Hosts) -> None:
    """Have the cluster's only host run again."""
    running.wait(running.begin("w0"))
    wait_for("ready", lambda: running.hosts["w0"].phase == "ready")


def test_an_erasure_that_was_cut_short_is_finished_by_the_same_command(
    nats_server: NatsServer,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hosts(nats_server, config(), 1, 0) as running:
        with running.client() as client:
            client.track_many(history(0, 60))
            log = running.log()

        async def broken(*_: object) -> None:
            raise StoreError("cut short")

        with monkeypatch.context() as cut:
            cut.setattr(erasing, "finish_rewriting", broken)
            with pytest.raises(StoreError, match="cut short"):
                erase(running, tmp_path)
        log.close()
        with pytest.raises(Unavailable, match="written anew"):
            running.log()
        done = erase(running, tmp_path)
        again(running)
        assert running.whole_digest() == (done.receipt.position, done.receipt.digest)
        names = {event.user for event in events_of(running)}
        assert "u1" not in names
        assert len(names) == 12


def test_an_erasure_that_fails_before_the_stream_is_touched_lets_the_cluster_go_on(
    nats_server: NatsServer,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hosts(nats_server, config(), 1, 0) as running:

        async def denied(*_: object) -> None:
            raise AccessDenied("these credentials do not permit $JS.API.STREAM.DELETE")

        with running.client() as client:
            client.track_many(history(0, 60))
        with monkeypatch.context() as cut:
            cut.setattr(erasing, "replace_stream", denied)
            with pytest.raises(AccessDenied):
                erase(running, tmp_path)
        again(running)
        with running.client() as client:
            client.track("view", user="late", item="i1")
        done = erase(running, tmp_path)
        again(running)
        assert running.whole_digest() == (done.receipt.position, done.receipt.digest)
        assert {"late", "u2"} <= {event.user for event in events_of(running)}, "what came in between is kept"


def test_a_log_that_a_host_began_while_the_next_one_was_not_in_its_place_is_not_taken_for_it(
    nats_server: NatsServer,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hosts(nats_server, config(), 1, 0) as running:

        async def only_deleted(api: JetStreamApi, place: Place, _: object) -> None:
            await delete_stream(api, place.stream)
            raise Unavailable("no place for the new stream", retry_after_ms=1)

        with running.client() as client:
            client.track_many(history(0, 60))
        with monkeypatch.context() as cut:
            cut.setattr(erasing, "replace_stream", only_deleted)
            with pytest.raises(Unavailable, match="no place"):
                erase(running, tmp_path)
        again(running)  # makes the stream that it misses
        with pytest.raises(StoreError, match="stop the hosts"):
            erase(running, tmp_path)
        assert (tmp_path / "r" / "next").is_dir(), "the only copy"

        async def remove() -> None:
            api = JetStreamApi(running.options)
            await delete_stream(api, place_of(running.namespace, running.generation).stream)
            await api.close()

        running.wait(remove())
        done = erase(running, tmp_path)
        again(running)
        assert running.whole_digest() == (done.receipt.position, done.receipt.digest)
        assert len({event.user for event in events_of(running)}) == 12


def test_a_refusal_of_the_server_is_not_taken_for_a_deleted_log(
    nats_server: NatsServer,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hosts(nats_server, config(), 1, 0) as running, running.client() as client:
        client.track_many(history(0, 60))

        async def denied(*_: object) -> None:
            raise AccessDenied("these credentials do not permit $JS.API.STREAM.DELETE")

        async def refused(*_: object, **__: object) -> None:
            raise JetStreamRefusal("no", err_code=10_003, code=400)

        def erase(running, tmp_path) -> erasing.ErasedFromCluster:
            return erasing.erase_from_cluster(
                client, running.options, running.namespace, "u1", tmp_path / "r", START, lambda _: None
            )

        with monkeypatch.context() as cut:
            cut.setattr(erasing, "replace_stream", denied)
            with pytest.raises(AccessDenied):
                erase(running, tmp_path)
        with monkeypatch.context() as cut:
            cut.setattr(erasing, "stream_state", refused)
            with pytest.raises(JetStreamRefusal):
                erase(running, tmp_path)
        assert "u1" in {event.user for event in events_of(running)}, "the stream was not touched"


def events_of(running: Any) -> list[Feedback]:
    from headwater.events.log import decode_frames

    log = running.log()
    found = [event for batch in log.read() for _, _, events in decode_frames(batch) for event in events]
    log.close()
    return [event for event in found if isinstance(event, Feedback)]


def test_a_product_feed_is_compared_with_the_catalogue_of_a_host(
    nats_server: NatsServer,  # noqa: F811
    tmp_path: Path,
) -> None:
    with hosts(nats_server, config(), 2, 1) as running, running.client() as client:
        url, namespace = running.options.url, running.namespace
        client.put_items({"item": f"i{n:03}", "labels": {"price": float(n)}} for n in range(300))
        feed = tmp_path / "feed.csv"
        rows = [f"i{n:03},{n + (n == 7)}.0" for n in range(300) if n not in (3, 4)]
        feed.write_text("item,price\n" + "\n".join([*rows, "new,1.0"]) + "\n")
        dry = run(url, namespace, "sync", str(feed), "--dry-run")
        counted = {"put": 1, "patched": 1, "hidden": 2, "unchanged": 297}
        assert {name: dry[name] for name in counted} == counted
        told = run(url, namespace, "sync", str(feed))
        assert {name: told[name] for name in counted} == counted
        again = run(url, namespace, "sync", str(feed))
        assert (again["put"], again["patched"], again["hidden"]) == (0, 0, 0)
        assert client.item("i007", after=client.position).labels["price"] == 8.0
        assert client.item("i003").is_hidden
        feed.write_text("item,price\nnew,1.0\n")
        assert "would vanish" in run(url, namespace, "sync", str(feed), code=2)
        position, digest = running.whole_digest()
        assert running.replayed(position + 1).digest()["whole"] == digest
