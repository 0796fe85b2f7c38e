"""What the FHIR bundles that were made say, resource by resource, to be read and searched.

Like headers, bundles are looked into when somebody asks, and the index keeps only what is searched by; the rest is
read from the bundle itself.

References
----------
FHIR R4, RESTful API Section 3.1.0.11 (bundle), search Section 3.1.1.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, and_, cast, exists, false, func, insert, or_, select

from wetread.jobs.index import Index
from wetread.jobs.spool import DamagedBlob, Spool, UnreadableBlob
from wetread.jobs.tables import documents, resources
from wetread.jobs.withholding import KEPT_BACK

log = logging.getLogger("wetread.jobs")

BATCH = 64  # bundles that are looked into in one transaction
#: Where the date of a resource stands, by its type.
_DATES = {"DiagnosticReport": "effectiveDateTime", "Observation": "effectiveDateTime", "ImagingStudy": "started"}
#: Where the codes of `status` come from, by type; a code has no system of its own, so that "|code" means it too.
_STATUSES = {
    "DiagnosticReport": "http://hl7.org/fhir/diagnostic-report-status",
    "Observation": "http://hl7.org/fhir/observation-status",
    "ImagingStudy": "http://hl7.org/fhir/imagingstudy-status",
    "Device": "http://hl7.org/fhir/device-status",
}
#: Comparisons of a date by their prefix (search Section 3.1.1.4.5), of days or moments as text.
PREFIXES = ("eq", "ge", "le", "gt", "lt")

Json = dict[str, Any]

_HELD = and_(documents.c.digest == resources.c.digest, documents.c.job.not_in(KEPT_BACK))
_SIGNED = 1 << 40  # more than there are documents: what a person signed stays the last


@dataclass(frozen=True, slots=True)
class Wanted:
    """What resources of a type are asked for; empty: all."""

    type: str
    ids: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()  # "system|value", "system|", "|value" or "value"
    patient: tuple[str, ...] = ()  # the same, of the patient
    statuses: tuple[str, ...] = ()  # the same, of the status
    dates: tuple[str, ...] = ()  # each with a prefix or without; all must hold


class Resources:
    """The resources of a store.

    Parameters
    ----------
    made
        The blobs of documents.
    """

    def __init__(self, index: Index, made: Spool) -> None:
        self._index = index
        self._made = made
        self._lock = threading.Lock()  # of who looks into bundles

    def search(self, wanted: Wanted, most: int, offset: int = 0) -> tuple[list[Json], int]:
        """Return what matches, the newest first, and how much there is.

        Raises
        ------
        StoreError
            Index or blobs cannot be read now.
        """
        self._look()
        page = _newest(wanted).where(*_conditions(wanted)).group_by(resources.c.id)
        newest = func.max(resources.c.date).desc()
        with self._index.reading() as connection:
            total = int(connection.execute(select(func.count()).select_from(page.subquery())).scalar_one())
            ids = list(connection.scalars(page.order_by(newest, resources.c.id).limit(most).offset(offset)))
        return self.read(wanted.type, ids), total

    def read(self, kind: str, ids: Sequence[str]) -> list[Json]:
        """Return resources of a type by their ids, as the newest bundle has each; unknown ones are left out."""
        self._look()
        newest = select(resources.c.id, resources.c.digest).join(documents, documents.c.digest == resources.c.digest)
        newest = newest.where(resources.c.type == kind, resources.c.id.in_(ids))
        newest = newest.where(documents.c.job.not_in(KEPT_BACK))
        newest = newest.order_by(documents.c.signed, documents.c.id)  # what a person signed stays the last
        with self._index.reading() as connection:
            rows = connection.execute(newest).all()
        found: dict[str, list[str]] = {}
        for row in rows:
            found.setdefault(row.id, []).append(row.digest)
        wanted = {
            digest for digests in found.values() for digest in (digests if kind == "ImagingStudy" else digests[-1:])
        }
        bundles = {digest: self._resources(digest) for digest in wanted}
        versions = (
            [bundles[digest][kind, one] for digest in found[one] if (kind, one) in bundles.get(digest, {})]
            for one in ids
            if one in found
        )
        return [_whole(some) for some in versions if some]

    def _resources(self, digest: str) -> dict[tuple[str, str], Json]:
        """Return the resources of a bundle by type and id, as they are when they are read."""
        try:
            entries = json.loads(self._made.get(digest))["entry"]
        except (DamagedBlob, UnreadableBlob) as error:
            log.error("bundle left out", extra={"reason": str(error)})
            return {}
        kinds = {one["fullUrl"]: one["resource"]["resourceType"] for one in entries}
        made = {}
        for one in entries:
            id_ = _id(one)
            kind = one["resource"].pop("resourceType")
            made[kind, id_] = {"resourceType": kind, "id": id_, **_settled(one["resource"], kinds)}
        return made

    def _look(self) -> None:
        """Look into what came since the last time."""
        known = exists().where(resources.c.digest == documents.c.digest)
        unknown = select(documents.c.digest).distinct()
        unknown = unknown.where(documents.c.kind == "FHIR", documents.c.digest != "", ~known)
        unreadable: set[str] = set()
        with self._lock:
            while True:
                with self._index.reading() as connection:
                    found = connection.scalars(unknown.limit(BATCH + len(unreadable)))
                    digests = [digest for digest in found if digest not in unreadable]
                if not digests:
                    return
                rows: list[Json] = []
                for digest in digests:
                    try:
                        rows += self._rows(digest)
                    except UnreadableBlob as error:
                        log.warning("bundle cannot be searched", extra={"reason": str(error)})
                        unreadable.add(digest)
                with self._index.writing() as connection:  # another node was faster, or the bundle was deleted
                    held, there = (
                        set(connection.scalars(select(column).where(column.in_(digests))))
                        for column in (documents.c.digest, resources.c.digest)
                    )
                    if new := [row for row in rows if row["digest"] in held - there]:
                        connection.execute(insert(resources), new)

    def _rows(self, digest: str) -> Iterator[Json]:
        try:
            entries = json.loads(self._made.get(digest))["entry"]
        except DamagedBlob as error:
            log.error("bundle damaged", extra={"reason": str(error)})
            yield {"digest": digest, "type": "", "id": "", "identifiers": "", "patient": "", "status": "", "date": ""}
            return
        for one in entries:
            resource = one["resource"]
            kind = resource["resourceType"]
            yield {
                "digest": digest,
                "type": kind,
                "id": _id(one),
                "identifiers": _tokens(resource.get("identifier", ())),
                "patient": _tokens([resource.get("subject", {}).get("identifier", {})]),
                "status": resource.get("status", ""),
                "date": resource.get(_DATES.get(kind, ""), ""),
            }


def _newest(wanted: Wanted) -> Select[Any]:
    """The ids of what is held and not withheld, each as the newest bundle has it: so `Resources.read` gives it."""
    turn = cast(documents.c.signed, BigInteger) * _SIGNED + documents.c.id
    of_type = [resources.c.type == wanted.type, *([resources.c.id.in_(wanted.ids)] if wanted.ids else [])]
    held = select(resources.c.id, func.max(turn).label("turn")).select_from(resources.join(documents, _HELD))
    last = held.where(*of_type).group_by(resources.c.id).subquery()
    same = and_(last.c.id == resources.c.id, last.c.turn == turn)
    return select(resources.c.id).select_from(resources.join(documents, _HELD).join(last, same))


def _id(entry: Json) -> str:
    return str(entry["fullUrl"]).removeprefix("urn:uuid:")


def _tokens(identifiers: Iterable[Mapping[str, str]]) -> str:
    """Write identifiers as lines, each between line feeds, so that one can be looked for whole."""
    told = [f"{one.get('system', '')}|{one['value']}" for one in identifiers if "value" in one]
    return "".join(f"\n{one}" for one in told) + "\n" if told else ""


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    yield resources.c.type == wanted.type
    if wanted.ids:
        yield resources.c.id.in_(wanted.ids)
    for column, tokens in ((resources.c.identifiers, wanted.identifiers), (resources.c.patient, wanted.patient)):
        if tokens:
            yield or_(*(column.like(_like(token), escape="\\") for token in tokens))
    if wanted.statuses:
        yield or_(*(_status(wanted.type, token) for token in wanted.statuses))
    for given in wanted.dates:
        prefix, value = (given[:2], given[2:]) if given[:2] in PREFIXES else ("eq", given)
        day = func.substr(resources.c.date, 1, len(value))
        yield resources.c.date != ""
        yield {"eq": day == value, "ge": day >= value, "le": day <= value, "gt": day > value, "lt": day < value}[prefix]


def _status(kind: str, token: str) -> ColumnElement[bool]:
    system, _, code = token.rpartition("|")
    if system not in ("", _STATUSES.get(kind)):
        return false()
    return resources.c.status == code if code else resources.c.status != ""


def _like(token: str) -> str:
    """The pattern of a token: with its system, with none, or with any; or of any value of a system."""
    for mark in "\\%_":
        token = token.replace(mark, f"\\{mark}")
    if token.endswith("|"):
        return f"%\n{token}%"
    return f"%\n{token}\n%" if "|" in token else f"%|{token}\n%"


def _settled(value: Any, kinds: Mapping[str, str]) -> Any:
    """Turn references of a bundle into those of a server: what it does not hold is named by its identifier."""
    if isinstance(value, list):
        return [_settled(one, kinds) for one in value]
    if not isinstance(value, dict):
        return value
    made = {name: _settled(child, kinds) for name, child in value.items()}
    reference = str(made.get("reference", ""))
    if reference in kinds:
        made["reference"] = f"{kinds[reference]}/{reference.removeprefix('urn:uuid:')}"
    elif "?" in reference or "/" in reference:
        del made["reference"]
    return made


def _whole(versions: Sequence[Json]) -> Json:
    """Put a study together of what each of its results lists; of others the last says all."""
    made = dict(versions[-1])
    series = {one["uid"]: one for version in versions for one in version.get("series", ())}
    if series:
        made["series"] = list(series.values())
        seen = {json.dumps(one, sort_keys=True): one for version in versions for one in version["modality"]}
        made["modality"] = list(seen.values())
    return made
