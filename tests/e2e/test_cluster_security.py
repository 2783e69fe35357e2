"""Least privilege, shown by what is refused: each role does its own work and nothing else; TLS; namespaces."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_rig import HEADWATER, PATIENT, Cluster
from headwater.client import connect_sync
from headwater.cluster.permissions import ROLES, Role, inbox_prefix
from headwater.cluster_log import cluster_log
from headwater.core import generation_of
from headwater.errors import AccessDenied, Unavailable
from headwater.events.jetstream_log import AsyncJetStreamLog
from headwater.events.nats_options import Hooks, NatsOptions, connect
from headwater.events.nats_server import NatsServer, NatsServerOptions, free_port

pytestmark = pytest.mark.e2e

SECRET = "correct-horse-{}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One whole host on a server that knows only the users of `headwater permissions`."""
    directory = tmp_path_factory.mktemp("guarded") / "shop"
    cluster = Cluster(directory, toml=PATIENT)
    users = directory / "users.conf"
    done = subprocess.run([HEADWATER, "permissions", str(directory)], capture_output=True, text=True, check=True)
    users.write_text(done.stdout)
    facts = {"user": "default-host", "password": SECRET.format("host"), "inbox_prefix": inbox_prefix("default", "host")}
    (directory / "hosts.toml").write_text("".join(f'{key} = "{value}"\n' for key, value in facts.items()))
    before = dict(os.environ)
    os.environ |= {f"HW_DEFAULT_{role.upper()}": SECRET.format(role) for role in ROLES}
    try:
        cluster.serve(
            *("--processes", "--session-hosts", "1", "--item-hosts", "0", "--nats-include", str(users)),
            *("--host-login", str(directory / "hosts.toml"), "--nats-user", "default-serve"),
            *("--nats-password", SECRET.format("serve"), "--inbox-prefix", inbox_prefix("default", "serve")),
        )
        yield cluster
    finally:
        cluster.end()
        os.environ.clear()
        os.environ |= before


def login(cluster: Cluster, role: Role) -> NatsOptions:
    return NatsOptions(
        url=cluster.url,
        user=f"default-{role}",
        password=SECRET.format(role),
        inbox_prefix=inbox_prefix("default", role),
        request_timeout=10.0,
    )


async def heard(said: list[str], count: int) -> None:
    """Wait for so many refusals, which the server sends in its own time."""
    until = time.monotonic() + 30.0
    while len(said) < count and time.monotonic() < until:
        await asyncio.sleep(0.01)


def test_each_role_does_its_work_and_no_other(guarded: Cluster) -> None:
    with (
        connect_sync(options=login(guarded, "producer")) as producer,
        connect_sync(options=login(guarded, "reader")) as reader,
        connect_sync(options=login(guarded, "operator")) as operator,
    ):
        position = producer.track("view", user="bob", item="x")
        assert reader.recommend("ann", 2, after=position).items[0].item == "x"
        assert operator.status()[0]["phase"] == "ready"
        with pytest.raises(AccessDenied, match=r"do not permit hw\.default\.h\.w0\.recommend"):
            producer.recommend("bob", 2)
        with pytest.raises(AccessDenied, match=r"do not permit hw\.default\.h\.w0\.frames"):
            reader.track("view", user="bob", item="x")
        with pytest.raises(AccessDenied, match=r"do not permit hw\.default\.h\.w0\.forget"):
            operator.forget("bob")
        with pytest.raises(AccessDenied, match=r"do not permit hw\.default\.stop"):
            reader.stop_cluster()


def test_a_gateway_does_all_that_its_addresses_need(guarded: Cluster) -> None:
    with connect_sync(options=login(guarded, "gateway")) as gateway:
        gateway.put_item("x")
        gateway.put_user("bob", labels={"country": "nl"})
        position = gateway.track("view", user="anon", item="x")
        assert gateway.merge("anon", "bob").moved
        slate = gateway.recommend("bob", 1, after=position)
        assert gateway.explain(slate, slate.items[0].item).slot == 0
        gateway.forget("bob")
        assert gateway.status()[0]["phase"] == "ready"


def test_nobody_but_hosts_writes_the_log_or_reads_it(guarded: Cluster) -> None:
    generation = generation_of(guarded.config.generation)

    async def attempt(role: Role) -> None:
        log = await AsyncJetStreamLog.open(login(guarded, role), "default", generation, read_only=True, patience=1.0)
        await log.close()

    async def refusals(role: Role, subject: str) -> list[str]:
        said: list[str] = []
        nc = await connect(
            login(guarded, role), hooks=Hooks(denied=lambda verb, subject: said.append(f"{verb} {subject}"))
        )
        await nc.publish(subject, b"x")
        await nc.flush()
        await heard(said, 1)
        await nc.close()
        return said

    for role in ("producer", "reader", "operator"):
        with pytest.raises((AccessDenied, Unavailable)):
            asyncio.run(attempt(role))  # type: ignore[arg-type]
    for role in ("auditor", "gateway"):
        asyncio.run(attempt(role))  # type: ignore[arg-type]
        with cluster_log(login(guarded, role), "default") as (log, config):  # type: ignore[arg-type]
            assert config.generation == guarded.config.generation
            last = log.last()  # records of earlier tests may still come
            assert last > 0
            assert sum(len(batch.frames) for batch in log.read(stop=last + 1)) == last
    for role in ("producer", "reader", "operator", "auditor", "gateway"):
        subject = f"hw.default.log.{generation[:16]}.ev.0"
        assert f"publish {subject}" in asyncio.run(refusals(role, subject))  # type: ignore[arg-type]
    for role in ROLES:  # the tail is the server's alone
        subject = f"hw.default.tail.{generation[:16]}.ev.0"
        assert f"publish {subject}" in asyncio.run(refusals(role, subject)), role
    # Not even a host deletes what it wrote, or tells others to leave.
    stream = f"HW_default_{generation[:16]}"
    for subject in (f"$JS.API.STREAM.DELETE.{stream}", f"$JS.API.STREAM.PURGE.{stream}", "hw.default.h.w0.leave"):
        assert f"publish {subject.lower()}" in asyncio.run(refusals("host", subject)), subject
    asyncio.run(attempt("host"))


def test_answers_of_others_cannot_be_heard(guarded: Cluster) -> None:
    async def main() -> list[str]:
        said: list[str] = []
        nc = await connect(
            login(guarded, "reader"), hooks=Hooks(denied=lambda verb, subject: said.append(f"{verb} {subject}"))
        )
        await nc.subscribe(f"{inbox_prefix('default', 'producer')}.>")
        await nc.subscribe("hw.default.>")
        await nc.subscribe(f"hw.default.tail.{generation_of(guarded.config.generation)[:16]}.>")
        await nc.flush()
        await heard(said, 3)
        await nc.close()
        return said

    said = asyncio.run(main())
    assert len([text for text in said if text.startswith("subscription ")]) == 3


def test_other_namespaces_and_wrong_passwords_are_refused(guarded: Cluster) -> None:
    with pytest.raises(AccessDenied):
        connect_sync(options=login(guarded, "reader"), namespace="other")
    wrong = NatsOptions(url=guarded.url, user="default-reader", password="wrong")
    with pytest.raises(AccessDenied):
        connect_sync(options=wrong)
    with pytest.raises(AccessDenied):
        connect_sync(guarded.url)


def test_no_secret_is_told(guarded: Cluster) -> None:
    told = "\n".join(guarded.said)
    told += "".join(path.read_text() for path in (guarded.directory / "logs").glob("*"))
    told += (guarded.directory / "nats" / "nats-server.log").read_text()
    assert told
    assert "correct-horse" not in told


def test_only_loopback_is_listened_on(guarded: Cluster) -> None:
    import psutil

    pids = {int(line.split("process ")[1].split(",")[0]) for line in guarded.said if "process " in line}
    assert len(pids) == 2  # the nats-server and the host
    addresses = {
        connection.laddr.ip
        for pid in pids
        for connection in psutil.Process(pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_tls_is_spoken_and_a_stranger_is_not_trusted(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    tls = f"tls {{ cert_file: {json.dumps(str(cert))}, key_file: {json.dumps(str(key))} }}\n"
    login = 'authorization { token: "s3cret-token" }\n'
    port = free_port()
    options = NatsServerOptions(directory=tmp_path / "nats", port=port, settings=tls + login)
    with NatsServer(options) as server:
        url = server.url.replace("nats://", "tls://")
        trusted = NatsOptions(url=url, tls_ca=str(cert), token="s3cret-token", connect_timeout=20.0)
        with pytest.raises(Unavailable, match="nobody answers"):
            connect_sync(options=trusted)  # let in; there is no cluster
        for stranger in (
            NatsOptions(url=url, token="s3cret-token", connect_timeout=3.0),  # does not trust the certificate
            NatsOptions(url=url, tls_ca=str(cert), token="wrong", connect_timeout=3.0),
        ):
            with pytest.raises((AccessDenied, Unavailable)) as refused:
                connect_sync(options=stranger)
            assert "nobody answers" not in str(refused.value)
            assert "s3cret" not in str(refused.value)
