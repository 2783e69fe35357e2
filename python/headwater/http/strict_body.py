"""Bodies as strict structs: JSON or MessagePack by Content-Type, decoded once, nothing converted silently.

Litestar would decode a body into plain data and convert it leniently ("10" passes for 10). A DTO is its way to take
over the decoding and keep the handler's signature and the OpenAPI document as they are.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec
from litestar import Request
from litestar.dto import AbstractDTO, DTOConfig
from litestar.dto.data_structures import DTOFieldDefinition
from litestar.typing import FieldDefinition

from headwater.http.problems import Refused, invalid_body

JSON, MSGPACK = "application/json", "application/msgpack"
_MSGPACK_NAMES = (MSGPACK, "application/x-msgpack", "application/vnd.msgpack")


class StrictBody(AbstractDTO[msgspec.Struct]):
    """The `dto` of handlers that take a body."""

    config = DTOConfig()
    __slots__ = ()
    _decoders: dict[str, tuple[Any, Any]] = {}

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: Any = None
    ) -> None:
        """Make the decoders of one handler's body."""
        wanted = field_definition.annotation
        cls._decoders[handler_id] = (msgspec.json.Decoder(wanted), msgspec.msgpack.Decoder(wanted))

    def decode_bytes(self, value: bytes) -> Any:
        """The body. Raises `Refused`."""
        connection: Request[Any, Any, Any] = self.asgi_connection  # type: ignore[assignment]
        as_json, as_msgpack = self._decoders[connection.route_handler.handler_id]
        media = connection.content_type[0]
        decoder = as_json if media == JSON else as_msgpack if media in _MSGPACK_NAMES else None
        if decoder is None:
            shown = media[:80] or "none"
            raise Refused("wrong-media-type", f"Content-Type: {shown}; allowed: {JSON}, {MSGPACK}", value=shown)
        try:
            return decoder.decode(value)
        except msgspec.ValidationError as err:
            raise invalid_body(err) from err
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
            raise Refused("bad-json", str(err)[:300]) from err

    @classmethod
    def create_openapi_schema(cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any) -> Any:
        """The struct's own schema."""
        return schema_creator.for_field_definition(field_definition)

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:
        """Nothing is transferred field by field."""
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        """Nothing is transferred field by field."""
        return False


def accepts_msgpack(request: Request[Any, Any, Any]) -> bool:
    """Whether the caller asked for MessagePack."""
    return request.headers.get("accept", "").partition(";")[0].strip() in _MSGPACK_NAMES
