"""Asks an archive what it has: C-FIND as SCU, in the Study Root information model, or in another.

References
----------
PS3.4 Annex C: Sections C.2.2.2 (matching), C.4.1 (C-FIND and its statuses), C.6.2 (Study Root, its unique keys and
levels), Tables C.6-5 to C.6-7 (attributes of each level); PS3.7 Section 9.1.2 (C-FIND, C-CANCEL).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from wetread.errors import PeerRefused
from wetread.settings import Destination
from wetread.wire.attributes import data_set, encoded, texts
from wetread.wire.command import Status
from wetread.wire.part10 import IMPLICIT_LITTLE
from wetread.wire.requestor import Requestor, either

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
Row = TypeVar("Row")

MOST = 1000  # matches of one query
MOST_INSTANCES = 50_000  # of one series

#: What pydicom raises over an identifier that is none.
_FOREIGN = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Matches:
    """What an archive answered."""

    rows: tuple[dict[str, str], ...]  # of each match: keyword -> value; several values are parted by a backslash
    whole: bool  # False: the query was canceled before its end


class Query:
    """One association for queries; use it in a ``with`` statement.

    Parameters
    ----------
    archive
        Who is asked.
    calling_ae
        Our AE title.
    timeout_s
        How long the archive may take for each answer.
    model
        The SOP class of the information model.

    Raises
    ------
    PeerUnreachable
        No connection, no answer in time, or the archive broke off.
    PeerRefused
        It rejected the association, or does not answer C-FIND.
    """

    def __init__(
        self,
        archive: Destination,
        calling_ae: str = "WETREAD",
        timeout_s: float = 10.0,
        model: str = STUDY_ROOT_FIND,
    ) -> None:
        self._name = archive.names[0]
        pairs = either(model)
        self._peer = Requestor(archive, calling_ae, pairs, timeout_s)
        try:
            self._pair = self._peer.granted(pairs, f"{self._name}: does not answer C-FIND ({UID(model).name})")
        except PeerRefused:
            self._peer.__exit__(None, None, None)
            raise

    def find(
        self,
        level: str,
        keys: Mapping[str, str],
        most: int = MOST,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Matches:
        """Return what matches in the Study Root model.

        Parameters
        ----------
        level
            STUDY, SERIES or IMAGE; for the lower two `keys` holds the UIDs of the levels above.
        keys
            By DICOM keyword: a value to match, or "" for what only is to be returned.
        most
            With so many matches the query is canceled (C-CANCEL).
        cancel
            Asked after each match; True cancels the query.

        Raises
        ------
        BadInput
            A keyword is unknown.
        PeerUnreachable
            No answer in time, the archive broke off, or it went on long after C-CANCEL.
        PeerRefused
            It answered with a failure, or with something that is no identifier.
        """
        return Matches(*self.ask(data_set({"QueryRetrieveLevel": level, **keys}), texts, most, cancel))

    def ask(
        self,
        asked: Dataset,
        row: Callable[[Dataset], Row],
        most: int = MOST,
        cancel: Callable[[], bool] = lambda: False,
    ) -> tuple[tuple[Row, ...], bool]:
        """Return what `row` makes of each match, and whether those are all.

        Parameters
        ----------
        asked
            The identifier.
        most, cancel
            As for `find`.

        Raises
        ------
        PeerUnreachable, PeerRefused
            As `find`.
        """
        implicit = self._pair[1] == IMPLICIT_LITTLE
        rows: list[Row] = []
        canceled = False

        def take(data: bytes) -> bool:
            nonlocal canceled
            rows.append(self._row(data, implicit, row))
            canceled = len(rows) >= most or cancel()
            return not canceled

        status = self._peer.find(*self._pair, memoryview(encoded(asked, self._pair[1])), take)
        if status not in (Status.SUCCESS, Status.CANCELED):
            raise PeerRefused(f"{self._name}: C-FIND answered with status 0x{status:04X}")
        return tuple(rows), not canceled and status == Status.SUCCESS

    def _row(self, data: bytes, implicit: bool, row: Callable[[Dataset], Row]) -> Row:
        try:
            return row(read_dataset(io.BytesIO(data), implicit, is_little_endian=True))
        except _FOREIGN as error:
            raise PeerRefused(f"{self._name}: C-FIND answered with what is no identifier") from error

    def __enter__(self) -> Query:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._peer.__exit__(kind, error, traceback)


def find(
    archive: Destination,
    level: str,
    keys: Mapping[str, str],
    calling_ae: str = "WETREAD",
    timeout_s: float = 10.0,
    most: int = MOST,
    cancel: Callable[[], bool] = lambda: False,
) -> Matches:
    """Ask one question on an association of its own; see `Query`."""
    with Query(archive, calling_ae, timeout_s) as query:
        return query.find(level, keys, most, cancel)


def number_of(text: str) -> int:
    """Return a value of IS that counts something; 0 if it is none, or beyond nine digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else 0
