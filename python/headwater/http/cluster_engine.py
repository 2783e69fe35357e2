"""A cluster as the gateway's slower verbs see it: the methods of an engine, for threads.

Listings of gorse's interface and the live page's looks ask several things in turn; they run on threads, and each
question goes to the client's event loop and is waited for. Listings read the log itself.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from headwater.client import Client
from headwater.config import Config
from headwater.core import generation_of
from headwater.errors import StoreError, Unavailable
from headwater.events.jetstream_log import JetStreamLog
from headwater.events.nats_options import NatsOptions
from headwater.http.problems import Refused
from headwater.slate import Explanation, Slate
from headwater.wall_clock import wall_clock

_COUNTED_SECONDS = 3.0
"""Counts of users and items cost the hosts a walk over their users: they are asked for no oftener."""
_STATUS_SECONDS = 0.5
_SHOWN_REFUSALS = 20


class ClusterEngine:
    """What `headwater.http.verbs.Verbs` asks for, of a cluster."""

    def __init__(self, client: Client, config: Config, options: NatsOptions, namespace: str) -> None:
        """Made in the client's event loop; used from threads."""
        self._client = client
        self._loop = asyncio.get_running_loop()
        self.config = config
        self._options = options
        self._namespace = namespace
        self._mutex = threading.Lock()
        self._log: JetStreamLog | None = None
        self._counts: tuple[float, dict[str, Any]] = (-_COUNTED_SECONDS, {})
        self._counting = asyncio.Lock()
        self._looking: asyncio.Future[list[dict[str, Any]]] | None = None

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        """The client's verbs that an engine has under the same name."""
        if verb not in _SAME:
            raise AttributeError(verb)
        method = getattr(self._client, verb)

        def call(*arguments: Any, **named: Any) -> Any:
            return self._wait(method(*arguments, **named))

        return call

    def track_many(self, events: Any) -> int:
        """Many events, seen by later questions when it returns."""
        return self._seen(self._wait(self._client.track_many(events)))

    def put_user(self, user: Any, **known: Any) -> int:
        """See `Engine.put_user`."""
        return self._seen(self._wait(self._client.put_user(user, **known)))

    def patch_item(self, item: Any, **changes: Any) -> int:
        """See `Engine.patch_item`."""
        return self._seen(self._wait(self._client.patch_item(item, **changes)))

    def _seen(self, position: int) -> int:
        self._wait(self._client.reached(position))
        return position

    def explain(self, slate: Slate | str, item: Any, *, audit: bool = False) -> Explanation:
        """See `Engine.explain`. Raises `Refused` for an audit: it reads the log from its beginning."""
        if audit:
            raise no_audit()
        return self._wait(self._client.explain(slate, item))  # type: ignore[no-any-return]

    def now(self) -> int:
        """The wall clock, as for hosts."""
        return wall_clock()

    @property
    def log(self) -> JetStreamLog:
        """The log in force, for reading. Raises `AccessDenied` if the gateway's credentials do not permit that."""
        with self._mutex:
            if self._log is not None and not _stands(self._log):
                self._log.close()
                self._log = None
            if self._log is None:
                generation = generation_of(self.config.generation)
                self._log = JetStreamLog(self._options, self._namespace, generation, read_only=True)
            return self._log

    def status(self) -> dict[str, Any]:
        """See `status_of`."""
        plain: dict[str, Any] = self._wait(self.status_of())
        return plain

    async def status_of(self) -> dict[str, Any]:
        """What all hosts tell together, under the names of `Engine.status` where they mean the same."""
        return self._together(await self._client.status(_STATUS_SECONDS)) | await self._counted()

    def _together(self, hosts: list[dict[str, Any]]) -> dict[str, Any]:
        refusals = [refusal for host in hosts for refusal in host.get("refusals", ())]
        return {
            "path": None,
            "cluster": {"namespace": self._namespace, "hosts": hosts},
            "profile": self.config.generation.profile,
            "generation": generation_of(self.config.generation),
            "config_version": next((host["config"] for host in hosts if host.get("config")), None),
            "position": max((host.get("position", 0) for host in hosts), default=0),
            "refusals": _latest(refusals),
            "trouble": _troubles(hosts) or None,
        }

    async def _counted(self) -> dict[str, Any]:
        async with self._counting:
            at, counts = self._counts
            if time.monotonic() - at < _COUNTED_SECONDS:
                return counts
            told = await self._client.stats()
            of_items = next((host for host in told if host["kind"] != "session"), {})
            counts = {
                "users": sum(host["users"] for host in told if host["kind"] != "item"),
                "items": of_items.get("items", 0),
                "outcomes": of_items.get("outcomes", {}),
                "last_event_ts": max((host["clock"] for host in told), default=0),
            }
            self._counts = (time.monotonic(), counts)
            return counts

    async def ready(self) -> dict[str, Any]:
        """`status` without counts, of a cluster that answers. Anybody may ask, so those who do at the same time share
        what hosts are asked. Raises `Unavailable` while no host that answers visitors is ready."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._client.status(_STATUS_SECONDS))
        hosts = await asyncio.shield(self._looking)
        answering = {host.name for host in self._client.topology.answering()}
        if not any(host["host"] in answering and host["phase"] == "ready" for host in hosts):
            # Without what hosts say of themselves, which is for those with a key: `status` tells it.
            phases = ", ".join(f"{host['host']} {host['phase']}" for host in hosts)
            raise Unavailable(f"no host answers: {phases}", retry_after_ms=1000)
        return self._together(hosts)

    def close(self) -> None:
        """Let go of the log."""
        with self._mutex:
            if self._log is not None:
                self._log.close()


_SAME = frozenset({"recommend", "session", "rank", "similar", "trending", "item", "session_of"})


def no_audit() -> Refused:
    """An audit follows other visitors through the whole log."""
    return Refused(
        "not-on-cluster", "audit; allowed: `headwater explain --url NATS SLATE ITEM --audit`, which reads the log"
    )


def _stands(log: JetStreamLog) -> bool:
    """Whether a log is still the one in force: an erasure puts another in its place."""
    try:
        log.first()
    except StoreError:
        return False
    return True


def _troubles(hosts: list[dict[str, Any]]) -> str:
    """What is wrong with each host that has something; empty: nothing."""
    troubled = [host for host in hosts if host["phase"] != "ready" or host.get("message")]
    return "; ".join(f"{host['host']}: {host.get('message') or host['phase']}" for host in troubled)


def _latest(refusals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last of what hosts refused, each once: several hosts read one frame."""
    each = {(r["position"], r["index"], r["reason"]): r for r in refusals}
    return [each[key] for key in sorted(each)][-_SHOWN_REFUSALS:]
