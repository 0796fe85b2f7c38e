"""What the store holds, for whoever looks for it: received objects and the documents that were made.

The index files an object by few attributes, so that taking it costs little.  What a search asks for is read from the
headers when somebody searches, once for each blob, and kept in the table `described`; so an index of an earlier
release, and one that was made anew, are brought up the same way.  What was deleted when it had been kept long
enough is not found.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, CompoundSelect, Select, and_, exists, func, insert, literal, or_, select

from wetread.errors import BadInput
from wetread.jobs.index import Index
from wetread.jobs.removals import living
from wetread.jobs.spool import DamagedBlob, Spool, UnreadableBlob
from wetread.jobs.tables import described, documents, instances, removed
from wetread.jobs.withholding import KEPT_BACK
from wetread.report.context import KINDS
from wetread.wire import queryable
from wetread.wire.moments import LATEST
from wetread.wire.qido import Asked
from wetread.wire.queryable import ATTRIBUTES, KEYS, LAST, Level

log = logging.getLogger("wetread.jobs")

REPORT = KINDS["SR"].sop_class_uid
MOST_REPORTS = 64  # about one patient that are looked at
BATCH = 256  # blobs that are described in one transaction

_object = exists().where(instances.c.digest == described.c.digest, instances.c.job.not_in(select(removed.c.job)))
#: The kind of a report about an earlier study that was fetched to stand beside a newer one: no viewer finds it here.
PRIOR = "PRIOR"
_written = documents.c.job.not_in(KEPT_BACK) & (documents.c.digest == described.c.digest)
_paper = exists().where(_written, documents.c.kind != PRIOR)
_NEW_PAPERS = select(documents.c.digest, literal(0).label("received")).where(
    documents.c.digest != "",
    documents.c.sop_instance_uid != "",
    ~exists().where(described.c.digest == documents.c.digest),
)
_NEW = (
    select(instances.c.digest, literal(1).label("received"))
    .where(instances.c.job.not_in(select(removed.c.job)), ~exists().where(described.c.digest == instances.c.digest))
    .union(_NEW_PAPERS)
)


@dataclass(frozen=True, slots=True)
class Blob:
    """One object that is held."""

    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    study_uid: str
    transfer_syntax: str
    digest: str
    received: bool  # False: made here


class Held:
    """What can be searched for and retrieved.

    Parameters
    ----------
    spool, made
        The blobs of objects and of documents.
    """

    def __init__(self, index: Index, spool: Spool, made: Spool) -> None:
        self._index = index
        self._spool = spool
        self._made = made
        self._lock = threading.Lock()  # of who describes

    def search(self, asked: Asked, most: int) -> list[dict[str, Any]]:
        """Return what matches, the newest study first.

        Parameters
        ----------
        most
            Rows at most.

        Returns
        -------
        list of dict
            Values by keyword; `series` and `instances` count what is below, ModalitiesInStudy is a list.

        Raises
        ------
        StoreError
            Index or blobs cannot be read now.
        """
        self._describe()
        with self._index.reading() as connection:
            rows = [dict(row._mapping) for row in connection.execute(_matches(asked, most))]
            if asked.level == Level.STUDY:
                study = described.c.StudyInstanceUID
                of = select(study, described.c.Modality).where(study.in_([row["StudyInstanceUID"] for row in rows]))
                modalities = sorted(connection.execute(of.where(_live()).distinct()).all())
                for row in rows:
                    named = [modality for uid, modality in modalities if uid == row["StudyInstanceUID"] and modality]
                    row["ModalitiesInStudy"] = named
        return rows

    def blobs(self, uids: Mapping[str, str]) -> list[Blob]:
        """Return the objects of a study, series or instance, by the UIDs of some of `KEYS`.

        Raises
        ------
        StoreError
            Index or blobs cannot be read now.
        """
        self._describe()
        columns = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
        asked = select(*(described.c[name] for name in columns), described.c.AvailableTransferSyntaxUID)
        asked = asked.add_columns(described.c.digest, described.c.received).where(_live())
        asked = asked.where(*(described.c[key] == uid for key, uid in uids.items()))
        number = described.c.InstanceNumber
        with self._index.reading() as connection:
            rows = connection.execute(
                asked.order_by(described.c.SeriesInstanceUID, func.length(number), number, described.c.SOPInstanceUID)
            ).all()
        return [Blob(*row[:6], bool(row[6])) for row in rows]

    def about(self, digest: str) -> dict[str, str]:
        """Return what a received blob says of itself: the keywords of `ATTRIBUTES`, "" where it does not.

        Raises
        ------
        StoreError
            It cannot be read now.
        """
        return self._row(digest, True)

    def reports(self, about: Mapping[str, str], most: int = MOST_REPORTS) -> dict[str, str]:
        """Return our reports about earlier studies of a patient, the newest first: digest -> Study Instance UID.

        None that is withheld is among them: whose values they are is in doubt.  Nor is one of a study whose reports
        exceed `most`: what a person rejected would count where the rejection is left out.

        Parameters
        ----------
        about
            As `about`, of an object of the study that they are to be earlier than.

        Raises
        ------
        StoreError
            Index or blobs cannot be read now.
        """
        if not about["PatientID"]:
            return {}
        self._describe(_NEW_PAPERS)  # no study waits until the objects of all others are described
        of = [described.c[key] == about[key] for key in ("PatientID", "IssuerOfPatientID")]
        of += [described.c.SOPClassUID == REPORT, described.c.StudyInstanceUID != about["StudyInstanceUID"]]
        found = select(described.c.digest, described.c.StudyInstanceUID).where(*of, exists().where(_written))
        found = found.where(described.c.StudyDate <= about["StudyDate"])
        order = (described.c.StudyDate.desc(), described.c.StudyTime.desc(), described.c.StudyInstanceUID)
        with self._index.reading() as connection:
            rows = connection.execute(found.order_by(*order, described.c.digest).limit(most + 1)).all()
        cut = {row.StudyInstanceUID for row in rows[most:]}
        return {row.digest: row.StudyInstanceUID for row in rows if row.StudyInstanceUID not in cut}

    def get(self, blob: Blob) -> bytes:
        """Return the DICOM file of an object.

        Raises
        ------
        DamagedBlob, StoreError
            As `wetread.jobs.spool.Spool.get`.
        """
        return (self._spool if blob.received else self._made).get(blob.digest)

    def _describe(self, new: CompoundSelect[Any] | Select[Any] = _NEW) -> None:
        """Read the headers of what came since the last time, but of blobs that the disk does not give."""
        with self._lock:
            unreadable: set[str] = set()  # they stay unknown: the next search tries again
            while True:
                with self._index.reading() as connection:
                    found = connection.execute(new.limit(BATCH + len(unreadable))).all()
                unknown = {row.digest: bool(row.received) for row in found if row.digest not in unreadable}
                if not unknown:
                    return
                rows = self._rows(unknown)
                unreadable |= unknown.keys() - rows.keys()
                if rows:
                    self._keep(rows)

    def _keep(self, rows: dict[str, dict[str, Any]]) -> None:
        with self._index.writing() as connection:  # another node was faster, or the blob was deleted
            known = set(connection.scalars(select(described.c.digest).where(described.c.digest.in_(rows))))
            fresh = [rows[digest] for digest in living(connection, list(rows)) - known]
            if fresh:
                connection.execute(insert(described), fresh)

    def _rows(self, unknown: Mapping[str, bool]) -> dict[str, dict[str, Any]]:
        """Describe blobs, but those that the disk does not give; of each is told whether it was received."""
        rows = {}
        for digest, received in unknown.items():
            try:
                rows[digest] = self._row(digest, received)
            except UnreadableBlob as error:
                log.warning("blob cannot be searched", extra={"reason": str(error)})
        return rows

    def _row(self, digest: str, received: bool) -> dict[str, Any]:
        """Describe one blob; of one that is gone or no object nothing is said, so that it is not found."""
        try:
            found = queryable.described(*(self._spool if received else self._made).beginning(digest, LAST))
        except (DamagedBlob, BadInput):
            found = dict.fromkeys(ATTRIBUTES, "")
        return {"digest": digest, "received": int(received), **found}


def _live() -> ColumnElement[bool]:
    """What is held, of what was ever described."""
    return and_(described.c.StudyInstanceUID != "", or_(_object, _paper))


def _matches(asked: Asked, most: int) -> Select[Any]:
    """The page of studies, series or instances that match, each with all that is held of it."""
    keys = [described.c[key] for key in KEYS[: asked.level + 1]]
    order = [func.max(described.c.StudyDate).desc(), keys[0]]
    if asked.level:
        number = described.c.SeriesNumber if asked.level == Level.SERIES else described.c.InstanceNumber
        order += [func.max(func.length(number)), func.max(number), *keys[1:]]
    conditions = [_condition(keyword, value) for keyword, value in asked.match]
    page = select(*keys).where(_live(), *conditions).group_by(*keys).order_by(*order)
    paged = page.limit(most).offset(asked.offset).subquery()
    found = [func.max(described.c[name]).label(name) for name in ATTRIBUTES]
    counts = (
        func.count(described.c.SOPInstanceUID.distinct()).label("instances"),
        func.count(described.c.SeriesInstanceUID.distinct()).label("series"),
    )
    same = and_(*(column == paged.c[column.name] for column in keys))
    return select(*found, *counts).join(paged, same).where(_live()).group_by(*keys).order_by(*order)


def _condition(keyword: str, value: str) -> ColumnElement[bool]:
    """Single value, list of UIDs, range or wild card matching (PS3.4 Section C.2.2.2)."""
    if keyword == "ModalitiesInStudy":
        of_study = described.alias()
        named = (_alike(of_study.c.Modality, one) for one in value.replace(",", "\\").split("\\"))
        return exists().where(of_study.c.StudyInstanceUID == described.c.StudyInstanceUID, or_(*named))
    column: Column[str] = described.c[keyword]
    vr = ATTRIBUTES[keyword].vr
    if vr == "UI":
        return column.in_(value.replace(",", "\\").split("\\"))
    if vr in ("DA", "TM") and "-" in value:
        low, _, high = value.partition("-")
        latest = column.concat(func.substr(LATEST[vr], func.length(column) + 1))
        until = [column <= high + LATEST[vr][len(high) :]] if high else []
        return and_(column != "", latest >= low, *until)
    if vr == "PN":
        like = _like(value)
        return or_(*(func.lower(column).like(func.lower(form), escape="\\") for form in _groups(like)))
    return _alike(column, value)


def _alike(column: ColumnElement[str], value: str) -> ColumnElement[bool]:
    """Single value or wild card matching."""
    if "*" in value or "?" in value:
        return func.lower(column).like(func.lower(_like(value)), escape="\\")
    return column == value


def _like(value: str) -> str:
    """The pattern of SQL for one of DICOM."""
    for mark in "\\%_":
        value = value.replace(mark, f"\\{mark}")
    return value.replace("*", "%").replace("?", "_")


def _groups(like: str) -> Sequence[str]:
    """Any of the component groups of a name may match (PS3.5 Section 6.2.1.1)."""
    return (like, f"{like}=%", f"%={like}", f"%={like}=%")
