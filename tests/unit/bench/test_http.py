"""`headwater bench http` asks a real server, at the rate that it says."""

import asyncio
import json

import pytest
from click.testing import CliRunner

from headwater.bench.http_bench import http_table, probe
from headwater.cli import main
from headwater.errors import HeadwaterError


def test_every_question_is_asked_and_counted() -> None:
    options = ["--rate", "50", "--seconds", "1", "--events", "2000", "--workers", "1", "--json"]
    done = CliRunner().invoke(main, ["bench", "http", *options])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert [row["what"] for row in figures["rows"]] == ["embedded", "HTTP, 1 workers"]
    for row in figures["rows"]:
        assert row["questions"] == 50
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["max_ms"]
    assert len(figures["added_p50_ms"]) == 1
    assert len(http_table(figures).rows) == 2


def test_a_run_that_asks_next_to_nothing_is_refused() -> None:
    done = CliRunner().invoke(main, ["bench", "http", "--rate", "1", "--seconds", "0.5"])
    assert done.exit_code == 2
    assert "1/s for 0.5 s are 0 questions; allowed: 20 questions or more" in done.stderr


def test_a_server_that_hangs_up_ends_the_run() -> None:
    """It answers the questions that warm it up and closes each connection at the next one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(30):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.rpartition(b"content-length: ")[2]))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await reader.read(1)
        writer.close()

    async def asked() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await asyncio.wait_for(probe("127.0.0.1", port, ["ann"] * 40, 1000), 20)

    with pytest.raises(HeadwaterError, match="closed a connection"):
        asyncio.run(asked())
