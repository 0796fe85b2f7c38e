"""Structured logs: one JSON object a line, no patient identifiers.

The rooms log a fixed sentence and pass numbers and codes as `extra`; only those named in
`FIELDS` are written, and the trace that the thread works for.  Libraries say what they like,
pydicom for one quotes values: of their log records and Python warnings only that there was one,
of what category and where, is written.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections import Counter
from typing import TextIO

from wetread.trace import trace_id

#: What a log record may carry beside its sentence.
FIELDS = (
    "address",
    "arrived",
    "association",
    "bytes",
    "calling_ae",
    "category",
    "count",
    "destination",
    "detail",
    "documents",
    "expected",
    "failed",
    "job",
    "kind",
    "lane",
    "objects",
    "port",
    "reason",
    "refusal",
    "refused",
    "released",
    "seconds",
    "state",
    "status",
    "step",
    "steps_in_progress",
    "tries",
    "where",
)

#: What stands in place of a library's own words.
REMARK = "remark of a library"


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
        if trace := trace_id():
            line["trace_id"] = trace
        line.update({name: getattr(record, name) for name in FIELDS if hasattr(record, name)})
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__  # never its text: it may repeat data
        return json.dumps(line)


class Remarks(logging.Handler):
    """Writes that a library remarked something, and never what.

    Each place in a library is counted, and written when its count is a power of two: a study of odd
    files fills no disk.

    Parameters
    ----------
    target
        Where the lines go.
    """

    def __init__(self, target: logging.Handler) -> None:
        super().__init__()
        self._target = target
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record, and pass on what is no data."""
        category = getattr(record, "category", record.levelname)
        where = getattr(record, "where", f"{record.filename}:{record.lineno}")
        key = (record.name, category, where)
        self._counts[key] += 1
        count = self._counts[key]
        if count & (count - 1) == 0:
            line = logging.LogRecord(record.name, record.levelno, "", 0, REMARK, None, record.exc_info)
            vars(line).update(category=category, where=where, count=count)
            self._target.handle(line)


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Stand in for `warnings.showwarning`, which would print the text."""
    where = f"{filename.rsplit('/', 1)[-1]}:{lineno}"
    logging.getLogger("py.warnings").warning(REMARK, extra={"category": category.__name__, "where": where})


def configure(level: str) -> None:
    """Send the logs of Wetread to standard error as JSON lines, and of all others what is no data."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("wetread")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
    logging.getLogger().handlers[:] = [Remarks(handler)]
    warnings.showwarning = _warned
