"""`/health/live`, `/health/ready` and `/metrics`."""

from __future__ import annotations

import msgspec
from litestar import Response, get

from headwater.http import verbs
from headwater.http.replies import Reply
from headwater.http.v1 import READER, HttpRequest


class HealthReply(Reply, kw_only=True, frozen=True):
    """The process answers; `position` is the log position that its state has reached."""

    status: str
    position: int | None = None


@get(["/health/live", "/api/health/live"], tags=["health"], summary="Whether the process answers", sync_to_thread=False)
def live() -> HealthReply:
    """Asks nothing of the engine."""
    return HealthReply(status="ok")


@get(["/health/ready", "/api/health/ready"], tags=["health"], summary="Whether the engine answers")
async def ready(request: HttpRequest) -> HealthReply:
    """503 until it does."""
    raw = await request.app.state.door.ask("ready", verbs.Nothing())
    return HealthReply(status="ok", position=msgspec.json.decode(raw)["position"])


_GAUGES = ("position", "users", "items", "log_bytes", "slates_not_recorded", "last_event_ts")


@get("/metrics", opt=READER, tags=["health"], summary="Prometheus metrics", media_type="text/plain")
async def metrics(request: HttpRequest) -> Response[str]:
    """Requests of all web workers, and the engine's own numbers."""
    status = msgspec.json.decode(await request.app.state.door.ask("status", verbs.Nothing()))
    engine = {f"headwater_{name}": status[name] for name in _GAUGES if status.get(name) is not None}
    body, media_type = request.app.state.metrics.page(engine)
    return Response(body, media_type=media_type)


HANDLERS = [live, ready, metrics]
