"""Fetches studies that a person names from an archive: into a folder by C-GET, into the node by C-MOVE."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from wetread.errors import BadInput
from wetread.wire.query import MOST_INSTANCES, Query, number_of
from wetread.wire.retrieve import Archive, Fetched, get, move

#: Attributes that a study is asked for, beside those that select it.
TOLD = ("StudyDate", "ModalitiesInStudy", "StudyDescription", "NumberOfStudyRelatedInstances")
#: What selects a study: every one that is given must be equal in what the archive answers, as some pass over keys.
EXACT = ("StudyInstanceUID", "AccessionNumber", "PatientID")
#: Storage classes that are proposed where an archive does not tell its own: CR, DX, CT, MR, enhanced CT and MR.
USUAL_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{arc}" for arc in ("1", "1.1", "2", "4", "2.1", "4.1"))
MOST_CLASSES = 7  # of one series: each is proposed in every transfer syntax

OnProgress = Callable[["Pulled"], None]


@dataclass(slots=True)
class Pulled:
    """What came of one study, or would come; nothing here names the patient."""

    study_uid: str
    study_date: str = ""
    modalities: str = ""
    description: str = ""
    expected: int = 0  # objects, as the archive says; 0: it does not
    completed: int = 0
    failed: int = 0


def matching(archive: Archive, keys: Mapping[str, str], most: int) -> list[Pulled]:
    """Return the studies that match, the newest first.

    Parameters
    ----------
    keys
        `EXACT` keys and Study Date, a date or range as PS3.4 Section C.2.2.2.5 has it, Modalities in Study.

    Raises
    ------
    BadInput
        Nothing selects a study, a value holds a wildcard, or more than `most` match.
    PeerUnreachable, PeerRefused
        As `wetread.wire.query.Query`.
    """
    given = {key: value for key, value in keys.items() if value}
    exact = {key: given[key] for key in EXACT if key in given}
    if not exact or any(set("*?\\") & set(value) for value in exact.values()):
        raise BadInput("pull: expected a Study Instance UID, accession number or Patient ID, without * and ?")
    with Query(archive.peer, archive.calling_ae, archive.timeout_s) as query:
        asked = {**dict.fromkeys((*EXACT, *TOLD), ""), **given}
        found = query.find("STUDY", asked, most + 1)
    rows = [row for row in found.rows if all(row.get(key, "").strip() == value for key, value in exact.items())]
    if len(found.rows) > most:
        raise BadInput(f"pull: expected at most {most} studies, more match; narrow them by --date, or raise --most")
    return sorted(map(_study, rows), key=lambda one: one.study_date, reverse=True)


def _study(row: Mapping[str, str]) -> Pulled:
    return Pulled(
        row["StudyInstanceUID"],
        row.get("StudyDate", ""),
        row.get("ModalitiesInStudy", "").replace("\\", " "),
        row.get("StudyDescription", ""),
        number_of(row.get("NumberOfStudyRelatedInstances", "")),
    )


class Way(Protocol):
    """How a study is pulled: into a folder, or into a node."""

    def __call__(self, study: Pulled, on_progress: OnProgress) -> None:
        """Pull one study and count in it what came."""


@dataclass(frozen=True, slots=True)
class IntoNode:
    """The archive sends to a node that it knows: the objects come by its own door."""

    archive: Archive
    ae_title: str

    def __call__(self, study: Pulled, on_progress: OnProgress) -> None:
        """Pull one study."""
        keys = {"StudyInstanceUID": study.study_uid}
        _count(study, move(self.archive, keys, self.ae_title, _telling(study, on_progress)))


@dataclass(frozen=True, slots=True)
class IntoFolder:
    """Every object becomes a file, named by its SOP Instance UID; one that is there already stays.

    Attributes
    ----------
    syntaxes
        Transfer syntaxes to propose.
    """

    archive: Archive
    folder: Path
    syntaxes: tuple[str, ...]
    written: list[Path] = field(default_factory=list)

    def __call__(self, study: Pulled, on_progress: OnProgress) -> None:
        """Pull one study, series by series."""
        self.folder.mkdir(parents=True, exist_ok=True)
        series = list(self._series(study.study_uid))
        study.expected = study.expected or sum(number for _, number, _ in series)
        done = Fetched()
        for series_uid, _, classes in series:
            pairs = [(one, syntax) for one in classes[:MOST_CLASSES] for syntax in self.syntaxes]
            keys = {"StudyInstanceUID": study.study_uid, "SeriesInstanceUID": series_uid}
            done = _sum(done, get(self.archive, keys, pairs, self._keep, _telling(study, on_progress, done)))
            _count(study, done)

    def _series(self, study_uid: str) -> Iterator[tuple[str, int, Sequence[str]]]:
        """Yield UID, number of objects and storage classes of each series."""
        with Query(self.archive.peer, self.archive.calling_ae, self.archive.timeout_s) as query:
            above = {"StudyInstanceUID": study_uid}
            for row in query.find("SERIES", {**above, "SeriesInstanceUID": ""}).rows:
                if row.get("StudyInstanceUID", study_uid) != study_uid:
                    continue
                keys = {**above, "SeriesInstanceUID": row["SeriesInstanceUID"], "SOPInstanceUID": "", "SOPClassUID": ""}
                images = query.find("IMAGE", keys, MOST_INSTANCES).rows
                classes = sorted({image.get("SOPClassUID", "") for image in images} - {""})
                yield row["SeriesInstanceUID"], len(images), classes or USUAL_CLASSES

    def _keep(self, sop_instance_uid: str, data: bytes) -> None:
        path = self.folder / f"{sop_instance_uid}.dcm"
        if not path.exists():
            temporary = path.with_suffix(".part")
            temporary.write_bytes(data)
            os.replace(temporary, path)
        self.written.append(path)


def _telling(study: Pulled, on_progress: OnProgress, before: Fetched = Fetched()) -> Callable[[Fetched], None]:  # noqa: B008 - frozen
    def tell(fetched: Fetched) -> None:
        _count(study, _sum(before, fetched))
        on_progress(study)

    return tell


def _count(study: Pulled, fetched: Fetched) -> None:
    study.completed, study.failed = fetched.completed + fetched.warning, fetched.failed


def _sum(one: Fetched, other: Fetched) -> Fetched:
    return Fetched(
        other.remaining, one.completed + other.completed, one.failed + other.failed, one.warning + other.warning
    )
