"""Data before training: whether a split leaks, and what trivial rivals reach on it."""

from wetread.lab.audit.adapters import Columns, Row
from wetread.lab.audit.files import read_audit, write_audit
from wetread.lab.audit.judge import Audit, Check, audit
from wetread.lab.audit.looks import Decoded, Decoder
from wetread.lab.audit.page import markdown, tables
from wetread.lab.audit.parts import Split

__all__ = [
    "Audit",
    "Check",
    "Columns",
    "Decoded",
    "Decoder",
    "Row",
    "Split",
    "audit",
    "markdown",
    "read_audit",
    "tables",
    "write_audit",
]
