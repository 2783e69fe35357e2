"""Reports that leave as plain data."""

from __future__ import annotations

from typing import Any

import msgspec


class PlainData(msgspec.Struct, frozen=True):
    """A struct that commands print and callers log."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain
