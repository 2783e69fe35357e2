"""`headwater bench latency` on a cluster: a real nats-server, a real engine behind it, and what can go wrong."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headwater.bench.latency.nats_options import loopback_address
from headwater.errors import InvalidInput
from unit.bench.latency.load import COMMAND, free_port, load_process, run, shop_in, until, wait_for_answers

RESPONDER = Path(__file__).with_name("responder.py")
SERVER = Path(sys.executable).with_name("nats-server")


@contextmanager
def server() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    command = [str(SERVER), "-a", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(lambda: accepts(port), "no nats-server")
        yield f"nats://127.0.0.1:{port}", process
        process.kill()


def accepts(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def cluster(url: str, directory: Path, delay_ms: float = 0) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, str(RESPONDER), url, str(directory), str(delay_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop_in(tmp_path_factory.mktemp("nats"))


@pytest.fixture
def directory(shop: Path, tmp_path: Path) -> Path:
    return shutil.copytree(shop, tmp_path / "shop")


MIX = "recommend=0.6,similar=0.2,track=0.2"


@pytest.mark.e2e
def test_a_cluster_beside_its_floors_and_one_that_stops_answering(directory: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    with server() as (url, nats), cluster(url, directory) as hosts:
        shape = ("--target", url, "--population", directory, "--mix", MIX)
        done = run(*shape, "--rate", "100", "--duration", "2", "--probes", "20", "--json")
        assert done.returncode == 0, done.stderr
        out.write_text(done.stdout)
        found = json.loads(done.stdout)
        # What went by between the hosts is what the no-op scatter imitates.
        seen = found["facts"]["shape"]
        assert (seen["legs"], seen["leg_request"], seen["leg_reply"], seen["seen"]) == (1, 700, 3000, True)
        assert seen["replies"]["recommend"] > 500
        [at] = found["rates"]
        assert set(at["floors"]) == {"echo", "no-op scatter"}
        for subject in (at["target"], *at["floors"].values()):
            assert subject["all"]["answered"] == subject["all"]["latency"]["count"] > 100
        assert at["ratio"]["echo"]["recommend"]["p50"] > 1
        assert at["floors"]["no-op scatter"]["verbs"]["recommend"]["latency"]["ms"]["p50"] > 0
        assert at["freshness"]["never"] == 0
        assert at["freshness"]["latency"]["count"] == 40
        assert {"generator", "hosts", "nats-server"} <= set(at["cpu"])

        # One that answers nothing any more gives no percentiles, and an exit code.
        arguments = [*map(str, shape), "--rate", "40", "--duration", "60", "--no-floors", "--probes", "0"]
        with subprocess.Popen(
            [*COMMAND, *arguments, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as command:
            wait_for_answers(load_process(command.pid, "nats_load"), 110)
            nats.kill()
            text, said = command.communicate(timeout=60)
        assert command.returncode == 1
        partial = json.loads(text)
        assert not partial["complete"]
        assert partial["rates"][0]["partial"]
        assert "connection was lost" in partial["ended"]
        assert "partial" in said
        hosts.send_signal(signal.SIGKILL)


@pytest.mark.e2e
def test_slow_answers_are_seen_and_a_stopped_host_is_no_better_number(directory: Path) -> None:
    with server() as (url, _), cluster(url, directory, delay_ms=50) as hosts:
        shape = ("--target", url, "--population", directory, "--mix", "recommend=1", "--no-floors", "--rate", "40")
        slow = json.loads(run(*shape, "--duration", "1", "--json").stdout)
        assert slow["rates"][0]["target"]["all"]["latency"]["ms"]["p50"] >= 50
        hosts.send_signal(signal.SIGKILL)
        hosts.wait()
        gone = run(*shape, "--duration", "2", "--json")
        assert gone.returncode == 1
        assert "nobody answers hw.default.recommend" in gone.stderr


@pytest.mark.e2e
def test_what_cannot_be_reached_is_named(directory: Path) -> None:
    refused = run("--target", f"nats://127.0.0.1:{free_port()}", "--population", directory)
    assert refused.returncode == 1
    assert "no connection to a NATS server" in refused.stderr
    elsewhere = run("--target", "nats://192.0.2.1:4222")
    assert elsewhere.returncode == 2
    assert "allowed: nats://127.0.0.1:PORT" in elsewhere.stderr


@pytest.mark.parametrize(
    "url", ["nats://example.org", "http://127.0.0.1", "nats://", "nats://127.0.0.1:x", "nats://0.0.0.0"]
)
def test_only_this_machine_is_loaded(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"allowed: nats://127\.0\.0\.1:PORT"):
        loopback_address(url)


def test_credentials_are_not_shown() -> None:
    address = loopback_address("nats://ann:secret@127.0.0.1:4333")
    assert address.shown == "nats://127.0.0.1:4333"
    assert address.port == 4333
    assert loopback_address("nats://token@[::1]").shown == "nats://[::1]:4222"
    with pytest.raises(InvalidInput) as refused:
        loopback_address("nats://ann:secret@example.org")
    assert "secret" not in str(refused.value)
