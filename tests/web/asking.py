"""A gateway in this process, asked without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import httpx

from headwater import Engine
from headwater.config import Config
from headwater.http.app import create_app
from headwater.http.door import LocalDoor
from headwater.http.gorse_verbs import gorse_verbs
from headwater.http.keys import KeyRing
from headwater.http.live import Live
from headwater.http.live_page.looks import look_verbs
from headwater.http.verbs import Service
from headwater.http_config import HttpConfig

JSON = {"content-type": "application/json"}


class Gateway:
    """An engine behind the application; `get`, `post` and so on are synchronous."""

    def __init__(self, directory: Path | None = None, engine: Config | None = None, **config: Any) -> None:
        self.engine = Engine.open(":memory:", config=engine)
        self.config = HttpConfig(**config)
        live = Live()
        verbs = gorse_verbs(self.engine) | look_verbs(self.engine, live, self.engine.status()["path"])
        self.door = LocalDoor(Service(self.engine, live, verbs), threads=2, writers=2)
        self.app = create_app(self.door, self.config, KeyRing(directory))
        self._runner = asyncio.Runner()
        transport = httpx.ASGITransport(self.app)  # type: ignore[arg-type]
        self.client = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(coroutine)

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        response: httpx.Response = self.run(self.client.request(method, path, **more))
        return response

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> httpx.Response:
        return self.request("POST", path, json=body, **more)

    def ok(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON of an answer that must be 200."""
        response = (
            self.request(method, path, json=body, headers=headers)
            if body is not None
            else self.request(method, path, headers=headers)
        )
        assert response.status_code == 200, response.text
        return response.json()

    def close(self) -> None:
        self.run(self.client.aclose())
        self._runner.close()
        self.door.close()
        self.engine.close()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def problem(response: httpx.Response, code: str, status: int) -> dict[str, Any]:
    """The members of a problem, which must be of this kind."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    told: dict[str, Any] = response.json()
    assert (told["type"], response.status_code, told["status"]) == (f"/problems/{code}", status, status), told
    assert told["title"]
    assert told["detail"]
    return told
