"""A small cluster of one: an engine that answers `hw.<ns>.<verb>` with JSON, as a process of its own.

    python responder.py URL DIRECTORY [delay in ms of each `recommend`]

Beside `recommend`, `similar` and `track` it has one host behind it, which it asks something for each `recommend`, so
that there is traffic between hosts to be seen.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from headwater.engine import Engine
from headwater.errors import HeadwaterError

LEG_REQUEST, LEG_REPLY = 700, 3000


def ask(engine: Engine, verb: str, asked: dict[str, Any]) -> dict[str, Any]:
    if verb == "track":
        return {"position": engine.track(asked["type"], user=asked["user"], item=asked["item"])}
    if verb == "similar":
        return engine.similar(asked["item"], asked["n"]).to_dict()
    slate = engine.recommend(asked["user"], asked["n"], scenario=asked.get("scenario"), record=False).to_dict()
    return slate if asked.get("detail") else {"items": slate["items"], "degraded": slate["degraded"]}


async def main(url: str, directory: str, delay: str = "0") -> None:
    nc = await nats.connect(url)
    state = Engine.open(directory, clock="log")

    async def on_leg(message: Msg) -> None:
        await message.respond(bytes(LEG_REPLY))

    async def answer(message: Msg) -> None:
        verb = message.subject.rpartition(".")[2]
        try:
            if verb == "recommend":
                await nc.request("hw.default.h.i0.candidates", bytes(LEG_REQUEST))
                await asyncio.sleep(float(delay) / 1000)
            found = ask(state, verb, json.loads(message.data))
        except HeadwaterError as err:
            found = {"error": {"code": err.code, "message": err.message, "retry_after_ms": None}}
        await message.respond(json.dumps(found).encode())

    await serve(nc, answer, on_leg)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def serve(nc: Client, answer: Any, on_leg: Any) -> None:
    tasks = set()

    async def begin(message: Msg) -> None:
        task = asyncio.ensure_future(answer(message))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    for verb in ("recommend", "similar", "track"):
        await nc.subscribe(f"hw.default.{verb}", cb=begin)
    await nc.subscribe("hw.default.h.i0.candidates", cb=on_leg)
    await nc.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
