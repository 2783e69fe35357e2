"""`connect_sync`: the client for scripts and threads. Every verb waits for its answer.

    with hw.connect_sync("nats://127.0.0.1:4222") as rec:
        rec.recommend("bob", n=10, after=rec.track("view", user="bob", item="sku1"))

The connection lives on a loop on a thread of its own, so any number of threads may ask at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from headwater.arguments import Id, share_of
from headwater.client.connection import Client, Connecting, connect
from headwater.errors import InvalidQuery
from headwater.events.nats_options import NatsOptions
from headwater.events.types import Event, Feedback
from headwater.feed_sync import MAX_SHRINK, SyncReport, rows_of, sync_items
from headwater.merging import MergeReport
from headwater.slate import Explanation, ItemView, SessionView, Slate
from headwater.wall_clock import wall_clock

if TYPE_CHECKING:
    from headwater.importer import ImportReport
    from headwater.ingest.source import TableSource

T = TypeVar("T")
_PORTION = 4096


def connect_sync(
    url: str = "nats://127.0.0.1:4222",
    *,
    namespace: str = "default",
    options: NatsOptions | None = None,
    deadline_ms: int = 1000,
    patience: float = 30.0,
    max_queued: int = 100_000,
) -> SyncClient:
    """Connect to a cluster; see `connect`. Raises `ConfigError`, `AccessDenied`, `Unavailable`."""
    return SyncClient(
        connect(
            url,
            namespace=namespace,
            options=options,
            deadline_ms=deadline_ms,
            patience=patience,
            max_queued=max_queued,
        )
    )


class SyncClient:
    """The verbs of `Client`, each waiting for its answer. Arguments, answers and errors are the same."""

    def __init__(self, connecting: Connecting) -> None:
        self._loop = _loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="headwater-client", daemon=True)
        self._thread.start()
        try:
            self._client: Client = self._wait(_awaited(connecting))
        except BaseException:
            self._end()
            raise

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what was tracked, and disconnect."""
        if self._thread.is_alive():
            self._wait(self._client.close())
            self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def recommend(self, user: Id, n: int = 10, **asked: Any) -> Slate:
        """See `Client.recommend`."""
        return self._wait(self._client.recommend(user, n, **_asked(asked)))

    def session(self, items: Sequence[Id], n: int = 10, **asked: Any) -> Slate:
        """See `Client.session`."""
        return self._wait(self._client.session(items, n, **_asked(asked)))

    def rank(self, user: Id, items: Sequence[Id], n: int | None = None, **asked: Any) -> Slate:
        """See `Client.rank`."""
        return self._wait(self._client.rank(user, items, n, **_asked(asked)))

    def recommend_many(self, users: Sequence[Id], n: int = 10, **asked: Any) -> list[Slate]:
        """See `Client.recommend_many`."""
        return self._wait(self._client.recommend_many(users, n, **_asked(asked)))

    def similar(self, item: Id, n: int = 10, **asked: Any) -> Slate:
        """See `Client.similar`."""
        return self._wait(self._client.similar(item, n, **_asked(asked)))

    def trending(self, category: str | None = None, n: int = 10, **asked: Any) -> Slate:
        """See `Client.trending`."""
        return self._wait(self._client.trending(category, n, **_asked(asked)))

    def session_of(self, user: Id, **asked: Any) -> SessionView:
        """See `Client.session_of`."""
        return self._wait(self._client.session_of(user, **asked))

    def variant_of(self, user: Id, experiment: str, **asked: Any) -> str | None:
        """See `Client.variant_of`."""
        return self._wait(self._client.variant_of(user, experiment, **asked))

    def item(self, item: Id, **asked: Any) -> ItemView:
        """See `Client.item`."""
        return self._wait(self._client.item(item, **asked))

    def explain(self, slate: Slate | str, item: Id, **asked: Any) -> Explanation:
        """See `Client.explain`."""
        return self._wait(self._client.explain(slate, item, **asked))

    def track(self, type: str, *, user: Id, item: Id, **more: Any) -> int:
        """See `Client.track`."""
        return self._wait(self._client.track(type, user=user, item=item, **more))

    def seen(self, slate: Slate | str, slots: Sequence[int], **more: Any) -> int:
        """See `Client.seen`."""
        return self._wait(self._client.seen(slate, slots, **more))

    def track_many(self, events: Sequence[Feedback]) -> int:
        """See `Client.track_many`."""
        return self._wait(self._client.track_many(events))

    def put_item(self, item: Id, **known: Any) -> int:
        """See `Client.put_item`."""
        return self._wait(self._client.put_item(item, **known))

    def put_items(self, items: Iterable[Mapping[str, Any]]) -> int:
        """Put many items: mappings with the arguments of `put_item`. The last position."""
        portion: list[Mapping[str, Any]] = []
        position = 0
        for entry in items:
            portion.append(entry)
            if len(portion) >= _PORTION:
                position = max(position, self._wait(self._client.put_items(portion)))
                portion = []
        return max(position, self._wait(self._client.put_items(portion))) if portion else position

    def patch_item(self, item: Id, **changes: Any) -> int:
        """See `Client.patch_item`."""
        return self._wait(self._client.patch_item(item, **changes))

    def delete_item(self, item: Id) -> int:
        """See `Client.delete_item`."""
        return self._wait(self._client.delete_item(item))

    def put_user(self, user: Id, **known: Any) -> int:
        """See `Client.put_user`."""
        return self._wait(self._client.put_user(user, **known))

    def forget(self, user: Id, **asked: Any) -> int:
        """See `Client.forget`."""
        return self._wait(self._client.forget(user, **asked))

    def sync_items(
        self,
        source: TableSource,
        *,
        columns: Mapping[str, str] | None = None,
        format: str | None = None,
        dry_run: bool = False,
        max_shrink: float = MAX_SHRINK,
    ) -> SyncReport:
        """See `Engine.sync_items`. Refused rows are counted and not kept; each change is durable by itself."""
        from headwater.ingest.item_table import ItemTable

        share = share_of("max_shrink", max_shrink)
        table = ItemTable(source, columns=columns, format=format, ts=wall_clock())
        pages = self._wait(self._client.catalogue_pages())
        return sync_items(
            [row for page in pages for row in rows_of(page)],
            table,
            self._client.check,
            lambda events: self._wait(self._client.track_many(events)),
            None,
            dry_run=dry_run,
            max_shrink=1.0 if share is None else share,
        )

    def forget_person(self, user: Id) -> list[str]:
        """See `Client.forget_person`."""
        return self._wait(self._client.forget_person(user))

    def merge(self, from_: Id, into: Id, **asked: Any) -> MergeReport:
        """See `Client.merge`."""
        return self._wait(self._client.merge(from_, into, **asked))

    def write(self, event: Event) -> int:
        """See `Client.write`."""
        return self._wait(self._client.write(event))

    def ingest(self, source: TableSource, **more: Any) -> ImportReport:
        """A table in bulk; see `headwater.client.bulk.ingest`."""
        from headwater.client import bulk

        return self._wait(bulk.ingest(self._client, source, **more))

    def flush(self) -> int:
        """See `Client.flush`."""
        return self._wait(self._client.flush())

    def status(self, seconds: float = 0.5) -> list[dict[str, Any]]:
        """See `Client.status`."""
        return self._wait(self._client.status(seconds))

    def digest(self, seconds: float = 10.0) -> list[dict[str, Any]]:
        """See `Client.digest`."""
        return self._wait(self._client.digest(seconds))

    def drain(self) -> None:
        """See `Client.drain`."""
        self._wait(self._client.drain())

    def dismiss(self) -> None:
        """See `Client.dismiss`."""
        self._wait(self._client.dismiss())

    def stop_cluster(self) -> dict[str, Any]:
        """See `Client.stop_cluster`."""
        return self._wait(self._client.stop_cluster())

    @property
    def position(self) -> int:
        """The last position that was acknowledged to this client."""
        return self._client.position


async def _awaited(connecting: Connecting) -> Client:
    return await connecting


def _asked(asked: dict[str, Any]) -> dict[str, Any]:
    """A cluster holds the state of now; the past is asked of an embedded engine on a copy of its log."""
    if asked.pop("as_of", None) is not None:
        rule = "an engine on the cluster's log (Engine.of_log), as the commands with --as-of ask it"
        raise InvalidQuery(f"as_of on a cluster; allowed: {rule}", field="as_of", value=None, rule=rule)
    return asked


def _loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not on this system: asyncio's own loop does the same, slower
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
