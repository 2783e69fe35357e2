"""`headwater serve --http` as a process: slow and broken clients, its end, and several workers before one engine."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from click.testing import CliRunner, Result

from headwater import Engine
from headwater.cli import main
from web.asking import problem
from web.serving import Served

pytestmark = pytest.mark.e2e

VIEW = {"type": "view", "user": "bob", "item": "sku1"}


def configured(directory: Path, **http: Any) -> Path:
    """A directory whose `[http]` says so."""
    directory.mkdir()
    lines = [f"{key} = {json.dumps(value)}" for key, value in http.items()]
    (directory / "headwater.toml").write_text("[http]\n" + "\n".join(lines) + "\n")
    return directory


def eventually(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("impatient") / "shop"
    with Served(configured(place, header_timeout_s=0.5, body_timeout_s=0.5, max_connections=8)) as served:
        yield served


def said(served: Served, *pieces: bytes) -> bytes:
    """What the server says to these bytes until it closes the connection."""
    with socket.create_connection(served.address, timeout=20) as connection:
        told = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # it was closed while we spoke
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.01)  # so that they arrive one by one
        with contextlib.suppress(ConnectionResetError):
            while got := connection.recv(65536):
                told += got
    return told


def head(length: int) -> bytes:
    lines = ["POST /v1/track HTTP/1.1", "host: localhost", "content-type: application/json", "connection: close"]
    return "\r\n".join([*lines, f"content-length: {length}", "", ""]).encode()


def test_a_head_that_does_not_end_is_not_waited_for(impatient: Served) -> None:
    assert said(impatient) == b"", "a connection that says nothing"
    assert said(impatient, b"POST /v1/track HTT") == b""
    # A further request of a connection that was kept has no more time than the first.
    whole = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
    for pieces in ((whole, b"GET /health/live HTTP/1.1\r\nx: "), (whole + b"GET /health/live HTTP/1.1\r\nx: ",)):
        assert said(impatient, *pieces).count(b"HTTP/1.1 200") == 1


def test_a_head_without_end_is_cut_off(impatient: Served) -> None:
    for endless in (b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ", b"GET /?"):
        told = said(impatient, endless, *[b"a" * 10_000] * 12)
        assert told.startswith(b"HTTP/1.1 431")
        assert json.loads(told.partition(b"\r\n\r\n")[2])["type"] == "/problems/head-too-large"


def test_a_slow_body_is_refused_and_nothing_is_written(impatient: Served) -> None:
    told = said(impatient, head(70), json.dumps(VIEW).encode()[:30])
    assert told.startswith(b"HTTP/1.1 408")
    assert json.loads(told.partition(b"\r\n\r\n")[2])["type"] == "/problems/body-timeout"
    with httpx.Client(base_url=impatient.url) as client:
        assert client.get("/v1/users/bob").status_code == 404


def test_what_is_no_http_is_told_so(impatient: Served) -> None:
    told = said(impatient, b"\x16\x03\x01 hello\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 400")
    assert b"application/problem+json" in told


def test_connections_are_bounded(impatient: Served) -> None:
    def first(connection: socket.socket) -> bytes:
        with contextlib.suppress(ConnectionResetError):
            return connection.recv(4096)
        return b""

    def turned_away() -> bool:
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(socket.create_connection(impatient.address, timeout=20)) for _ in range(20)]
            return any(first(connection).startswith(b"HTTP/1.1 503") for connection in reversed(opened))

    # Those that say nothing are let go after half a second: a machine that is slow may open them one after the other.
    eventually(turned_away, "nobody was turned away")
    with httpx.Client(base_url=impatient.url, timeout=20) as client:

        def answers() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return client.get("/health/live").status_code == 200
            return False

        eventually(answers, "the server did not recover")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_what_was_acknowledged_outlives_the_server(tmp_path: Path, how: signal.Signals) -> None:
    with Served(tmp_path / "shop") as served:
        with httpx.Client(base_url=served.url, timeout=30) as client, client.stream("GET", "/live/stream") as stream:
            assert next(stream.iter_lines())
            for n in range(20):
                assert client.post("/v1/track", json=VIEW | {"item": f"sku{n}"}).status_code == 200
            status = served.stop(how)
        assert status == (-9 if how == signal.SIGKILL else 0), served.stderr
        assert "Traceback" not in served.stderr
    with Engine.open(tmp_path / "shop") as engine:
        assert engine.session_of("bob").state.events == 20
        assert engine.verify().equal


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_a_directory_that_nobody_made_is_not_served(tmp_path: Path) -> None:
    refused = run("serve", str(tmp_path / "absent"), "--http", "--port", "0")
    assert refused.exit_code == 2
    assert f"`headwater init {tmp_path / 'absent'}` makes it" in refused.stderr
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_served_is_said(tmp_path: Path) -> None:
    for name in ("shop", "other"):
        assert run("init", str(tmp_path / name)).exit_code == 0
    shop = str(tmp_path / "shop")
    open_to_all = run("serve", shop, "--http", "--host", "0.0.0.0", "--port", "0")
    assert open_to_all.exit_code == 2
    assert "headwater key add" in open_to_all.stderr
    assert run("serve", shop).exit_code == 2
    with Served(tmp_path / "shop") as served:
        taken = run("serve", str(tmp_path / "other"), "--http", "--port", str(served.address[1]))
        assert taken.exit_code == 2
        assert "free port" in taken.stderr
        locked = run("serve", shop, "--http", "--port", "0")
        assert locked.exit_code == 1
        assert f"written by process {served.process.pid}" in locked.stderr


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        (("--embedded-nats", "--https-cert", "c.pem", "--https-key", "k.pem"), "--https-cert"),
        (("--url", "nats://127.0.0.1:4", "--workers", "2"), "--workers"),
        (("--embedded-nats", "--http-port", "0"), "--http-port"),
        (("--http", "--http-port", "0"), "--http-port"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(asked: tuple[str, ...], option: str, tmp_path: Path) -> None:
    refused = run("serve", str(tmp_path / "shop"), *asked)
    assert refused.exit_code == 2, refused.stderr
    assert f"{option} does nothing without" in refused.stderr
    assert not (tmp_path / "shop").exists()


def test_https_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    key, cert = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    made = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    named = (
        "-keyout",
        key,
        "-out",
        cert,
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    )
    subprocess.run((*made, *named), check=True, capture_output=True)
    shop = str(tmp_path / "shop")
    assert run("init", shop).exit_code == 0
    for files, told in (
        (("--https-cert", cert), "http.tls_key = ''"),
        (("--https-key", key), "http.tls_cert = ''"),
        (("--https-cert", key, "--https-key", key), "a PEM certificate and its key"),
        (("--https-cert", str(tmp_path / "none"), "--https-key", key), "a PEM certificate and its key"),
    ):
        refused = run("serve", shop, "--http", "--port", "0", *files)
        assert refused.exit_code == 2, refused.stderr
        assert told in refused.stderr
    with Served(tmp_path / "shop", "--https-cert", cert, "--https-key", key) as served:
        assert served.url.startswith("https://")
        trusting = ssl.create_default_context(cafile=cert)
        with httpx.Client(base_url=served.url, verify=trusting, timeout=20) as client:
            assert client.post("/v1/track", json=VIEW).status_code == 200
            assert client.get("/v1/users/bob").json()["events"] == 1
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            httpx.get(f"{served.url}/health/live")
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http{served.url.removeprefix('https')}/health/live")


def test_keys_are_made_listed_and_taken_away(tmp_path: Path) -> None:
    made = run("key", "add", str(tmp_path), "php", "--role", "writer", "--json")
    key = json.loads(made.stdout)["key"]
    assert run("key", "list", str(tmp_path)).stdout.split() == ["php", "writer"]
    assert run("key", "add", str(tmp_path), "php").exit_code == 2
    with Served(tmp_path) as served, httpx.Client(base_url=served.url, timeout=30) as client:
        assert served.facts["keys"] == "required"
        assert client.post("/v1/track", json=VIEW).status_code == 401
        assert client.post("/v1/track", json=VIEW, headers={"x-api-key": key}).status_code == 200
        assert run("key", "remove", str(tmp_path), "php").exit_code == 0
        refused = lambda: client.post("/v1/track", json=VIEW, headers={"x-api-key": key}).status_code == 401  # noqa: E731
        eventually(refused, "a key that was taken away still holds")
    assert key not in served.stderr


def test_several_workers_share_one_engine(tmp_path: Path) -> None:
    with Served(configured(tmp_path / "shop", workers=2, rate_per_key=0.001, rate_burst=60)) as served:
        parent = psutil.Process(served.process.pid)

        def workers() -> list[psutil.Process]:
            found = []
            for child in parent.children():
                with contextlib.suppress(psutil.NoSuchProcess):  # a zombie, too
                    found += [child] if "headwater.http.workers" in " ".join(child.cmdline()) else []
            return found

        eventually(lambda: len(workers()) == 2, "two workers")

        def ask(method: str, path: str, body: Any = None) -> httpx.Response:
            """On a connection of its own, so that any worker may take it."""
            with httpx.Client(base_url=served.url, timeout=30) as client:
                return client.request(method, path, json=body)

        def answers() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return ask("GET", "/health/ready").status_code == 200
            return False

        eventually(answers, "ready")
        for n in range(10):
            written = ask("POST", "/v1/track", VIEW | {"item": f"sku{n}"})
            assert written.status_code == 200
            seen = ask("POST", "/v1/rank", {"user": "bob", "items": ["sku1"], "after": written.json()["position"]})
            assert seen.status_code == 200, "what one worker wrote the other sees"
        slate = ask("POST", "/v1/recommend", {"user": "bob"}).json()
        assert ask("POST", "/v1/explain", {"slate": slate["slate"], "item": "sku1"}).status_code == 200
        refused = ask("POST", "/v1/recommend", {"user": "bob", "filter": "prise <"})
        assert refused.json()["type"] == "/problems/invalid-query"
        assert ask("POST", "/v1/recommend", {"user": "bob", "n": 10**6}).status_code == 422
        tracked = [
            line
            for line in ask("GET", "/metrics").text.splitlines()
            if 'route="/v1/track"' in line and "_total" in line
        ]
        assert sum(float(line.split()[-1]) for line in tracked) == 10, "the numbers of both workers"

        # What a worker makes of an address or of gorse's rows may break a bound of the body that it becomes.
        for method, path, body in (
            ("GET", "/api/recommend/%00", None),
            ("GET", f"/api/recommend/{'u' * 513}", None),
            ("POST", "/api/item", {"ItemId": "a", "Categories": [""]}),
            ("POST", "/v1/track", VIEW | {"context": {"n": 1 << 64}}),
        ):
            problem(ask(method, path, body), "invalid-body", 422)
        assert ask("GET", "/health/ready").status_code == 200, "neither worker nor engine has gone"

        def status_elsewhere() -> int:
            transport = httpx.HTTPTransport(local_address="127.0.0.2")
            with httpx.Client(base_url=served.url, transport=transport) as client:
                return client.get("/v1/users/bob").status_code

        asked = [status_elsewhere() for _ in range(63)]
        assert asked == [200] * 60 + [429] * 3, "both workers count the same requests"

        gone = workers()[0]
        gone.kill()
        eventually(lambda: len(workers()) == 2 and gone.pid not in [w.pid for w in workers()], "another worker")
        eventually(answers, "ready again")
        assert ask("GET", "/v1/users/bob").json()["events"] == 10
        served.process.kill()
        served.process.wait()
    eventually(lambda: not list(_workers_of(tmp_path)), "workers end with their engine")


def _workers_of(place: Path) -> Iterator[int]:
    for process in psutil.process_iter(["pid", "cmdline"]):
        if str(place) in " ".join(process.info["cmdline"] or []):
            yield process.info["pid"]
