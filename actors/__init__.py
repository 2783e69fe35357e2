"""Actors: who owns which part of the state, and how it comes back after a stop.

* `snapshots`: the `SnapshotStore` protocol and its directory form; `object_snapshots`: in JetStream's object store.
* `snapshot_rhythm`: when a snapshot is due, and written behind the callers.
* `recovery`: newest sound snapshot + the log's tail = the state; loud refusals where that cannot be.
* `gate`: writers pass it together, an exchange of log and state alone.
* `committer`: appends made durable in groups and folded in log order.
* `runtime`: the embedded runtime: all partitions and shards in the caller's process, on threads.
* `topology`: which host owns what. `host_state`: one host's parts, recovered and following the log. `state_hold`:
  questions while somebody holds those. `host_log`: the JetStream log as a host sees it. `ray_runtime`: hosts as Ray
  actors.

Nothing here knows what a recommendation is.
"""
