"""`headwater bench http`: what HTTP adds to a question, at a rate that does not wait for answers (open loop).

The questions are due at fixed times whether or not earlier ones were answered, and a latency runs from when a question
was due, so that a slow moment is counted for every question that fell into it. The client is a process of its own with
raw sockets; the server is the command `headwater serve --http`. The embedded engine is asked the same questions at the
same rate from threads of this process, in turns with the server.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater.bench.latency.event_loop import new_event_loop
from headwater.engine import Engine
from headwater.errors import HeadwaterError, InvalidInput
from headwater.simulate import simulate_shop

if TYPE_CHECKING:
    from rich.table import Table

LEAST_QUESTIONS = 20
_CONNECTIONS = 32

Progress = Callable[[str], object]


def run_http(
    rate: float, seconds: float, events: int, workers: Sequence[int], starting: Progress = lambda what: None
) -> dict[str, Any]:
    """Figures of the embedded engine and of a server with each of these numbers of workers.

    Raises `InvalidInput` for so short a run that nothing can be said of it, `HeadwaterError` for a server that fails.
    """
    count = int(rate * seconds)
    if count < LEAST_QUESTIONS:
        rule = f"{LEAST_QUESTIONS} questions or more in all"
        raise InvalidInput(
            f"{rate:g}/s for {seconds:g} s are {count} questions; allowed: {rule}", field="rate", rule=rule
        )
    with tempfile.TemporaryDirectory(prefix="headwater-bench-") as place:
        directory = Path(place) / "shop"
        starting("a simulated shop")
        shop = simulate_shop(seed=1, events=events)
        directory.mkdir()
        (directory / "headwater.toml").write_text('[engine]\nclock = "log"\nrecord_slates = false\n')
        with Engine.open(directory) as engine:
            engine.put_items(shop.items)
            engine.ingest(shop.events, progress=False)
            engine.snapshot()
        users = [str(user) for user in shop.events["user"].unique(maintain_order=True)]
        asked = [users[n % len(users)] for n in range(count)]
        rows: list[dict[str, Any]] = []
        for processes in workers:
            starting(f"the embedded engine, {rate:g}/s")
            rows.append({"what": "embedded", **_embedded(directory, asked, rate)})
            starting(f"HTTP, {processes} workers, {rate:g}/s")
            rows.append({"what": f"HTTP, {processes} workers", **_served(directory, asked, rate, processes)})
    added = [after["p50_ms"] - before["p50_ms"] for before, after in zip(rows[::2], rows[1::2], strict=True)]
    return {"rate": rate, "seconds": seconds, "events": events, "rows": rows, "added_p50_ms": added}


def _figures(latencies: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(latencies, n=1000, method="inclusive")
    named = {"p50": cuts[499], "p90": cuts[899], "p99": cuts[989], "max": max(latencies)}
    return {"questions": len(latencies), **{f"{name}_ms": round(value * 1000, 3) for name, value in named.items()}}


def _embedded(directory: Path, asked: Sequence[str], rate: float) -> dict[str, float]:
    with Engine.open(directory) as engine, ThreadPoolExecutor(4) as pool:
        latencies: list[float] = []

        def ask(user: str, due: float) -> None:
            engine.recommend(user, 10)
            latencies.append(time.perf_counter() - due)

        for user in asked[:200]:
            engine.recommend(user, 10)
        start = time.perf_counter() + 0.05
        answers: list[Future[None]] = []
        for n, user in enumerate(asked):
            due = start + n / rate
            wait_until(due)
            answers.append(pool.submit(ask, user, due))
        for answer in answers:
            answer.result()  # raises what its question did: a failure is no fast answer
    return _figures(latencies)


def wait_until(due: float) -> None:
    """Sleep up to a time of `perf_counter`."""
    while (left := due - time.perf_counter()) > 0:
        time.sleep(left)


def _served(directory: Path, asked: Sequence[str], rate: float, workers: int) -> dict[str, float]:
    headwater = [sys.executable, "-c", "from headwater.cli import main; main()"]
    command = [*headwater, "serve", str(directory), "--http", "--port", "0", "--json", "--workers", str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                raise HeadwaterError("the server did not start")
            host, _, port = json.loads(line)["url"].removeprefix("http://").rpartition(":")
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                return _figures(runner.run(probe(host, int(port), asked, rate)))
        finally:
            server.terminate()


class _Connection(asyncio.Protocol):
    """One kept connection; one request at a time."""

    def __init__(self) -> None:
        self._parser: Any = None
        self._answered: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(HeadwaterError("the server closed a connection"))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        self._end(None if status == 200 else HeadwaterError(f"the server answered {status}"))

    def _end(self, err: HeadwaterError | None) -> None:
        if self._answered is not None and not self._answered.done():
            if err is None:
                self._answered.set_result(None)
            else:
                self._answered.set_exception(err)

    def ask(self, request: bytes) -> asyncio.Future[None]:
        import httptools

        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._answered = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            self._end(HeadwaterError("the server closed a connection"))
        else:
            self._transport.write(request)
        return self._answered

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _request(user: str) -> bytes:
    body = json.dumps({"user": user, "n": 10}).encode()
    head = (
        "POST /v1/recommend HTTP/1.1",
        "host: localhost",
        "content-type: application/json",
        f"content-length: {len(body)}",
    )
    return "\r\n".join((*head, "", "")).encode() + body


async def probe(host: str, port: int, asked: Sequence[str], rate: float) -> list[float]:
    """Latencies in seconds from when each question was due. Raises `HeadwaterError` as soon as one of them fails."""
    loop = asyncio.get_running_loop()
    requests = [_request(user) for user in asked]
    connections = await _connected(host, port, requests)
    free = deque(connections)
    latencies: list[float] = []
    waiting: deque[tuple[bytes, float]] = deque()
    done = loop.create_future()

    def answered(connection: _Connection, due: float, answer: asyncio.Future[None]) -> None:
        failure = answer.exception()
        if failure is not None:
            if not done.done():
                done.set_exception(failure)
            return  # a lost connection answers nothing any more: whoever waits for it would wait for ever
        latencies.append(time.perf_counter() - due)
        if waiting:
            put(connection, *waiting.popleft())
        else:
            free.append(connection)
        if len(latencies) == len(requests) and not done.done():
            done.set_result(None)

    def put(connection: _Connection, request: bytes, due: float) -> None:
        connection.ask(request).add_done_callback(partial(answered, connection, due))

    start = time.perf_counter() + 0.1
    for n, request in enumerate(requests):
        due = start + n / rate
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        if done.done():
            break
        if free:
            put(free.popleft(), request, due)
        else:
            waiting.append((request, due))
    try:
        await done
    finally:
        for connection in connections:
            connection.close()
    return latencies


async def _connected(host: str, port: int, requests: Sequence[bytes]) -> list[_Connection]:
    """Connections over all of which something was asked already."""
    loop = asyncio.get_running_loop()
    connections = [(await loop.create_connection(_Connection, host, port))[1] for _ in range(_CONNECTIONS)]
    for connection in connections:
        for request in requests[:30]:
            await connection.ask(request)
    return connections


def http_table(figures: dict[str, Any]) -> Table:
    """The rows for people."""
    from rich.table import Table

    table = Table("what", "p50", "p90", "p99", "max", title=f"recommend, n = 10, {figures['rate']:g}/s open loop, ms")
    for row in figures["rows"]:
        table.add_row(row["what"], *(f"{row[f'{name}_ms']:.3f}" for name in ("p50", "p90", "p99", "max")))
    table.caption = "HTTP adds to the median: " + ", ".join(f"{added:.3f} ms" for added in figures["added_p50_ms"])
    return table
