"""The client of a cluster: the engine's verbs over NATS.

* `connection`: `connect`, awaitable; knows which host owns whom.
* `lanes`: events on their way: numbered frames, in order, sent again without a second effect.
* `bulk`: tables, by the same frames as an embedded import.
* `sync`: `connect_sync`, the same for scripts.
"""

from headwater.client.connection import Client, Connecting, connect
from headwater.client.sync import SyncClient, connect_sync

__all__ = ["Client", "Connecting", "SyncClient", "connect", "connect_sync"]
