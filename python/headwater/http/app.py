"""The application: routes, roles, problems, and the intake in front of them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from typing import Any

from litestar import Litestar, Request, Response
from litestar.config.cors import CORSConfig
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler

from headwater.http import gorse, health, openapi, v1
from headwater.http.buckets import Buckets
from headwater.http.door import Door
from headwater.http.intake import App, Intake, Receive, Scope, Send
from headwater.http.keys import Caller, KeyRing
from headwater.http.live_page import routes
from headwater.http.metrics import Metrics, shared_file
from headwater.http.problems import MEDIA_TYPE, Refused
from headwater.http_config import HttpConfig

logger = logging.getLogger(__name__)

_CODES = {404: "not-found", 405: "wrong-method", 413: "too-large", 415: "wrong-media-type"}


def create_app(door: Door, config: HttpConfig, keys: KeyRing, stopping: asyncio.Event | None = None) -> App:
    """The ASGI application in front of a door. Streams end when `stopping` is set."""
    metrics = Metrics()
    documented = [*v1.HANDLERS, gorse.Gorse, *health.HANDLERS]
    inner = Litestar(
        route_handlers=[*documented, *openapi.HANDLERS, *routes.HANDLERS],
        guards=[check_role],
        exception_handlers={Refused: refused, HTTPException: framework_refused, Exception: failed},
        openapi_config=None,
        cors_config=_cors(config.cors_origins),
        request_max_body_size=None,  # the intake counts
        state=State(
            {
                "door": door,
                "config": config,
                "metrics": metrics,
                "keys_required": keys.required,
                "streams": 0,
                "documented": documented,
                "document": None,
                "stopping": stopping or asyncio.Event(),
            }
        ),
        logging_config=None,
        debug=False,
    )
    buckets = Buckets(config.rate_per_key, config.rate_burst, shared_file("buckets"))
    return Intake(_options_of(inner, config), keys, config, metrics, buckets)


def _options_of(inner: Litestar, config: HttpConfig) -> App:
    """OPTIONS with every method of the path; Litestar knows those of one handler. What a browser asks before it calls
    from another origin goes on to Litestar."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asks_first = config.cors_origins and any(name == b"origin" for name, _ in scope.get("headers", ()))
        methods = allowed_methods(inner, scope["path"]) if scope.get("method") == "OPTIONS" and not asks_first else None
        if not methods:
            await inner(scope, receive, send)  # type: ignore[arg-type]
            return
        headers = [(b"allow", ", ".join(sorted(methods)).encode())]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return app


def _cors(origins: Sequence[str]) -> CORSConfig | None:
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["content-type", "x-api-key", "authorization"],
        max_age=600,
    )


async def check_role(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The guard of every route: its `role` against the caller's. (Litestar runs a plain function on a thread.)"""
    needs = handler.opt.get("role")
    caller: Caller = connection.scope["state"]["caller"]
    if needs is not None and not caller.may(needs):
        raise Refused("forbidden", f"key {caller.name!r} is of role {caller.role}; this needs {needs}", needs=needs)


def problem(refused: Refused) -> Response[bytes]:
    """A problem as a response."""
    return Response(refused.body(), status_code=refused.status, media_type=MEDIA_TYPE, headers=refused.headers())


def refused(_: Request[Any, Any, Any], err: Refused) -> Response[bytes]:
    """What this package refuses."""
    return problem(err)


def framework_refused(request: Request[Any, Any, Any], err: HTTPException) -> Response[bytes]:
    """What Litestar refuses: no such route or method, a parameter that cannot be read."""
    code = _CODES.get(err.status_code, "bad-request" if err.status_code < 500 else "internal")
    members: dict[str, Any] = {}
    if code == "wrong-method":
        members["allow"] = sorted(allowed_methods(request.app, request.scope["path"]))
    extra = err.extra if isinstance(err.extra, list) else []
    if code == "bad-request" and any(isinstance(e, dict) and e.get("message") == "'data'" for e in extra):
        return problem(Refused("bad-json", "the body is empty"))
    told = "; ".join(f"{e.get('key', 'body')}: {e.get('message', '')}" for e in extra if isinstance(e, dict))
    return problem(Refused(code, (told or err.detail)[:500], **members))


def allowed_methods(app: Litestar, path: str) -> set[str]:
    """The methods that a path has, for the Allow header."""
    found: set[str] = set()
    for route in app.routes:
        methods: set[str] = getattr(route, "methods", set())
        if _matches(route.path_components, path):
            found |= set(methods)
    return found


def _matches(components: Sequence[Any], path: str) -> bool:
    parts = [part for part in path.split("/") if part]
    return len(parts) == len(components) and all(
        not isinstance(component, str) or component == part for component, part in zip(components, parts, strict=True)
    )


def failed(request: Request[Any, Any, Any], err: Exception) -> Response[bytes]:
    """What nobody expected."""
    incident = secrets.token_hex(8)
    logger.error("%s %s failed; incident %s", request.method, request.url.path, incident, exc_info=err)
    return problem(Refused("internal", "The server failed; its log says more.", instance=incident))
