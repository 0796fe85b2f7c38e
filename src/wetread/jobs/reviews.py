"""Reviews of results: found, kept with the documents that they make, and counted.

A review always starts from what the algorithms said; the last of several is the one that holds.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import Connection, func, insert, select

from wetread.errors import BadInput
from wetread.jobs.index import Index
from wetread.jobs.moves import note
from wetread.jobs.parcels import RETURNED, enclose, present
from wetread.jobs.spool import Spool
from wetread.jobs.states import Delivery
from wetread.jobs.tables import documents, instances, jobs, outbox, removed, reviews, withheld
from wetread.jobs.withholding import KEPT_BACK, Withholding
from wetread.records import Document, Filed, Segmentation
from wetread.report.fhir.signed import signed as signed_bundle
from wetread.report.redrawn import Redrawn, redrawn
from wetread.report.reviewed import Review, Verdict, filed, is_read, verdicts, verified
from wetread.report.revision import earlier
from wetread.report.signed import signed as signed_message
from wetread.settings import Destination

_STAYS = "review: expected a result that may leave; this one is withheld or discarded, as its order is of another"
SIGNED = ("FHIR", "ORU", "ORU-PDF")  # kinds that a review makes anew, beside the SR


class Conflict(BadInput):
    """The result cannot be reviewed now: it is withheld, or somebody else was faster."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What became of a review."""

    report: str  # SOP Instance UID of the SR that was reviewed
    successor: str  # that of the verified one
    made: tuple[str, ...]  # kinds of documents; () where the same was said before


class Reviews:
    """The reviews of a store.

    Parameters
    ----------
    spool
        The blobs of objects that came.
    made
        The blobs of documents.
    withholding
        Says whose documents must not leave.
    """

    def __init__(self, index: Index, spool: Spool, made: Spool, withholding: Withholding) -> None:
        self._index = index
        self._spool = spool
        self._made = made
        self._withholding = withholding

    def open(self, study_uid: str) -> list[str]:
        """Return the SOP Instance UIDs of the reports of a study that can be reviewed: the last about each image."""
        with self._index.reading() as connection:
            rows = _reports(connection, study_uid)
        return [row.sop_instance_uid for row in self._read(rows)]

    def drawn(self, study_uid: str, sop_instance_uid: str) -> bytes:
        """Return an object that came with a study, such as the segmentation that a person drew.

        Raises
        ------
        BadInput
            The study has none of that UID.
        StoreError
            It cannot be read now.
        """
        there = select(instances.c.digest).join(jobs)
        there = there.where(jobs.c.study_uid == study_uid, jobs.c.id.not_in(select(removed.c.job)))
        there = there.where(instances.c.sop_instance_uid == sop_instance_uid)
        with self._index.reading() as connection:
            digest = connection.scalar(there)
        if digest is None:
            raise BadInput(
                "review: expected a segmentation that was stored into the study, by STOW or C-STORE; there is none"
            )
        return self._spool.get(digest)

    def review(
        self,
        study_uid: str,
        review: Review,
        report: str = "",
        drawn: Segmentation | None = None,
        named: Sequence[Destination] = (),
    ) -> Reviewed:
        """Keep a review, make its documents and queue them for whoever got those of the result.

        Where an order contradicts what was delivered, they wait until a person released them.

        Parameters
        ----------
        report
            SOP Instance UID of the SR; "": the only one of the study.
        drawn
            The segmentation that the review names.
        named
            Destinations of the settings: who moved gets it at the new address.

        Raises
        ------
        BadInput
            There is no such report, more than one, or the review or its segmentation does not fit it.
        Conflict
            The result is withheld or was discarded, or somebody else reviewed it meanwhile.
        DocumentError
            A document of the review failed our own check.
        StoreError
            It is not kept.
        """
        said = _digest(replace(review, at=""))
        with self._index.reading() as connection:
            rows = _reports(connection, study_uid)
        row = _chosen(self._read(rows), report)
        with self._index.reading() as connection:
            before = _last(connection, row.sop_instance_uid)
            if before is not None and before.said == said:
                return Reviewed(row.sop_instance_uid, before.successor, ())
            sources = _sources(connection, row, drawn is not None, named)
        made, judged = self._documents(row, sources, review, before, drawn)
        digests = self._made.put_all(document.data for document, _ in made)
        with self._index.writing() as connection:
            last = _last(connection, row.sop_instance_uid)
            if (last.id if last else 0) != (before.id if before else 0):
                raise Conflict(
                    "review: expected the last version of the report, but somebody else reviewed it meanwhile"
                )
            now = self._index.now()
            successor = made[0][0].sop_instance_uid
            values = {"job": row.job, "report": row.sop_instance_uid, "successor": successor, "said": said, "at": now}
            values |= {"decision": review.decision, "reviewer": review.identifier}
            told = json.dumps([asdict(one) for one in judged])
            connection.execute(insert(reviews).values(**values, verdicts=told))
            state = self._withholding.returned(connection, row.job, now)
            for (document, destinations), digest in zip(made, digests, strict=True):
                kinds = dict.fromkeys(destinations, (document.kind,))
                enclose(connection, row.job, document, digest, kinds, now, state)
            note(connection, now, "reviewed", row.job, {"decision": review.decision, "successor": successor})
        return Reviewed(row.sop_instance_uid, successor, tuple(document.kind for document, _ in made))

    def _read(self, rows: list[Any]) -> list[Any]:
        """Leave out what was said anew in a later version, which is about some of the same images.

        So is what says only that something was not read, such as a mask that came, if anything was.
        """
        files = {row.id: self._made.get(row.digest) for row in rows}
        about = {row.id: next(earlier([files[row.id]])).sources for row in rows}
        last = [row for row in rows if not any(one.job > row.job and about[one.id] & about[row.id] for one in rows)]
        return [row for row in last if is_read(files[row.id])] or last

    def _documents(
        self, row: Any, sources: Sequence[_Source], review: Review, before: Any, drawn: Segmentation | None
    ) -> tuple[list[tuple[Document, list[str]]], list[Verdict]]:
        """Make the documents of a review with their destinations, the report first."""
        data = self._made.get(row.digest)
        judged = verdicts(data, review)
        masks = self._redrawn(sources, review, drawn) if drawn is not None else None
        report = verified(data, review, before.successor if before is not None else "", masks)
        made = []
        for one in sources:
            if one.kind == "SR":
                made.append((report, one.destinations))
                continue
            if one.kind == "SEG":
                assert masks is not None
                made.append((masks.document, one.destinations))
                continue
            how = filed(review, one.filed, one.kind)
            source = self._made.get(one.digest)
            if one.kind == "FHIR":
                told = signed_bundle(source, review, judged, report.sop_instance_uid, before is not None, masks)
            else:
                told = signed_message(source, review, judged, how, before is not None, masks)
            name = f"{review.digest[:8]}-{one.kind.lower()}.{one.name.rpartition('.')[2]}"
            made.append((Document(one.kind, name, told, filed=how), one.destinations))
        return made, judged

    def _redrawn(self, sources: Sequence[_Source], review: Review, drawn: Segmentation) -> Redrawn:
        ours = next((one for one in sources if one.kind == "SEG"), None)
        if ours is None:
            raise BadInput("review: expected a result with regions to correct their masks, got one without")
        return redrawn(self._made.get(ours.digest), drawn, review.name, review.digest)

    def decisions(self) -> Counter[str]:
        """Count the reviews by decision."""
        with self._index.reading() as connection:
            rows = connection.execute(select(reviews.c.decision, func.count()).group_by(reviews.c.decision))
            return Counter({str(name): int(number) for name, number in rows})

    def counts(self) -> Counter[tuple[str, bool, bool | None]]:
        """Count findings by model, what it said and what persons say; of each report the last review counts."""
        last = select(func.max(reviews.c.id)).group_by(reviews.c.report)
        with self._index.reading() as connection:
            rows = list(connection.scalars(select(reviews.c.verdicts).where(reviews.c.id.in_(last))))
        told = (one for row in rows for one in json.loads(row))
        return Counter((one["model"], one["said"], one["true"]) for one in told)


@dataclass(frozen=True, slots=True)
class _Source:
    """One document of the result, and where it went."""

    kind: str
    name: str
    digest: str
    filed: Filed
    destinations: list[str]


def _digest(review: Review) -> str:
    return hashlib.sha256(review.digest.encode()).hexdigest()


def _reports(connection: Connection, study_uid: str) -> list[Any]:
    """The reports of a study, but for those that a review or others made."""
    made = (
        select(documents)
        .join(jobs)
        .where(
            jobs.c.study_uid == study_uid,
            documents.c.kind == "SR",
            documents.c.digest != "",
            documents.c.name.not_like(f"{RETURNED}%"),
            documents.c.sop_instance_uid.not_in(select(reviews.c.successor)),
        )
    )
    return list(connection.execute(made.order_by(jobs.c.version.desc(), documents.c.id)))


def _chosen(rows: Sequence[Any], report: str) -> Any:
    found = [row for row in rows if report in ("", row.sop_instance_uid)]
    if len(found) != 1:
        known = ", ".join(row.sop_instance_uid for row in rows) or "none that is held"
        raise BadInput(f"review: expected one report of the study, named in report; there is {known}")
    return found[0]


def _last(connection: Connection, report: str) -> Any:
    return connection.execute(select(reviews).where(reviews.c.report == report).order_by(reviews.c.id.desc())).first()


def _sources(connection: Connection, row: Any, masks: bool, named: Sequence[Destination]) -> list[_Source]:
    """The report and what else was made of the same result: names of one result begin alike.

    The segmentation only where its `masks` are corrected.
    """
    if connection.scalar(KEPT_BACK.where(withheld.c.job == row.job)) is not None:
        raise Conflict(_STAYS)
    stem = row.name.rpartition("-")[0]
    others = select(documents).where(
        documents.c.job == row.job,
        documents.c.kind.in_((*SIGNED, "SEG") if masks else SIGNED),
        documents.c.signed == 0,
        documents.c.digest != "",
        documents.c.name.startswith(f"{stem}-", autoescape=True),
    )
    found = []
    for one in (row, *connection.execute(others.order_by(documents.c.id))):
        same = documents.c.sop_instance_uid == one.sop_instance_uid
        if not one.sop_instance_uid:
            same = documents.c.identity == one.identity
        ways = select(outbox.c.destination, outbox.c.state, outbox.c.patient).join(documents).where(same)
        went = connection.execute(ways).all()
        if any(way.state == Delivery.WITHHELD for way in went):
            raise Conflict(_STAYS)
        patient, went_to = next((way.patient for way in went), ""), [way.destination for way in went]
        about = Filed(one.identity, patient, one.about)
        found.append(_Source(one.kind, one.name, one.digest, about, sorted(present(went_to, named))))
    return found
