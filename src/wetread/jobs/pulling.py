"""Brings priors from an archive: our report about one, else its images.

References
----------
PS3.4 Sections C.4.1 to C.4.3 (C-FIND, C-MOVE, C-GET); PS3.18 Sections 10.4 and 10.6 (WADO-RS, QIDO-RS).
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Protocol

from wetread import report
from wetread.acquire.syntaxes import SYNTAXES
from wetread.errors import BadInput, DocumentError, PeerRefused
from wetread.jobs.held import PRIOR
from wetread.jobs.store import Store
from wetread.records import Document
from wetread.report import codes
from wetread.report.context import KINDS
from wetread.settings import Destination, Settings
from wetread.wire import stow
from wetread.wire.archive import Series, fetch, opened, series_of
from wetread.wire.command import STORED
from wetread.wire.dimse import Received
from wetread.wire.part10 import EXPLICIT_LITTLE, meta
from wetread.wire.retrieve import Archive, move

log = logging.getLogger("wetread.jobs")

MOST_REPORT = 1 << 22  # bytes of a report
_NUMBER = str(KINDS["SR"].series_number)
_ASKED = ("StudyInstanceUID", "StudyTime", "IssuerOfPatientID")

Key = tuple[str, str, str]  # Study Instance UID, modality, body part


@dataclass(slots=True)
class Wanted:
    """Priors of one study, for one modality and body part."""

    digest: str  # of one of its objects
    most: int
    days: int  # 0: of any age
    tries: int = 0


class Way(Protocol):
    """How the images of a prior come in."""

    def pulls(self, study_uid: str, prior: str) -> None:
        """A prior of a study is about to be pulled."""

    def coming(self, prior: str, association: int) -> AbstractContextManager[None]:
        """While the block runs, the objects of a prior come; afterwards all that are wanted are here."""

    def bring(self, received: Received) -> int:
        """Take one object as from the archive; return its C-STORE status."""


class Pulling:
    """The search in one archive after the other.

    Parameters
    ----------
    store
        What is here already, and where reports are kept.
    settings
        `ae_title`, `idle_timeout_s` and `max_object_bytes` are used.
    """

    def __init__(self, store: Store, settings: Settings, way: Way) -> None:
        self._store = store
        self._settings = settings
        self._way = way
        self._numbers = itertools.count(-(1 << 40), -1)  # beside those of associations and of STOW-RS

    def __call__(self, place: Destination, key: Key, wanted: Wanted) -> list[str]:
        """Bring what an archive has of the priors that count; return their Study Instance UIDs.

        Raises
        ------
        PeerUnreachable, PeerRefused
            The archive does not answer.
        StoreError
            The index or the disk cannot be used now.
        """
        about = self._store.held.about(wanted.digest)
        if not about["PatientID"] or not about["StudyDate"]:  # nobody can tell what came before
            return []
        archive = Archive(
            place, self._settings.ae_title, self._settings.idle_timeout_s, self._settings.max_object_bytes
        )
        here = set(self._store.held.reports(about).values())
        found = self._studies(archive, key, wanted, about)[: wanted.most]
        for study_uid in found:
            if study_uid not in here:
                self._pull(archive, study_uid, key, about)
        return found

    def _studies(self, archive: Archive, key: Key, wanted: Wanted, about: Mapping[str, str]) -> list[str]:
        """Return the earlier studies of the patient, the newest first."""
        keys = {"PatientID": about["PatientID"], "ModalitiesInStudy": key[1]}
        keys["StudyDate"] = f"{_first(about['StudyDate'], wanted.days)}-{about['StudyDate']}"
        with opened(archive.peer, archive.calling_ae, archive.timeout_s) as query:
            rows = query.find("STUDY", {**dict.fromkeys(_ASKED, ""), **keys}).rows
        now, issuer = (about["StudyDate"], about["StudyTime"]), about["IssuerOfPatientID"]
        times = {}
        for row in rows:  # some pass over keys
            at = (row.get("StudyDate", ""), row.get("StudyTime", ""))
            same = row.get("PatientID", "").strip() == about["PatientID"]
            same = same and row.get("IssuerOfPatientID", "").strip() in ("", issuer)
            modalities = row.get("ModalitiesInStudy", "")
            if same and keys["StudyDate"][:8] <= at[0] and at < now and key[1] in (modalities or key[1]).split("\\"):
                times[row.get("StudyInstanceUID", "")] = at
        return sorted(times.keys() - {"", key[0]}, key=lambda uid: (times[uid], uid), reverse=True)

    def _pull(self, archive: Archive, study_uid: str, key: Key, about: Mapping[str, str]) -> None:
        series = list(series_of(archive, study_uid))
        reports = [one for one in series if (one.modality, one.series_number) == ("SR", _NUMBER)]
        kept = sum(self._report(archive, study_uid, one, about) for one in reports)
        if kept or self._store.studies.has(study_uid):  # what was here before is known, or was deleted and stays so
            log.info("prior found", extra={"archive": archive.name, "count": kept})
            return
        part = _part(key[2])
        images = [one for one in series if one.modality == key[1] and _part(one.body_part) in ("", part)]
        if images:
            self._way.pulls(key[0], study_uid)
            self._images(archive, study_uid, images)

    def _report(self, archive: Archive, study_uid: str, series: Series, about: Mapping[str, str]) -> int:
        """Keep the reports of a series that are ours and about the patient; return how many of them say something."""
        came: list[bytes] = []

        def keep(sop_instance_uid: str, data: bytes) -> None:
            if len(data) <= MOST_REPORT:
                came.append(data)

        ours = replace(series, classes=(KINDS["SR"].sop_class_uid,))
        try:
            fetch(archive, study_uid, ours, (EXPLICIT_LITTLE,), keep)
        except PeerRefused as error:  # it has images, perhaps
            log.info("report not fetched", extra={"archive": archive.name, "reason": str(error)})
        good = {data: said for data in came if (said := _about(data, study_uid, about)) is not None}
        for data in good:
            head = meta(data)
            paper = Document(PRIOR, "prior-sr.dcm", data, head.sop_class_uid, head.sop_instance_uid)
            self._store.studies.keep_prior(about["StudyInstanceUID"], paper)
        return sum(map(bool, good.values()))

    def _images(self, archive: Archive, study_uid: str, series: list[Series]) -> None:
        """Bring images by C-GET or WADO-RS; by C-MOVE from an archive that knows no C-GET."""
        number = next(self._numbers)

        def keep(sop_instance_uid: str, data: bytes) -> None:
            came = stow.received(data, self._settings.ae_title, number)
            if self._way.bring(replace(came, calling_ae=archive.peer.ae_title)) not in STORED:
                raise OSError("no room for a prior")

        with self._way.coming(study_uid, number):
            for one in series:
                try:
                    fetch(archive, study_uid, one, tuple(SYNTAXES), keep)
                except PeerRefused:
                    if archive.peer.url:
                        raise
                    keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": one.uid}
                    move(archive, keys, self._settings.ae_title)
        log.info("prior pulled", extra={"archive": archive.name, "count": len(series)})


def _about(data: bytes, study_uid: str, about: Mapping[str, str]) -> int | None:
    """Return how much a report of ours says about this study of this patient; None if it is none."""
    try:
        found = list(report.reported([data]))
    except (DocumentError, BadInput):
        return None
    patient = (about["PatientID"], about["IssuerOfPatientID"])
    ours = [one.prior for one in found if (one.prior.study_uid, one.patient) == (study_uid, patient)]
    return len(ours[0].groups) if ours else None


def _first(day: str, days: int) -> str:
    """Return the first day that counts, DA; "" where there is none."""
    try:
        return f"{date(int(day[:4]), int(day[4:6]), int(day[6:8])) - timedelta(days):%Y%m%d}" if days else ""
    except (ValueError, OverflowError):
        return ""


def _part(body_part: str) -> str:
    """Return a body part as reports code it, else as it is told."""
    told = body_part.strip().upper()
    return codes.BODY_PARTS[told].value if told in codes.BODY_PARTS else told
