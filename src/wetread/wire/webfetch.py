"""Asks a DICOMweb server what it has (QIDO-RS), and fetches it (WADO-RS), one object in memory at a time.

References
----------
PS3.18 Sections 8.3.4 (query parameters, paging), 10.4 (retrieve transaction), 10.6 (search transaction) and Annex F
(DICOM JSON model); PS3.4 Section C.2.2.2 (matching).
"""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from wetread.errors import BadInput, PeerRefused
from wetread.settings import Destination
from wetread.wire import media
from wetread.wire.https import CHUNK, PATIENCE, Answer
from wetread.wire.multipart import Multipart, Part
from wetread.wire.part10 import header, identify, meta
from wetread.wire.query import MOST, MOST_INSTANCES, Matches
from wetread.wire.retrieve import Archive, Fetched, Keep, OnProgress
from wetread.wire.webclient import WebClient

PAGE = 1000  # matches of one request
MOST_ANSWER = 1 << 24  # bytes of one page
_UID = re.compile(r"[0-9.]{1,64}")
#: What is below a level, and by which UIDs it is named.
_ABOVE = {"STUDY": (), "SERIES": ("StudyInstanceUID",), "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID")}
_NAMES = ("studies", "series", "instances")
#: As it is kept; a server that does not know "*" gives its default.
_FILES = f'{media.MULTIPART}; type="{media.DICOM}"; transfer-syntax=*'


class WebQuery:
    """One connection for searches, with the questions and answers of `wetread.wire.query.Query`.

    Parameters
    ----------
    archive
        Who is asked.
    timeout_s
        How long it may be silent.

    Raises
    ------
    SettingsError
        As `WebClient`.
    """

    def __init__(self, archive: Destination, timeout_s: float = 10.0) -> None:
        self._client = WebClient(archive, timeout_s)

    def find(
        self,
        level: str,
        keys: Mapping[str, str],
        most: int = MOST,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Matches:
        """Return what matches, page by page.

        Parameters
        ----------
        level, keys, most
            As `wetread.wire.query.Query.find`.
        cancel
            Asked after each page; True ends the search.

        Raises
        ------
        BadInput
            A keyword is unknown, or the UID of a level above is none.
        PeerUnreachable
            No connection, no answer in time, or the server broke off.
        PeerRefused
            It answered with another status than 200 and 204, or with something that is no DICOM JSON.
        """
        path, given = _place(level, keys)
        rows: list[dict[str, str]] = []
        while True:
            limit = min(PAGE, most - len(rows))
            found, told = self._page(f"{path}?{urlencode([*given, ('limit', limit), ('offset', len(rows))])}")
            if not found or found == rows[-len(found) :]:  # a server that knows no offset says the same again
                return Matches(tuple(rows), True)
            rows += found
            if not told and len(found) != limit:
                return Matches(tuple(rows[:most]), len(rows) <= most)
            if len(rows) >= most or cancel():
                return Matches(tuple(rows[:most]), False)

    def _page(self, path: str) -> tuple[list[dict[str, str]], bool]:
        """Return matches, and whether the server says that there are more."""
        with self._client.ask("GET", path, {"Accept": media.JSON}) as response:
            answer = self._client.read(response, MOST_ANSWER)
        if response.status == 204:
            return [], False
        if response.status != 200:
            raise _refused(self._client.name, "QIDO-RS", response)
        try:
            rows = [_row(one) for one in json.loads(answer)]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
            raise PeerRefused(f"{self._client.name}: QIDO-RS answered 200 with what is no {media.JSON}") from error
        return rows, any("additional results" in one for one in response.headers.get_all("Warning", ()))

    def __enter__(self) -> WebQuery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.__exit__(kind, error, traceback)


def _place(level: str, keys: Mapping[str, str]) -> tuple[str, list[tuple[str, str]]]:
    """Return path and parameters of a search."""
    for keyword in keys:
        if tag_for_keyword(keyword) is None:
            raise BadInput(f"query: expected a DICOM keyword, got {keyword!r}")
    above = _ABOVE[level]
    given = [(key, value) for key, value in keys.items() if value and key not in above]
    given += [("includefield", key) for key, value in keys.items() if not value]
    return _path([keys.get(key, "") for key in above]) + f"/{_NAMES[len(above)]}", given


def _path(uids: list[str]) -> str:
    if not all(map(_UID.fullmatch, uids)):
        raise BadInput("query: expected the UIDs of the levels above, got none or something else")
    return "".join(f"/{name}/{uid}" for name, uid in zip(_NAMES, uids, strict=False))


def _row(made: Mapping[str, Any]) -> dict[str, str]:
    """The values of a match by keyword, without what is in sequences; several are parted by a backslash."""
    named = {keyword_for_tag(int(tag, 16)): one for tag, one in made.items() if one["vr"] != "SQ"}
    return {keyword: "\\".join(map(_text, one.get("Value", ()))) for keyword, one in named.items() if keyword}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):  # a name, by its component groups
        return "=".join(str(value.get(group, "")) for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    return "" if value is None else str(value)


def _refused(name: str, service: str, response: http.client.HTTPResponse) -> PeerRefused:
    hint = {401: "; it wants a token", 403: "; it does not let us", 404: "; it has no such thing, or not at this URL"}
    return PeerRefused(f"{name}: {service} answered with {response.status}{hint.get(response.status, '')}")


def retrieve(
    archive: Archive,
    keys: Mapping[str, str],
    keep: Keep,
    on_progress: OnProgress = lambda fetched: None,
    expected: int = 0,
) -> Fetched:
    """Fetch a study or series by WADO-RS.

    Parameters
    ----------
    keys
        Study Instance UID, and Series Instance UID for a series alone.
    keep
        Called for each object; one that belongs to another study counts as failed and is not given.
    expected
        How many objects come; 0: not known.

    Raises
    ------
    BadInput
        A UID is none.
    PeerUnreachable
        No connection, no answer in time, or the server broke off; an object may take `PATIENCE` timeouts.
    PeerRefused
        It answered with a status other than 200, or with something else than DICOM files.
    """
    uids = [keys[key] for key in _ABOVE["IMAGE"] if keys.get(key)]
    done = Fetched(expected)
    with (
        WebClient(archive.peer, archive.timeout_s) as client,
        client.ask("GET", _path(uids), {"Accept": _FILES}) as answer,
    ):
        if answer.status != 200:
            raise _refused(archive.name, "WADO-RS", answer)
        for part in _parts(archive, answer, client.timeout_s):
            good = _kept(part, uids[0], keep)
            left = max(0, done.remaining - 1)
            done = Fetched(left, done.completed + good, done.failed + (not good))
            on_progress(done)
    if not done.completed:
        raise PeerRefused(f"{archive.name}: WADO-RS gave no object that could be kept, {done.failed} failed")
    return done


def _parts(archive: Archive, answer: Answer, timeout_s: float) -> Iterator[Part]:
    """Take an answer apart while it comes."""
    try:
        kinds = media.parsed(answer.headers.get("Content-Type", ""))
        if [one.type for one in kinds] != [media.MULTIPART]:
            raise BadInput(f"expected {media.MULTIPART}, got another media type")
        parts = Multipart(kinds[0].boundary, archive.most_bytes, MOST_INSTANCES)
        answer.wait(time.monotonic() + PATIENCE * timeout_s)
        while chunk := answer.read1(CHUNK):
            for part in parts.feed(chunk):
                yield part
                answer.wait(time.monotonic() + PATIENCE * timeout_s)
        parts.end()
    except BadInput as error:
        raise PeerRefused(f"{archive.name}: WADO-RS: {error}") from error


def _kept(part: Part, study_uid: str, keep: Keep) -> bool:
    """Keep one object, with our file meta information and its data set byte for byte; return whether it is kept."""
    try:
        about = meta(part.body)
        data = memoryview(part.body)[about.offset :]
        found = identify(data, about.transfer_syntax)
        if found.study_uid != study_uid:  # what was not asked for may be another patient's
            return False
        head = header(found.sop_class_uid, found.sop_instance_uid, about.transfer_syntax)
        keep(found.sop_instance_uid, b"".join((head, data)))
    except (BadInput, OSError):
        return False
    return True
