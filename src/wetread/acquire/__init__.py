"""Acquire: bytes -> `wetread.records.Study`.  Nothing is normalised here, and nothing is guessed."""

from wetread.acquire.described import described
from wetread.acquire.facts import facts_of
from wetread.acquire.made import is_made
from wetread.acquire.marked import marked
from wetread.acquire.picture import Assumption
from wetread.acquire.source import load
from wetread.acquire.studies import decode, given_up
from wetread.acquire.syntaxes import SYNTAXES, Syntax

__all__ = [
    "SYNTAXES",
    "Assumption",
    "Syntax",
    "decode",
    "described",
    "facts_of",
    "given_up",
    "is_made",
    "load",
    "marked",
]
