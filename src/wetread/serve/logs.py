"""Structured logs: one JSON object a line, no patient identifiers.

The rooms log a fixed sentence and pass numbers and codes as `extra`; only those named in
`FIELDS` are written.
"""

from __future__ import annotations

import json
import logging
import time

#: What a log record may carry beside its sentence.
FIELDS = (
    "association",
    "destination",
    "documents",
    "job",
    "port",
    "reason",
    "refusal",
    "state",
    "status",
    "tries",
)


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "room": record.name,
            "event": record.getMessage(),
        }
        line.update({name: getattr(record, name) for name in FIELDS if hasattr(record, name)})
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__  # never its text: it may repeat data
        return json.dumps(line)


def configure(level: str) -> None:
    """Send the logs of Wetread to standard error as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("wetread")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
