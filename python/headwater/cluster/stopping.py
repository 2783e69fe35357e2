"""Ending a cluster in order: nobody answers any more, what is queued is written, every host writes its snapshot at the
same position, and then they leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from nats.errors import Error as NatsError

from headwater.errors import HeadwaterError
from headwater.protocol import host_subject, raise_refusal

_SECONDS = {"drain": 15.0, "snapshot": 300.0, "leave": 5.0}
_anything = msgspec.msgpack.Decoder()


async def drain(nc: Any, namespace: str, hosts: Sequence[str], say: Callable[[str], None]) -> None:
    """Drain hosts and let them leave. Those that do not answer are named and left alone."""
    living = [host for host in hosts if await _tell(nc, namespace, host, "drain", say) is not None]
    for host in living:
        started = time.monotonic()
        answer = await _tell(nc, namespace, host, "snapshot", say)
        if answer is not None:
            say(f"{host}: snapshot at position {answer['position']:,} in {time.monotonic() - started:.1f} s")
    for host in living:
        await _tell(nc, namespace, host, "leave", say)


async def _tell(nc: Any, namespace: str, host: str, verb: str, say: Callable[[str], None]) -> dict[str, Any] | None:
    try:
        message = await nc.request(host_subject(namespace, host, verb), b"\x80", timeout=_SECONDS[verb])
        raise_refusal(message.data)
        answer: dict[str, Any] = _anything.decode(message.data)
        return answer
    except (NatsError, TimeoutError) as err:
        say(f"{host}: does not answer {verb}: {str(err) or type(err).__name__}")
    except HeadwaterError as err:
        say(f"{host}: {verb}: {err.message}")
    return None
