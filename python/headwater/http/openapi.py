"""The OpenAPI document: Litestar's, with msgspec's own schemas and the problems that every route may answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.params import FromPath

from headwater.http import bodies, gorse_shapes, problems, replies

CONFIG = OpenAPIConfig(
    title="Headwater",
    version="1",
    summary="Real-time recommendations from one event log.",
    components=Components(
        security_schemes={"key": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header")}
    ),
)

_STRUCTS = [
    struct
    for module in (bodies, replies, gorse_shapes)
    for struct in vars(module).values()
    if isinstance(struct, type) and issubclass(struct, msgspec.Struct) and struct.__module__ == module.__name__
]
_EVERYWHERE = (400, 401, 403, 429, 500, 503)
_WITH_BODY = (408, 413, 415, 422)


def document(routes: Sequence[Any]) -> dict[str, Any]:
    """The document of these routes as plain data. Litestar is asked by an application that nobody serves: one that is
    served would show the document by itself, with pages that load scripts from elsewhere."""
    plain: dict[str, Any] = Litestar(routes, openapi_config=CONFIG, logging_config=None).openapi_schema.to_schema()
    _, schemas = msgspec.json.schema_components(
        [*_STRUCTS, problems.Problem], ref_template="#/components/schemas/{name}"
    )
    known = plain.setdefault("components", {}).setdefault("schemas", {})
    known |= {name: schema for name, schema in schemas.items() if name in known or name == "Problem"}
    _close(known, schemas)
    plain["paths"] = _any_of(plain["paths"])
    for path, operations in plain["paths"].items():
        for method, operation in operations.items():
            if isinstance(operation, dict) and "responses" in operation:
                _add_problems(path, method, operation)
    return plain


def _any_of(schema: Any) -> Any:
    """Litestar's unions are `oneOf`; but an empty list is a list of texts and one of objects, so `anyOf` is meant."""
    if isinstance(schema, dict):
        return {"anyOf" if name == "oneOf" else name: _any_of(value) for name, value in schema.items()}
    return [_any_of(value) for value in schema] if isinstance(schema, list) else schema


def _close(known: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Take in what the schemas refer to."""
    while missing := _referred(known, schemas):
        known |= {name: schemas[name] for name in missing}


def _referred(known: dict[str, Any], schemas: dict[str, Any]) -> list[str]:
    text = msgspec.json.encode(known).decode()
    return [name for name in schemas if name not in known and f'"#/components/schemas/{name}"' in text]


def _add_problems(path: str, method: str, operation: dict[str, Any]) -> None:
    """Every route's problems, and what it takes as a key."""
    statuses = set(_EVERYWHERE)
    if "requestBody" in operation:
        statuses |= set(_WITH_BODY)
        content = operation["requestBody"]["content"]
        content["application/msgpack"] = {"schema": content["application/json"]["schema"]}
    if "{" in path:
        statuses |= {404, 422}
    if path.startswith(("/v1", "/api/")):
        statuses |= {404, 409, 422}
    if method in ("post", "put", "patch", "delete"):
        statuses.add(507)
    if not path.startswith(("/health", "/api/health", "/problems")):
        operation["security"] = [{"key": []}]
    for status in sorted(statuses):
        titles = "; ".join(kind.title for kind in problems.KINDS.values() if kind.status == status)
        operation["responses"][str(status)] = {
            "description": titles,
            "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }


@get("/openapi.json", include_in_schema=False, opt={"role": "reader"}, sync_to_thread=False)
def openapi_json(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The document, made when it is first asked for."""
    state = request.app.state
    if state.document is None:
        state.document = msgspec.json.encode(document(state.documented))
    return Response(state.document, media_type="application/json")


@get("/problems/{code:str}", include_in_schema=False, sync_to_thread=False)
def problem_page(code: FromPath[str]) -> Response[str]:
    """What a kind of problem means, for who follows its `type`."""
    kind = problems.KINDS.get(code)
    if kind is None:
        allowed = ", ".join(problems.KINDS)
        raise problems.Refused("not-found", f"There is no problem {code[:80]!r}; allowed: {allowed}")
    return Response(f"{code} ({kind.status})\n{kind.title}.\n{kind.advice}\n", media_type="text/plain")


HANDLERS = [openapi_json, problem_page]
