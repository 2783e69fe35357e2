"""Structured logs: one JSON object a line, with host and namespace, and slate and request where there is one."""

from __future__ import annotations

import json
import logging
import sys
import time
from contextvars import ContextVar

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
slate_id: ContextVar[str | None] = ContextVar("slate_id", default=None)


class JsonLines(logging.Formatter):
    """Formats records as JSON."""

    def __init__(self, host: str, namespace: str) -> None:
        super().__init__()
        self._fixed = {"host": host, "namespace": namespace}

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        told: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._fixed,
            "message": record.getMessage(),
        }
        for name, variable in (("request", request_id), ("slate", slate_id)):
            value = variable.get()
            if value is not None:
                told[name] = value
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def log_as_json(host: str, namespace: str, file: str | None) -> None:
    """Send the log of `headwater` to a file (appended) or to standard error."""
    handler: logging.Handler = logging.FileHandler(file) if file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(host, namespace))
    root = logging.getLogger("headwater")
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    root.propagate = False
