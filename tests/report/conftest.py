"""Results and their documents, made once for all tests of the room."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest

from tests.report import phantom, series
from wetread import report
from wetread.records import Document, Result

#: What only some destinations ask for.
WANTED = ("KOS", "GSPS", "PDF", "LABELMAP")
#: Each header is a trap of its own: see `phantom.header`.
HEADERS = ("real", "spacing", "utf8", "iso2022", "empty")


@lru_cache(maxsize=16)
def _result(kind: str) -> Result:
    if kind == "refused":
        return phantom.refused()
    if kind == "reduced":
        return phantom.reduced()
    if kind in ("late", "followed"):
        return phantom.late() if kind == "late" else phantom.followed()
    if kind == "partial":
        return phantom.partial()
    if kind == "negative":
        return phantom.result("real", probability=0.031, sides=1, trustworthy=False)
    return series.result(kind) if kind in series.KINDS else phantom.result(kind)


@lru_cache(maxsize=16)
def _documents(kind: str) -> dict[str, Document]:
    return {one.kind: one for one in report.documents(_result(kind), kinds=WANTED)}


@pytest.fixture(scope="session")
def result_of() -> Callable[[str], Result]:
    return _result


@pytest.fixture(scope="session")
def documents_of() -> Callable[[str], dict[str, Document]]:
    return _documents
