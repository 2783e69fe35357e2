"""Experiments, on the asking side: which variant answers a question, put into the request before it is asked.

From there the record has it, so that a slate can be made again without asking who took part. Whoever puts requests to a
core on behalf of visitors calls this first: the embedded engine, and the hosts that own users.
"""

from __future__ import annotations

from typing import Any

from headwater.core import Core


def take_part(core: Core, request: dict[str, Any], asker: str | None) -> None:
    """Put the variant that answers `asker` (a user, or an anonymous visitor's id) into a request whose `now` is set;
    nothing where they take part in no experiment on its scenario. O(experiments)."""
    variant = None if asker is None else core.assign(asker, request.get("scenario"), request["now"])
    if variant is not None:
        request["variant"] = variant
