"""The least that each kind of user needs, as a nats-server configuration.

Every role may only publish what it has to send and only hear its own inbox, so that nobody reads another's answers.
Nobody but hosts writes the log, nobody but the server sends its tail, and nobody at all may delete it. Passwords are
read from the environment of nats-server; nkeys or an account's JWTs take their place by editing two lines a user.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

from headwater.cluster.accounts import OF_ACCOUNT
from headwater.events.jetstream_stream import place_of
from headwater.protocol import check_namespace

Role = Literal["producer", "reader", "operator", "auditor", "gateway", "host", "serve"]
ROLES: tuple[Role, ...] = get_args(Role)

WRITES = ("track", "seen", "forget", "merge", "user", "item", "patch_item", "delete_item")
READS = ("recommend", "session", "rank", "similar", "trending", "session_of", "variant_of", "item_of", "explain")
_BETWEEN = ("candidates", "similar", "trending", "items", "live", "identities", "forgotten", *OF_ACCOUNT)
LOOKS = ("status", "stats", "digest", "snapshot", "stop")


class Permissions(NamedTuple):
    """What a role may publish and subscribe; `answers`: also to whom it was asked by."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    answers: bool = False


def inbox_prefix(namespace: str, role: Role) -> str:
    """`NatsOptions.inbox_prefix` of a role: where it awaits answers."""
    return f"_INBOX_hw_{namespace}_{role}"


def permissions(namespace: str, generation: str, role: Role) -> Permissions:
    """The permissions of a role in a namespace, on the log of one generation."""
    check_namespace(namespace)
    ns = f"hw.{namespace}"
    inbox = f"{inbox_prefix(namespace, role)}.>"

    def verbs(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(subject for name in names for subject in (f"{ns}.{name}", f"{ns}.h.*.{name}"))

    cluster = f"{ns}.cluster"
    if role == "producer":
        own = tuple(f"{ns}.h.*.{verb}" for verb in ("frames", "high_water", "catalogue"))
        return Permissions((cluster, *verbs(WRITES), *own), (inbox,))
    if role == "reader":
        return Permissions((cluster, *verbs(READS)), (inbox,))
    place = place_of(namespace, generation)
    reading = (
        "$JS.API.STREAM.NAMES",
        f"$JS.API.STREAM.INFO.{place.stream}",
        f"$JS.API.STREAM.MSG.GET.{place.stream}",
        *(f"$JS.API.CONSUMER.{verb}.{place.stream}.>" for verb in ("CREATE", "MSG.NEXT", "DELETE")),
    )
    if role == "operator":
        return Permissions((cluster, f"{ns}.config", *verbs(LOOKS), "$SRV.>"), (inbox, f"{ns}.beat.*"))
    if role == "auditor":
        return Permissions((cluster, *verbs(("digest", "explain")), *reading), (inbox,))
    if role == "gateway":
        asked = (*WRITES, *READS, "status", "stats", "reach")
        own = (cluster, f"{ns}.config", f"{ns}.h.*.frames")
        return Permissions((*own, *verbs(asked), *reading), (inbox,))
    log = (
        *(f"{place.prefix}{name}" for name in ("ev.*", "cat", "ctl", "epoch")),
        *(f"$JS.API.STREAM.{verb}.{s}" for verb in ("INFO", "MSG.GET") for s in (place.stream, place.epochs)),
        *(f"$JS.API.CONSUMER.{verb}.{place.stream}.>" for verb in ("CREATE", "MSG.NEXT", "DELETE")),
        f"$O.{place.stream}.>",
        *(f"$JS.API.STREAM.{verb}.OBJ_{place.stream}" for verb in ("INFO", "PURGE")),
        f"$JS.API.DIRECT.GET.OBJ_{place.stream}.>",
        f"$JS.API.DIRECT.GET.OBJ_{place.stream}",
        "$SYS.REQ.USER.INFO",
    )
    between = tuple(f"{ns}.h.*.{name}" for name in _BETWEEN)
    if role == "host":
        heard = (f"{ns}.*", f"{ns}.h.*.*", f"{ns}.beat.*", f"{place.tail}>", "$SRV.>")
        return Permissions((f"{ns}.beat.*", *between, *log), (inbox, *heard), answers=True)
    streams = (place.stream, place.epochs, f"OBJ_{place.stream}")
    makes = tuple(f"$JS.API.STREAM.{verb}.{stream}" for verb in ("CREATE", "UPDATE") for stream in streams)
    told = tuple(f"{ns}.h.*.{name}" for name in ("activate", "drain", "snapshot", "leave"))
    return Permissions((cluster, *told, *log, *makes), (inbox, f"{ns}.beat.*", f"{ns}.stop"), answers=True)


def server_config(namespace: str, generation: str, roles: Iterable[Role] = ROLES) -> str:
    """An `authorization` block for nats-server with one user a role. Passwords: `$HW_<NAMESPACE>_<ROLE>`."""
    lines = [
        f"# Headwater, namespace {namespace}, generation {generation}.",
        "# Passwords come from the environment of nats-server. Each user sets its inbox prefix (--inbox-prefix).",
        "authorization {",
        "  users = [",
    ]
    for role in roles:
        allowed = permissions(namespace, generation, role)
        variable = f"HW_{namespace.replace('-', '_').upper()}_{role.upper()}"
        lines += [
            "    {",
            f"      user: {json.dumps(f'{namespace}-{role}')}, password: ${variable}",
            f"      # --inbox-prefix {inbox_prefix(namespace, role)}",
            "      permissions {",
            f"        publish: {{ allow: {json.dumps(list(allowed.publish))} }}",
            f"        subscribe: {{ allow: {json.dumps(list(allowed.subscribe))} }}",
            *(['        allow_responses: { max: 1, expires: "2m" }'] if allowed.answers else []),
            "      }",
            "    }",
        ]
    return "\n".join([*lines, "  ]", "}", ""])
