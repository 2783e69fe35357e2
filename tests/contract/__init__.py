"""Suites of the protocols that have several backends: a backend subclasses one and says how it is made.

* `event_log`: `EventLog`.
* `snapshot_store`: `SnapshotStore`.

And `jetstream`: what the tests of the log on JetStream share.
"""
