"""Log lines as JSON, one an event, with the request they belong to and nothing it contained."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

__all__ = ["JsonLines", "chain", "configure", "request_id"]

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the call being served; set by the transports, in the call's own context."""

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
"""Attributes every record has: what goes beyond them came in ``extra=``."""
_LONGEST = 2_000


class JsonLines(logging.Formatter):
    """A record as one line: time, level, logger, event, request_id, and what ``extra`` brought.

    Of an exception, its type and where it was raised. Not its words: those of a library may quote
    what a client sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage()[:_LONGEST],
        }
        if found := request_id.get():
            line["request_id"] = found
        line |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = chain(record.exc_info[1])
        return json.dumps(line, default=str, ensure_ascii=True)


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send every logger's lines of a level and above to ``stream`` (None: stderr), as JSON.

    What was configured before is taken off. Libraries are heard from "warning" on.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    for other in list(root.handlers):
        root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
    logging.getLogger("minireranker").setLevel(level.upper())
    logging.captureWarnings(True)


def chain(error: BaseException | None) -> list[dict[str, object]]:
    """An exception and what it came from, the last one first.

    One that another process raised has brought it along, as ``elsewhere``.
    """
    found: list[dict[str, object]] = []
    while error is not None and len(found) < 8:
        if hasattr(error, "elsewhere"):
            return [*found, *error.elsewhere]
        frames = traceback.extract_tb(error.__traceback__)
        found.append(
            {
                "type": type(error).__name__,
                "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
            }
        )
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found
