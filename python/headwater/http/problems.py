"""Errors over HTTP: RFC 9457 problem details, each kind with a stable `type` and a page that says what to do.

`type` is the relative reference `/problems/CODE`, which this server answers, so it can be read where it was met. What
an engine raises keeps its code; its details (`field`, `value`, `rule`, ...) become members of the problem.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from headwater import errors

MEDIA_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """One kind of problem."""

    status: int
    title: str
    advice: str


KINDS: dict[str, Kind] = {
    "bad-request": Kind(400, "The request cannot be read", "Correct the request line, path or query."),
    "bad-json": Kind(400, "The body cannot be decoded", "Send sound JSON or MessagePack, in UTF-8."),
    "missing-key": Kind(401, "An API key is needed", "Send it as X-API-Key, or as Authorization: Bearer KEY."),
    "wrong-key": Kind(
        401, "The API key is not known", "Check the key; `headwater key list DIR` names those that hold."
    ),
    "forbidden": Kind(403, "The key's role does not allow this", "Use a key of the role that `needs` names."),
    "wrong-host": Kind(
        403,
        "This server has no keys and answers only under its own names",
        "Call it by a loopback name, name the host in http.hosts, or make keys.",
    ),
    "not-found": Kind(404, "There is nothing at this address", "See /openapi.json for the addresses there are."),
    "unknown-item": Kind(404, "No event or put ever named the item", "Check the id; put the item first."),
    "unknown-user": Kind(404, "The user has no state", "No event named them, or they were forgotten."),
    "unknown-slate": Kind(404, "The slate is neither remembered nor recorded", "Ask with record, or soon."),
    "wrong-method": Kind(405, "The method is not allowed here", "See the Allow header."),
    "body-timeout": Kind(408, "The body did not arrive in time", "Send it faster; see http.body_timeout_s."),
    "not-ready": Kind(409, "The state has not reached the position in `after`", "Ask again, or check the position."),
    "merge-conflict": Kind(
        409, "The users cannot be merged", "See `detail`: into oneself, into a forgotten user, or merged elsewhere."
    ),
    "too-large": Kind(413, "The body is too large", "Send less at once; see http.max_body_kib and http.max_batch."),
    "wrong-media-type": Kind(
        415, "The body's media type is not understood", "Send application/json or application/msgpack."
    ),
    "invalid-body": Kind(422, "The body breaks its schema", "Correct what `at` names; see /openapi.json."),
    "invalid-event": Kind(422, "The event breaks a rule", "Correct the field; nothing was written."),
    "invalid-query": Kind(422, "The question breaks a rule", "Correct the field."),
    "invalid-input": Kind(422, "A value breaks a rule", "Correct the value; nothing was changed."),
    "rate-limited": Kind(429, "Too many requests with this key", "Wait for Retry-After seconds."),
    "head-too-large": Kind(431, "The request's head is too large", "Send shorter headers or a shorter address."),
    "internal": Kind(500, "The server failed", "Its log says more under the id in `instance`."),
    "store-error": Kind(500, "The store cannot be used as it is", "The operator finds the cause in the server's log."),
    "not-supported": Kind(501, "This part of gorse's interface is not there", "See the guide on moving from gorse."),
    "not-on-cluster": Kind(
        501, "A cluster does not answer this over HTTP", "`detail` names the command that answers it from the log."
    ),
    "unavailable": Kind(503, "Nobody answers for this now", "Wait for Retry-After seconds; a host is started again."),
    "recovering": Kind(503, "The host rebuilds its state", "Wait for Retry-After seconds."),
    "other-version": Kind(
        503, "Hosts of the cluster run different versions", "The operator starts them again with the same version."
    ),
    "access-denied": Kind(
        503, "The gateway may not ask this of the cluster", "The operator gives its NATS user the role `gateway`."
    ),
    "deadline-exceeded": Kind(
        504, "The cluster did not answer in time", "A write may be kept: send it again with the same event_id."
    ),
    "overloaded": Kind(503, "Too many requests are in progress", "Wait for Retry-After seconds."),
    "store-closed": Kind(503, "The engine is closed or stopping", "Ask again in a moment."),
    "store-full": Kind(507, "The disk is full", "Nothing of the write was kept; send it again once there is space."),
}

_RETRY_AFTER = {
    "unavailable": 1,
    "recovering": 1,
    "deadline-exceeded": 1,
    "rate-limited": 1,
    "overloaded": 1,
    "store-closed": 2,
    "store-full": 30,
    "not-ready": 1,
}


class Problem(msgspec.Struct, frozen=True):
    """What the body of every error holds beside members of its own kind (RFC 9457)."""

    type: str
    """`/problems/CODE`, stable."""
    title: str
    status: int
    detail: str
    """What was wrong this time, with the value and what is allowed."""


class Refused(Exception):
    """A request that is answered with a problem. Raised anywhere between the socket and the engine."""

    def __init__(self, code: str, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.members = members

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.code].status

    def body(self) -> bytes:
        """The problem as JSON."""
        kind = KINDS[self.code]
        named = {"type": f"/problems/{self.code}", "title": kind.title, "status": kind.status, "detail": self.detail}
        return msgspec.json.encode(named | {k: v for k, v in self.members.items() if k not in named})

    def headers(self) -> dict[str, str]:
        """Headers that belong to the problem beside its media type."""
        headers = {"cache-control": "no-store"}
        wait = self.members.get("retry_after", _RETRY_AFTER.get(self.code))
        if wait is not None:
            headers["retry-after"] = str(wait)
        if self.status == 401:
            # Basic, too: a browser asks for the live page's key as a password.
            headers["www-authenticate"] = 'Basic realm="headwater", charset="UTF-8"'
        if "allow" in self.members:
            headers["allow"] = ", ".join(self.members["allow"])
        return headers


def invalid_body(err: msgspec.ValidationError) -> Refused:
    """A body that breaks its schema, with the place in it."""
    what, _, at = str(err).partition(" - at ")
    return Refused("invalid-body", str(err)[:500], at=at.strip("`") or "$", rule=what[:300])


def refusal(err: errors.HeadwaterError) -> Refused:
    """An engine's error as a problem. Paths of the server's disk are left out."""
    code = err.code
    if code not in KINDS:
        code = "invalid-input" if isinstance(err, errors.InvalidInput) else "store-error"
    if KINDS[code].status == 500:
        return Refused(code, KINDS[code].title)  # the message names files; the log has it
    members = {name: _plain(value) for name, value in err.details.items() if name not in ("path", "retry_after")}
    if "retry_after_ms" in err.details:
        members["retry_after"] = max(1, -(-int(err.details["retry_after_ms"] or 0) // 1000))
    return Refused(code, err.message, **members)


def _plain(value: object) -> object:
    """A detail as JSON can hold it, of bounded length."""
    if isinstance(value, str):
        return value[:200]
    if value is None or isinstance(value, bool | int | float):
        return value
    return repr(value)[:200]
