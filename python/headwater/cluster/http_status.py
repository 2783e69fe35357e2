"""Health, readiness and metrics of a host over HTTP, on the loopback address.

GET /healthz   200 while the process answers        GET /readyz   200 when it answers visitors, else 503
GET /metrics   Prometheus
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.cluster.host import Host

_MAX_REQUEST = 8192
_SECONDS = 5.0


class HttpStatus:
    """A server for three paths. One request a connection."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._server: asyncio.Server | None = None
        self.url: str | None = None

    async def start(self, port: int) -> None:
        """Listen; port 0 takes a free one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=_MAX_REQUEST)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _SECONDS)
            status, kind, body = self._answer(head.split(b" ", 2))
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode()
                + body
            )
            await asyncio.wait_for(writer.drain(), _SECONDS)
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # a client that does not ask, or does not wait
        finally:
            writer.close()

    def _answer(self, line: list[bytes]) -> tuple[str, str, bytes]:
        host = self._host
        path = line[1].split(b"?")[0] if len(line) > 2 and line[0] == b"GET" else b""
        if path == b"/metrics":
            return "200 OK", "text/plain; version=0.0.4; charset=utf-8", host.metrics.text()
        told = {"host": host.spec.name, "phase": host.phase, "position": host.state.position, "message": host.message}
        if path == b"/healthz":
            return "200 OK", "application/json", json.dumps(told).encode()
        if path == b"/readyz":
            status = "200 OK" if host.phase == "ready" else "503 Service Unavailable"
            return status, "application/json", json.dumps(told).encode()
        return "404 Not Found", "application/json", b'{"error": "allowed: GET /healthz, /readyz, /metrics"}'
