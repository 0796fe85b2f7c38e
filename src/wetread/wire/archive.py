"""Archives, whatever they speak: asked by C-FIND or QIDO-RS, fetched from by C-GET or WADO-RS.

References
----------
PS3.4 Sections C.4.1 (C-FIND), C.4.3 (C-GET), Tables C.6-5 to C.6-7; PS3.18 Sections 10.4 (retrieve), 10.6 (search).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from wetread.settings import Destination
from wetread.wire import retrieve, webfetch
from wetread.wire.query import MOST, MOST_INSTANCES, Matches, Query, number_of
from wetread.wire.retrieve import Archive, Fetched, Keep, OnProgress
from wetread.wire.webfetch import WebQuery

#: Storage classes that are proposed where an archive does not tell its own: CR, DX, CT, MR, enhanced CT and MR.
USUAL_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{arc}" for arc in ("1", "1.1", "2", "4", "2.1", "4.1"))
MOST_CLASSES = 7  # of one series: each is proposed in every transfer syntax


class Finder(Protocol):
    """Asks one archive; `wetread.wire.query.Query` or `wetread.wire.webfetch.WebQuery`."""

    def find(
        self, level: str, keys: Mapping[str, str], most: int = MOST, cancel: Callable[[], bool] = lambda: False
    ) -> Matches:
        """Return what matches: `wetread.wire.query.Query.find`."""


def opened(
    archive: Destination, calling_ae: str = "WETREAD", timeout_s: float = 10.0
) -> AbstractContextManager[Finder]:
    """Open an archive for questions, by the protocol of its address.

    Raises
    ------
    PeerUnreachable, PeerRefused, SettingsError
        As `wetread.wire.query.Query` and `wetread.wire.webfetch.WebQuery`.
    """
    return WebQuery(archive, timeout_s) if archive.url else Query(archive, calling_ae, timeout_s)


@dataclass(frozen=True, slots=True)
class Series:
    """A series that an archive has; "" and 0 where it does not say."""

    uid: str
    number: int  # of objects
    classes: Sequence[str] = USUAL_CLASSES  # of their storage
    modality: str = ""
    body_part: str = ""
    series_number: str = ""


def series_of(archive: Archive, study_uid: str) -> Iterator[Series]:
    """Yield the series of a study; C-GET must know their storage classes beforehand, so their objects are asked for.

    Raises
    ------
    PeerUnreachable, PeerRefused, SettingsError
        As `opened` and `Finder.find`.
    """
    told = ("SeriesInstanceUID", "Modality", "BodyPartExamined", "SeriesNumber", "NumberOfSeriesRelatedInstances")
    with opened(archive.peer, archive.calling_ae, archive.timeout_s) as query:
        above = {"StudyInstanceUID": study_uid}
        for row in query.find("SERIES", {**above, **dict.fromkeys(told, "")}).rows:
            if row.get("StudyInstanceUID", study_uid) != study_uid or not row.get("SeriesInstanceUID"):
                continue
            number, classes = number_of(row.get("NumberOfSeriesRelatedInstances", "")), list[str]()
            if not archive.peer.url:
                keys = {**above, "SeriesInstanceUID": row["SeriesInstanceUID"], "SOPInstanceUID": "", "SOPClassUID": ""}
                images = query.find("IMAGE", keys, MOST_INSTANCES).rows
                number, classes = len(images), sorted({image.get("SOPClassUID", "") for image in images} - {""})
            about = (row.get("Modality", ""), row.get("BodyPartExamined", ""), row.get("SeriesNumber", "").strip())
            yield Series(row["SeriesInstanceUID"], number, classes or USUAL_CLASSES, *about)


def fetch(
    archive: Archive,
    study_uid: str,
    series: Series,
    syntaxes: Sequence[str],
    keep: Keep,
    on_progress: OnProgress = lambda fetched: None,
) -> Fetched:
    """Fetch a series over a connection of our own.

    Parameters
    ----------
    syntaxes
        Transfer syntaxes that may come by C-GET; by WADO-RS objects come as they are kept.
    keep
        As `wetread.wire.retrieve.get`.

    Raises
    ------
    PeerUnreachable, PeerRefused, SettingsError
        As `wetread.wire.retrieve.get` and `wetread.wire.webfetch.retrieve`.
    """
    keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series.uid}
    if archive.peer.url:
        return webfetch.retrieve(archive, keys, keep, on_progress, series.number)
    pairs = [(one, syntax) for one in series.classes[:MOST_CLASSES] for syntax in syntaxes]
    return retrieve.get(archive, keys, pairs, keep, on_progress)


def number_of_instances(
    archive: Destination, study_uid: str, calling_ae: str = "WETREAD", timeout_s: float = 10.0
) -> int | None:
    """Return how many instances an archive has of a study, or None if it does not say or has none.

    It is asked, by the protocol of its address, for Number of Study Related Instances (0020,1208); if it does not
    return that, for its series and their numbers (0020,1209), and where these lack, for each instance.

    Parameters
    ----------
    timeout_s
        How long the archive may take for each answer, and for all of them together before the query is canceled.

    Raises
    ------
    PeerUnreachable, PeerRefused, SettingsError
        As `opened` and `Finder.find`.
    """
    with opened(archive, calling_ae, timeout_s) as query:
        return _Count(query, study_uid, time.monotonic() + timeout_s).of_study()


class _Count:
    """The instances of one study, counted by as few questions as the archive needs."""

    def __init__(self, query: Finder, study_uid: str, end: float) -> None:
        self._query = query
        self._study_uid = study_uid
        self._end = end

    def of_study(self) -> int | None:
        rows = self._rows("STUDY", {"NumberOfStudyRelatedInstances": ""})
        if not rows:
            return None
        return number_of(rows[0].get("NumberOfStudyRelatedInstances", "")) or self._of_all_series()

    def _of_all_series(self) -> int | None:
        rows = self._rows("SERIES", {"SeriesInstanceUID": "", "NumberOfSeriesRelatedInstances": ""})
        total = 0
        for row in rows or ():
            told = number_of(row.get("NumberOfSeriesRelatedInstances", ""))
            number = told or self._of_series(row.get("SeriesInstanceUID", ""))
            if not number:
                return None
            total += number
        return total or None

    def _of_series(self, series_uid: str) -> int | None:
        rows = self._rows("IMAGE", {"SeriesInstanceUID": series_uid, "SOPInstanceUID": ""})
        return None if rows is None else len({row.get("SOPInstanceUID", "") for row in rows})

    def _rows(self, level: str, keys: Mapping[str, str]) -> list[dict[str, str]] | None:
        """What is about the study: some archives pass over keys. None if time ran out or there is too much."""
        asked = {"StudyInstanceUID": self._study_uid, **keys}
        found = self._query.find(level, asked, MOST_INSTANCES, lambda: time.monotonic() > self._end)
        fixed = {key: value for key, value in asked.items() if value}.items()
        return [row for row in found.rows if fixed <= row.items()] if found.whole else None
