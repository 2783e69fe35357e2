"""Events: what happened, how it is written down, and the log that it is written to.

* `types`: the events as frozen msgspec structs.
* `subjects`: who an event is about: a user partition, the catalogue, control; the stable hash behind it.
* `validate`: the rules that an event must keep before it is written.
* `frame`: one log message: header, checksum, events; `FrameWriter` numbers and packs them.
* `bulk`: columns to frame bodies without a Python loop over events.
* `log`: the `EventLog` protocol. Its backends: `memory_log`, `sqlite_log` (`sqlite_meta`: what its file
  says of itself, `sqlite_faults`: its errors), `jetstream_log`.
* `head`: the synced head record that tells a lost tail from a short log.
* `replacement`: one log takes another's place in a directory.
* `lock`: one writer per directory. `sync`: names that outlive a power failure.

The log on NATS (needs `headwater[cluster]`; nothing of it is imported unless it is used):

* `nats_options`: how a server is reached; the one place that dials. `nats_server`: the packaged server of one machine.
* `jetstream_api`: requests and errors. `jetstream_stream`: names, settings and state of a generation's streams.
* `jetstream_writer`: group commit in atomic batches, each append once. `jetstream_reader`: each frame once, in order,
  from a consumer on the server (`jetstream_consumer`) or from what it republishes (`jetstream_tail`).
* `jetstream_log`: both together, for hosts (asynchronous) and as an `EventLog`. `loop_thread`: a loop for threads.

Only writers use this package on the hot path; folds read frames in Rust. Nothing here knows what an event means.
"""
