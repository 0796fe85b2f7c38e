"""What was said before of the images of a result, and how its documents name what they replace.

A structured report names the reports that it replaces, an encapsulated PDF the earlier PDFs.  The other
kinds have no attribute for it: a key object selection (C.17.6.2) and a presentation state (C.11.10) none at
all, and among the purposes that the General Reference module (C.12.4) allows in SEG, PM and SC there is none
for "replaced".  Whoever finds one of those finds its report by the evidence, old and new.

References
----------
DICOM PS3.3 Sections C.17.2 and C.24.2 (Predecessor Documents Sequence), C.17.2.1 (Table C.17-3, hierarchical
SOP instance reference).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from wetread.records import Predecessor, Result, Revision
from wetread.report.context import KINDS, Context, reference
from wetread.report.elements import Item, decode, get, item, sequence
from wetread.report.identity import text_of
from wetread.report.problem import Problem

PREDECESSORS = "PredecessorDocumentsSequence"
#: The kinds whose IOD can name what it replaces.
CHAINED = ("SR", "PDF")
_EVIDENCE = "CurrentRequestedProcedureEvidenceSequence"
_KIND_OF = {KINDS[kind].sop_class_uid: kind for kind in CHAINED}
_MADE = frozenset(KINDS[kind].sop_class_uid for kind in ("SEG", "PM"))
_CLAUSE = "PS3.3 C.17.2, C.24.2"


@dataclass(frozen=True, slots=True)
class Earlier:
    """One document that was made for an earlier version of the study."""

    document: Predecessor
    study_uid: str
    sources: frozenset[str]  # SOP Instance UIDs of the images that it rests on
    replaced: frozenset[str]  # SOP Instance UIDs of the documents that it replaced itself
    verified: bool  # by a person: no algorithm replaces it


def earlier(files: Iterable[bytes]) -> Iterator[Earlier]:
    """Read what the documents of earlier versions rest on; those that cannot name a predecessor are left out.

    Raises
    ------
    DocumentError
        A file is not what we write.
    """
    for data in files:
        _, read = decode(data)
        kind = _KIND_OF.get(get(read, "SOPClassUID", ""))
        if kind is not None:
            named = (get(read, name, "") for name in ("SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID"))
            replaced = frozenset(get(one, "ReferencedSOPInstanceUID", "") for one in listed(read, PREDECESSORS))
            verified = get(read, "VerificationFlag") == "VERIFIED"
            document, study_uid = Predecessor(kind, *named), get(read, "StudyInstanceUID", "")
            yield Earlier(document, study_uid, _sources(kind, read), replaced, verified)


def listed(data: Item, keyword: str) -> Iterator[Item]:
    """Visit the instances of a hierarchical reference."""
    for study in sequence(data, keyword):
        for series in sequence(study, "ReferencedSeriesSequence"):
            yield from sequence(series, "ReferencedSOPSequence")


def _sources(kind: str, data: Item) -> frozenset[str]:
    named = listed(data, _EVIDENCE) if kind == "SR" else iter(sequence(data, "SourceInstanceSequence"))
    found = {get(one, "ReferencedSOPInstanceUID", ""): get(one, "ReferencedSOPClassUID", "") for one in named}
    return frozenset(uid for uid, class_uid in found.items() if class_uid not in _MADE)


def revision(result: Result, before: Sequence[Earlier]) -> Revision | None:
    """Say what a result replaces: what was said of some of its images, but not of just these.

    What rests on the same images is no predecessor: it comes out as before, under the same UIDs.  Of a
    chain of versions the last is named, the others by it.  What a person verified stands beside it, and the
    report that the person reviewed is named.

    Returns
    -------
    Revision or None
        None when nothing was said of these images, or nothing of others has come since.
    """
    here = sources_of(result)
    found = [one for one in before if one.study_uid == result.study_uid and one.sources & here and one.sources != here]
    superseded = {uid for one in found if not one.verified for uid in one.replaced}
    reviewed = {uid for one in found if one.verified for uid in one.replaced}
    last = [one for one in found if not one.verified and one.document.sop_instance_uid not in superseded]
    if not last:
        return None
    known = frozenset().union(*(one.sources for one in last))
    documents = {one.document.sop_instance_uid: one.document for one in last}
    return Revision(
        len(here - known), tuple(replace(documents[uid], reviewed=uid in reviewed) for uid in sorted(documents))
    )


def sources_of(result: Result) -> frozenset[str]:
    """Return the SOP Instance UIDs of the images that a result is about."""
    if result.header is None:
        return frozenset()
    given = result.image.sop_uids if result.image is not None else result.sop_uids
    return frozenset(given or (text_of(result.header, "SOPInstanceUID"),)) - {""}


def predecessors(context: Context, kind: str) -> Item:
    """Make the Predecessor Documents Sequence of a kind of document, if there is something to name."""
    revised = context.result.revision
    series = [
        item(SeriesInstanceUID=one.series_uid, ReferencedSOPSequence=reference(one.sop_class_uid, one.sop_instance_uid))
        for one in (revised.replaced if revised is not None else ())
        if one.kind == kind
    ]
    if not series:
        return {}
    return item(**{PREDECESSORS: item(StudyInstanceUID=context.source.study_uid, ReferencedSeriesSequence=series)})


def problems(data: Item) -> Iterator[Problem]:
    """Judge a Predecessor Documents Sequence: something other than the document itself, named once."""
    if get(data, PREDECESSORS) == []:
        yield Problem(PREDECESSORS, "expected at least one document, got none", _CLAUSE)
    named = [get(one, "ReferencedSOPInstanceUID") for one in listed(data, PREDECESSORS)]
    if get(data, "SOPInstanceUID") in named or len(set(named)) != len(named):
        yield Problem(PREDECESSORS, "expected other documents, each once, got this one or one twice", _CLAUSE)


def ours(kind: str, data: Item) -> Iterator[Problem]:
    """Judge what our own have: predecessors of their kind, in the same study, and no part of the evidence."""
    found = list(listed(data, PREDECESSORS))
    if any(get(one, "ReferencedSOPClassUID") != KINDS[kind].sop_class_uid for one in found):
        yield Problem(PREDECESSORS, f"expected documents of the kind {kind}, got another", _CLAUSE)
    if any(get(one, "StudyInstanceUID") != get(data, "StudyInstanceUID") for one in sequence(data, PREDECESSORS)):
        yield Problem(PREDECESSORS, "expected documents of the same study, got others", _CLAUSE)
    evidence = {get(one, "ReferencedSOPInstanceUID") for one in listed(data, _EVIDENCE)}
    if evidence & {get(one, "ReferencedSOPInstanceUID") for one in found}:
        yield Problem(PREDECESSORS, "expected no predecessor in the evidence, got one", _CLAUSE)
