"""How a NATS server is reached, and how it is said that it is not."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nkeys
import pytest

from headwater.errors import AccessDenied, ConfigError, HeadwaterError, Unavailable
from headwater.events.jetstream_api import JetStreamApi
from headwater.events.jetstream_stream import syncs_always, warn_of_syncs
from headwater.events.nats_options import NatsOptions, connect
from headwater.events.nats_server import NatsServer, free_port
from nats_server import server_options

SECRETS = ("s3cret-token", "pa55word", "URLPASS")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    """Starts servers with lines of configuration."""
    servers: list[NatsServer] = []

    def start(settings: str = "", **more: Any) -> NatsServer:
        directory = tmp_path / f"nats{len(servers)}"
        servers.append(NatsServer(server_options(directory, settings=settings, **more)).start())
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def greet(options: NatsOptions) -> str:
    """Connect, have an answer, disconnect."""

    async def main() -> str:
        client = await connect(options)
        try:
            await client.flush()
            return str(client.connected_url.hostname)
        finally:
            await client.close()

    return asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "http://host:1"}, "nats://HOST:PORT"),
        ({"url": "nats://user:URLPASS@"}, "nats://HOST:PORT"),
        ({"url": ""}, "nats://HOST:PORT"),
        ({"tls_cert": "a.pem"}, "go together"),
        ({"user": "u"}, "go together"),
        ({"token": "s3cret-token", "creds_file": "x"}, "more than one way"),
        ({"connect_timeout": 0.0}, "connect_timeout = 0.0"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as refused:
        NatsOptions(**settings)
    assert not any(secret in str(refused.value) + str(refused.value.details) for secret in SECRETS)


def test_secrets_are_not_shown() -> None:
    shown = [
        repr(NatsOptions(token="s3cret-token", tls_ca="ca.pem")),
        repr(NatsOptions(user="u", password="pa55word", url="nats://a:URLPASS@h:1,nats://h2:2")),
        NatsOptions(url="nats://a:URLPASS@h:1,nats://h2:2").shown,
    ]
    assert not any(secret in text for secret in SECRETS for text in shown)
    assert "tls_ca='ca.pem'" in shown[0]
    assert shown[2] == "nats://***@h:1,nats://h2:2"


def test_nobody_there_is_said_in_time() -> None:
    begin = time.monotonic()
    with pytest.raises(Unavailable, match="cannot be reached") as refused:
        greet(NatsOptions(url=f"nats://127.0.0.1:{free_port()}", connect_timeout=0.5))
    assert refused.value.details["retry_after_ms"] > 0
    assert type(refused.value) is Unavailable
    assert time.monotonic() - begin < 10


def test_one_of_several_servers_is_enough(serve: Any) -> None:
    server = serve()
    assert greet(NatsOptions(url=f"nats://127.0.0.1:{free_port()},{server.url}")) == "127.0.0.1"


@pytest.mark.parametrize(
    ("authorization", "right", "wrong"),
    [
        ('token: "s3cret-token"', {"token": "s3cret-token"}, {"token": "other"}),
        ('user: "u", password: "pa55word"', {"user": "u", "password": "pa55word"}, {"user": "u", "password": "x"}),
        ('token: "s3cret-token"', {"token": "s3cret-token"}, {}),
    ],
    ids=["token", "password", "without"],
)
def test_credentials(
    serve: Any, caplog: pytest.LogCaptureFixture, authorization: str, right: dict[str, str], wrong: dict[str, str]
) -> None:
    server = serve(f"authorization {{ {authorization} }}")
    with caplog.at_level(logging.DEBUG):
        assert greet(NatsOptions(url=server.url, **right)) == "127.0.0.1"
        with pytest.raises(AccessDenied, match="refuses these credentials") as refused:
            greet(NatsOptions(url=server.url, **wrong))
    assert not any(secret in caplog.text + str(refused.value) for secret in SECRETS)


def test_an_nkey(serve: Any, tmp_path: Path) -> None:
    seeds = [nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER) for _ in range(2)]
    server = serve(f"authorization {{ users: [ {{ nkey: {nkeys.from_seed(seeds[0]).public_key.decode()} }} ] }}")
    files = [tmp_path / f"{n}.nk" for n in range(2)]
    for file, seed in zip(files, seeds, strict=True):
        file.write_bytes(seed + b"\n")
    assert greet(NatsOptions(url=server.url, nkey_seed_file=str(files[0]))) == "127.0.0.1"
    with pytest.raises(AccessDenied):
        greet(NatsOptions(url=server.url, nkey_seed_file=str(files[1])))


@pytest.mark.parametrize("key", ["nkey_seed_file", "creds_file", "tls_ca"])
@pytest.mark.parametrize("content", [None, "no secret of that kind"])
def test_files_that_are_not_what_they_should_be(tmp_path: Path, key: str, content: str | None) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=re.escape(str(file))) as refused:
        greet(NatsOptions(url=f"nats://127.0.0.1:{free_port()}", **{key: str(file)}))
    assert refused.value.details["key"] == key


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that signs itself, and one of somebody else."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates of this test")
    folder = tmp_path_factory.mktemp("tls")
    for name in ("server", "other"):
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
        command += f" -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout {name}.key -out {name}.pem"
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return folder


def test_tls(serve: Any, certificates: Path) -> None:
    pem, key = certificates / "server.pem", certificates / "server.key"
    server = serve(f'tls {{ cert_file: "{pem}", key_file: "{key}", ca_file: "{pem}", verify: true }}')
    url = f"tls://localhost:{server.options.port}"
    known = NatsOptions(url=url, tls_ca=str(pem), tls_cert=str(pem), tls_key=str(key), connect_timeout=20)
    assert greet(known) == "localhost"
    other = certificates / "other.pem"
    for refused in (
        NatsOptions(url=url, tls_ca=str(other), tls_cert=str(pem), tls_key=str(key), connect_timeout=1),
        NatsOptions(url=url, tls_ca=str(pem), connect_timeout=1),
    ):
        with pytest.raises(HeadwaterError, match="cannot be reached"):
            greet(refused)


@pytest.mark.parametrize(
    ("sync", "monitor", "expected", "said"),
    [
        (True, False, True, None),
        (True, True, True, None),
        (False, True, False, "does not sync each write"),
        (False, False, None, "does not say whether it syncs"),
    ],
)
def test_whether_the_server_syncs(
    serve: Any, caplog: pytest.LogCaptureFixture, sync: bool, monitor: bool, expected: bool | None, said: str | None
) -> None:
    port = free_port() if monitor else 0
    server = serve(sync_always=sync, monitor_port=port)

    async def main() -> bool | None:
        api = JetStreamApi(NatsOptions(url=server.url, monitor_url=f"http://127.0.0.1:{port}" if monitor else ""))
        told = await syncs_always(api)
        warn_of_syncs(api, told)
        await api.close()
        return told

    assert asyncio.run(main()) is expected
    assert (said is None) == (caplog.text == "")
    assert said is None or said in caplog.text
