"""The cluster: hosts that own parts of the state, placed by Ray, fed by JetStream, asked over NATS.

One host, from the inside out:

* `host`: one host from start to leaving; `launch`: its whole setting as bytes, and the process that runs it.
* `slates`, `scatter`, `explaining`, `asking`, `answers`: questions of visitors. `item_answers`: an item host's part.
  `usual_questions`: those that are answered without Python; `usual_slates`: what is known of their slates.
* `ingest`, `writing`, `records`: events and slate records into the log.
* `endpoint`, `routing`, `peers`, `rate`: requests in, answers out, within bounds; who answers what. `accounts`: merged
  users; `merges`: who is merged with whom.
* `beat`, `facts`, `metrics`, `http_status`, `machine`, `logs`: what a host tells of itself.

All of them together:

* `serve`: bring a cluster up and look after it; `supervisor`: who is dead or silent, and what is done about it.
* `gateway_process`: the HTTP gateway beside them.
* `placers`: Ray actors or plain processes. `permissions`: the least that producers, clients and hosts may do.

Needs the extra `cluster`. The core of a host is `headwater.actors.host_state`; the wire is `headwater.protocol`.
"""
