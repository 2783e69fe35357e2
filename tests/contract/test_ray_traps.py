"""What Ray and NATS do that a cluster must not fall for: each trap shown, then what this project does instead."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster_rig import wait_for
from headwater.actors.ray_runtime import RayRuntime, end_head, start_head
from headwater.events.nats_options import NatsOptions, connect
from headwater.events.nats_server import NatsServer, free_port
from nats_server import server_options


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address and directory of a head."""
    directory = tmp_path_factory.mktemp("ray")
    yield start_head(directory, free_port()), directory
    end_head(directory)


def script(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the script ended without a word"
    return line.strip()


def gone(pid: int) -> bool | None:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE or None
    except psutil.NoSuchProcess:
        return True


ALONE = """
import os, time
os.environ["RAY_AUTH_MODE"] = "disabled"
import ray
class Host:
    def pid(self): return os.getpid()
ray.init(namespace="x", num_cpus=1, include_dashboard=False, log_to_driver=False)
host = ray.remote(Host).options(name="h", lifetime="detached", max_restarts=-1, num_cpus=0.01).remote()
print(ray.get(host.pid.remote()), flush=True)
time.sleep(600)
"""

JOINED = """
import time
from pathlib import Path
from headwater.actors.ray_runtime import RayRuntime
runtime = RayRuntime({address!r}, "traps", Path({directory!r}))
print(runtime.place("h", "time:sleep", 600, {{}}), flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_a_driver_that_brought_ray_along_takes_detached_actors_with_it() -> None:
    driver = script(ALONE)
    actor = int(first_line(driver))
    driver.kill()
    driver.communicate()
    wait_for("the detached actor is gone, too", lambda: gone(actor))


@pytest.mark.slow
def test_hosts_outlive_the_driver_that_placed_them(head: tuple[str, Path]) -> None:
    driver = script(JOINED.format(address=head[0], directory=str(head[1])))
    actor = int(first_line(driver))
    driver.kill()
    driver.communicate()
    runtime = RayRuntime(head[0], "traps", head[1])
    try:
        assert runtime.names() == ["h"]
        assert gone(actor) is None
        os.kill(actor, signal.SIGKILL)
        wait_for("the killed process is gone", lambda: gone(actor))
        assert runtime.names() == ["h"]  # Ray starts it again, with nobody looking
        assert runtime.remove("h")
    finally:
        runtime.leave()


@pytest.mark.slow
def test_an_exception_in_a_constructor_is_final_and_hosts_raise_none(head: tuple[str, Path]) -> None:
    runtime = RayRuntime(head[0], "traps", head[1])
    import ray

    class Raises:
        def __init__(self) -> None:
            raise ValueError("as a host without its log would")

        def pid(self) -> int:
            return os.getpid()

    try:
        actor = ray.remote(Raises).options(max_restarts=-1, num_cpus=0.01).remote()
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(actor.pid.remote(), timeout=60)
        # The same failure inside a host's thread ends the process, and Ray starts the actor again.
        failed = runtime.place("sad", "os:strerror", b"not a number", {})
        wait_for("the failed host's process is gone", lambda: gone(failed))
        assert runtime.names() == ["sad"]
        placed = ray.get_actor("sad", namespace="headwater-traps")
        assert ray.get(placed.process.remote(), timeout=60) != failed
    finally:
        runtime.remove("sad")
        runtime.leave()


MEMBER = """
import asyncio
from headwater.events.nats_options import NatsOptions, connect
async def main():
    nc = await connect(NatsOptions(url={url!r}))
    async def answer(message): await message.respond(b"here")
    await nc.subscribe("trap", queue="group", cb=answer)
    await nc.flush()
    print("listens", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def test_a_stopped_member_of_a_queue_group_swallows_requests(tmp_path: Path) -> None:
    """Why no owner answers through a queue group, and why plain requests are heard by every host."""

    async def unanswered(url: str) -> int:
        nc = await connect(NatsOptions(url=url))
        lost = 0
        for _ in range(40):
            try:
                await nc.request("trap", b"", timeout=0.05)
            except TimeoutError:
                lost += 1
        await nc.close()
        return lost

    with NatsServer(server_options(tmp_path / "nats")) as server:
        members = [script(MEMBER.format(url=server.url)) for _ in range(2)]
        try:
            for member in members:
                assert first_line(member) == "listens"
            members[0].send_signal(signal.SIGSTOP)
            assert asyncio.run(unanswered(server.url)) > 5
        finally:
            for member in members:
                member.kill()
                member.communicate()
