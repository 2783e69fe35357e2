"""The process of the HTTP gateway is looked after whatever becomes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headwater.cluster import gateway_process
from headwater.cluster.gateway_process import GatewayProcess


async def said(count: int) -> list[str]:
    """What is said of a gateway, until so much was."""
    lines: list[str] = []
    enough = asyncio.Event()

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == count:
            enough.set()

    running = asyncio.ensure_future(GatewayProcess(b"{}", say).run())
    try:
        await asyncio.wait(
            {running, waiting := asyncio.ensure_future(enough.wait())}, timeout=30, return_when="FIRST_COMPLETED"
        )
        waiting.cancel()
        assert not running.done(), "nobody looks after it any longer"
        assert enough.is_set()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return lines


def test_a_gateway_that_says_something_else_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_process, "_MODULE", "this")
    monkeypatch.setattr(gateway_process, "_AGAIN_SECONDS", 0.01)
    lines = asyncio.run(said(2))
    assert [line.startswith("http: the gateway does not start: it said b'The Zen") for line in lines] == [True, True]


def test_a_gateway_that_says_nothing_is_ended_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_process, "_MODULE", "json.tool")  # it waits for the end of what it is told
    monkeypatch.setattr(gateway_process, "_BEGIN_SECONDS", 0.05)
    monkeypatch.setattr(gateway_process, "_AGAIN_SECONDS", 0.01)
    lines = asyncio.run(said(2))
    assert lines == ["http: the gateway does not start: it said nothing within 0.05 s"] * 2


def test_a_gateway_that_cannot_be_run_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gateway_process.sys, "executable", str(tmp_path / "no-python"))
    monkeypatch.setattr(gateway_process, "_AGAIN_SECONDS", 0.01)
    lines = asyncio.run(said(2))
    assert all("does not start: [Errno 2]" in line for line in lines)
