"""What schemathesis must be told of MessagePack (SCHEMATHESIS_HOOKS=web.schema_hooks)."""

from __future__ import annotations

from typing import Any

import msgspec
import schemathesis


@schemathesis.serializer("application/msgpack")
def as_msgpack(ctx: Any, value: Any) -> bytes:
    """A generated body as the bytes that are sent; what MessagePack cannot hold (huge integers) goes as text."""
    if isinstance(value, bytes):
        return value
    try:
        return msgspec.msgpack.encode(value)
    except (OverflowError, TypeError, ValueError):
        return msgspec.msgpack.encode(str(value))
