"""Events: what happened, how it is written down, and the log that it is written to.

* `types`: the events as frozen msgspec structs.
* `subjects`: who an event is about: a user partition, the catalogue, control; the stable hash behind it.
* `validate`: the rules that an event must keep before it is written.
* `frame`: one log message: header, checksum, events; `FrameWriter` numbers and packs them.
* `bulk`: columns to frame bodies without a Python loop over events.
* `log`: the `EventLog` protocol; `memory_log` and `sqlite_log` are its backends.
* `head`: the synced head record that tells a lost tail from a short log.
* `replacement`: one log takes another's place in a directory.
* `lock`: one writer per directory. `sync`: names that outlive a power failure.

Only writers use this package on the hot path; folds read frames in Rust. Nothing here knows what an event means.
"""
