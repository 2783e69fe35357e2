"""The HTTP gateway: `headwater serve DIR --http` (`pip install 'headwater[http]'`).

Who asks:
* `patient`: the connection, head by head; `intake`: keys, limits, time; `strict_body`: JSON or MessagePack.
* `keys`: API keys and roles. `problems`: every error as RFC 9457 problem details.

What is answered:
* `v1` with `bodies`, `examples` and `replies`: the REST interface. `openapi`: its document.
* `health`: liveness, readiness, metrics (`metrics`).

What answers:
* `verbs`: which body asks what of an engine. `door`: how a web worker reaches it. `live`: what is going on.
* `gateway`: a cluster instead of an engine. `cluster_door`: its client answers; `cluster_engine`: for verbs on threads.
* `app` puts the routes together, `server` runs them, `serve` opens the engine and does both.
* `visitors` play a shop for the demonstration. `live_page`: what a browser shows of all that.

Litestar and uvicorn are imported here and nowhere else; only the command line imports this package.
"""
