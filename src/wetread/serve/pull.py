"""Fetches studies that a person names from an archive: into a folder, or into the node.

By DIMSE into a folder by C-GET and into the node by C-MOVE.  A DICOMweb server sends nothing of itself: there
everything comes by WADO-RS, and what is for the node goes on to its own HTTP port by STOW-RS.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from wetread.errors import BadInput, PeerRefused
from wetread.settings import Destination, Settings
from wetread.wire.archive import fetch, opened, series_of
from wetread.wire.command import STORED
from wetread.wire.query import number_of
from wetread.wire.retrieve import Archive, Fetched, Keep, move
from wetread.wire.webstore import Sender

#: Attributes that a study is asked for, beside those that select it.
TOLD = ("StudyDate", "ModalitiesInStudy", "StudyDescription", "NumberOfStudyRelatedInstances")
#: What selects a study: every one that is given must be equal in what the archive answers, as some pass over keys.
EXACT = ("StudyInstanceUID", "AccessionNumber", "PatientID")

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


#: What `selective` asks for.
SELECTION = "expected a Study Instance UID, accession number or Patient ID, without * and ?"


def selective(keys: Mapping[str, str]) -> bool:
    """Whether these keys select studies, and not whatever an archive holds."""
    exact = [keys[key] for key in EXACT if keys.get(key)]
    return bool(exact) and not any(set("*?\\") & set(value) for value in exact)


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
        As `wetread.wire.archive.opened`.
    """
    given = {key: value for key, value in keys.items() if value}
    exact = {key: given[key] for key in EXACT if key in given}
    if not selective(keys):
        raise BadInput(f"pull: {SELECTION}")
    with opened(archive.peer, archive.calling_ae, archive.timeout_s) as query:
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


def way(archive: Archive, settings: Settings, folder: Path | None, syntaxes: tuple[str, ...]) -> Way:
    """Return how studies of an archive come into a folder, or without one into the node of the settings.

    Raises
    ------
    BadInput
        The node is to get studies of a DICOMweb server, and nobody knows its HTTP port.
    """
    if folder is not None:
        return IntoFolder(archive, folder, syntaxes)
    if not archive.peer.url:
        return IntoNode(archive, settings.ae_title)
    if not settings.http_port:
        raise BadInput("pull: from a URL into the node goes through its HTTP port: set http_port, or name --to FOLDER")
    host = settings.http_host if settings.http_host not in ("", "0.0.0.0", "::") else "127.0.0.1"  # noqa: S104
    scheme = "https" if settings.http_tls else "http"
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.http_port}/dicomweb"
    names = ("tls_certificate", "tls_key", "tls_authority") if settings.http_tls else ()
    files = {name: getattr(settings, name) for name in names}
    return ThroughNode(archive, Destination(settings.ae_title, url=url, token=settings.dicomweb_tokens, **files))


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
class ThroughNode:
    """Every object is fetched, and handed on to a node of this machine by STOW-RS.

    Attributes
    ----------
    node
        Its DICOMweb service.
    """

    archive: Archive
    node: Destination

    def __call__(self, study: Pulled, on_progress: OnProgress) -> None:
        """Pull one study, series by series.

        Raises
        ------
        PeerUnreachable, PeerRefused
            The archive, or the node, is away or lets us do nothing.
        """
        with Sender(self.node, self.archive.timeout_s) as sender:

            def hand_on(sop_instance_uid: str, data: bytes) -> None:
                status = sender.store(data)
                if status not in STORED:
                    raise OSError(f"the node answered with 0x{status:04X}")  # counts as failed

            _fetched(self.archive, study, (), hand_on, on_progress)


@dataclass(frozen=True, slots=True)
class IntoFolder:
    """Every object becomes a file, named by its SOP Instance UID; one that is there already stays.

    Attributes
    ----------
    syntaxes
        Transfer syntaxes to propose for C-GET.
    """

    archive: Archive
    folder: Path
    syntaxes: tuple[str, ...]
    written: list[Path] = field(default_factory=list)

    def __call__(self, study: Pulled, on_progress: OnProgress) -> None:
        """Pull one study, series by series."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _fetched(self.archive, study, self.syntaxes, self._keep, on_progress)

    def _keep(self, sop_instance_uid: str, data: bytes) -> None:
        path = self.folder / f"{sop_instance_uid}.dcm"
        if not path.exists():
            temporary = path.with_suffix(".part")
            temporary.write_bytes(data)
            os.replace(temporary, path)
        self.written.append(path)


def _fetched(archive: Archive, study: Pulled, syntaxes: Sequence[str], keep: Keep, on_progress: OnProgress) -> None:
    """Fetch a study series by series; one that fails as a whole counts as failed, once anything has come."""
    series = list(series_of(archive, study.study_uid))
    study.expected = study.expected or sum(one.number for one in series)
    done = Fetched()
    for one in series:
        tell = _telling(study, on_progress, done)
        try:
            done = _sum(done, fetch(archive, study.study_uid, one, syntaxes, keep, tell))
        except PeerRefused:
            if not done.completed:
                raise
            done = _sum(done, Fetched(failed=max(1, one.number)))
        _count(study, done)


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
