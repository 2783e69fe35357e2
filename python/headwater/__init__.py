"""Headwater: an open real-time recommendation engine.

Start with `Engine`:

    import headwater as hw

    eng = hw.Engine.open("shop/")
    eng.track("view", user="bob", item="sku1")
    eng.recommend("bob", n=10)

The map, from the outside in:

* `engine`: `Engine`, the embedded engine; `questions`: the side of it that is asked; `operations`: the side of it that
  its owner sees now and then. `cli`: the command `headwater`.
  `demo`, `bench`, `measure`: what it shows and measures.
* `importer`, `ingest`, `datasets`, `simulate`: events and items in bulk, from files, public datasets or a simulator.
  `export`: the other way.
* `learning`: what recorded slates, impressions and rewards can answer: Parquet export, off-policy estimators.
* `arguments`, `request`, `scenario`, `active_query`, `answer`, `slate`, `slate_memory`, `slate_record`, `many`,
  `explanation`, `audit`: questions, the rules they are answered under, answers, their record, and why.
* `time_travel`, `served_slates`, `slate_replay`, `shadow`: the state of another time, recorded slates made again, and
  logged requests under another configuration.
* `merging`: who turned out to be whom. `feed_sync`: the catalogue against a full feed. `backup`, `archive`, `erasure`,
  `receipts`: copies, old events as Parquet, and a user's events taken out. `rewriting`: a log written anew.
* `store`, `whole_directory`, `verify`, `regenerate`: the directory, whether all in it agrees, and the next generation
  of it.
* `actors`: who owns the state and how it comes back. `events`: what happened, and the log.
* `client`: `connect` and `connect_sync`, the engine's verbs on a cluster; `protocol`: what goes over the wire.
  `cluster`: hosts, their supervisor and `headwater serve`; `cluster_limits`: their bounds. They need the extra
  `cluster`.
* `kernels`: scoring and diversity on numpy arrays, without an engine (needs numpy).
* `core`: the door to the Rust folds, queries and kernels. `config`, `errors`, `progress`: used by all.
"""

from typing import TYPE_CHECKING, Any

from headwater.config import Config, default_config, load_config
from headwater.engine import Engine
from headwater.errors import HeadwaterError
from headwater.events.types import Feedback, ItemPut
from headwater.slate import Explanation, SessionView, Slate, SlateItem

if TYPE_CHECKING:
    from headwater.client import Connecting, SyncClient


def connect(url: str = "nats://127.0.0.1:4222", **settings: Any) -> "Connecting":
    """Connect to a cluster, asynchronously; see `headwater.client.connection.connect`. Needs `headwater[cluster]`."""
    connecting: Connecting = _client().connect(url, **settings)
    return connecting


def connect_sync(url: str = "nats://127.0.0.1:4222", **settings: Any) -> "SyncClient":
    """Connect to a cluster, for scripts; see `headwater.client.sync.connect_sync`. Needs `headwater[cluster]`."""
    client: SyncClient = _client().connect_sync(url, **settings)
    return client


def _client() -> Any:
    try:
        from headwater import client
    except ImportError as err:
        from headwater.errors import ConfigError

        message = f"{err.name} is not installed: pip install 'headwater[cluster]'"
        raise ConfigError(message, key="headwater[cluster]", rule="the extra `cluster`") from err
    return client


__all__ = [
    "Config",
    "Engine",
    "Explanation",
    "Feedback",
    "HeadwaterError",
    "ItemPut",
    "SessionView",
    "Slate",
    "SlateItem",
    "connect",
    "connect_sync",
    "default_config",
    "load_config",
]
