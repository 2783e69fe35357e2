"""Open-loop latency of an engine or a cluster: percentiles over rate, beside floors of the same shape in the same run.

    command (run)  --jobs-->  load process (embedded_load, nats_load)  -->  target
       |                          | one row a request (records, shared memory)
       | figures <----------------+

* `schedule`: which requests are due when. `population`: users and items of the target's own log.
* `records`: what happened to each, in memory that survives a kill. `jobs`: the talk with the load process.
* `targets`: opens what is measured, with its floors. `asking`: what all requests have in common.
* `embedded_load`: the load process of an embedded engine.
* `nats_load`: that of a cluster, `pacing`: when it sends what. `nats_options`: where the cluster is. `nats_echo`:
  services of its floors. `alarm`: precise wake-ups of `event_loop`. `stream_sample`: users and items of its log.
* `percentiles`: HdrHistogram, and which percentiles are refused. `figures`: the results. `resources`: CPU and memory.
* `run`: rates, turns of target and floors, a target that ends meanwhile. `saturation`: the highest rate.
* `compare`: beside an earlier run. `show`: tables. `charts`: latency over rate, as a page or picture.
"""
