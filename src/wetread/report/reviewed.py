"""A review: what a person decided about a result, and the documents that say so, made from those of the result.

The structured report becomes a new version, verified, that names its predecessor; what the person rejected or decided
otherwise does not stand in it any more.  The HL7 message becomes a final one, the FHIR bundle a final report.

References
----------
DICOM PS3.3 Section C.17.2 (Verification Flag, Verifying Observer Sequence, Predecessor Documents Sequence), PS3.16
TID 1003 (person observer), TID 1500; HL7 v2.5.1 Tables 0085 and 0123, Section 7.4.1.32 (principal interpreter).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace

from wetread.errors import BadInput
from wetread.records import Code, Document, Filed
from wetread.report import codes
from wetread.report.checker import problems_of
from wetread.report.codes import coded
from wetread.report.elements import Item, decode, encode, get, item, sequence
from wetread.report.measured import compared, measured, renamed
from wetread.report.previous import PERTINENT, standing
from wetread.report.problem import require_none
from wetread.report.redrawn import Redrawn
from wetread.report.revision import PREDECESSORS
from wetread.report.tree import key, key_of, named, walk_nodes
from wetread.report.words import name
from wetread.uids import derive

DECISIONS = ("accept", "reject", "correct")
_EVIDENCE = "CurrentRequestedProcedureEvidenceSequence"
_DECIDED = {"accept": codes.ACCEPTED, "reject": codes.REJECTED, "correct": codes.CORRECTED}
#: Of the identifier of a practitioner, whose authority DICOM has no place for.
_PRACTITIONER = "99PRACTITIONER"

#: What values must not hold: of PN, LO and SH, and of UT (PS3.5 Section 6.1.3 and Table 6.2-1); of a URI (RFC 3986).
_NO_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\\]")
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_NO_URI = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff<>\"{}|\\^`]")


@dataclass(frozen=True, slots=True)
class Review:
    """What a person decided about one result."""

    decision: str  # of `DECISIONS`
    name: str  # of the person, as DICOM writes it: family^given
    identifier: str  # of the practitioner
    system: str  # URI of who gave it, "" not known
    organization: str
    at: str  # UTC, ISO 8601 to the second
    text: str = ""  # in the person's words
    findings: Mapping[str, bool] = field(default_factory=dict)  # of a correction: code value -> present
    segmentation: str = ""  # of a correction: SOP Instance UID of the masks that the person drew

    def __post_init__(self) -> None:
        if self.decision not in DECISIONS:
            raise BadInput(f"review: expected decision {', '.join(DECISIONS)}, got another")
        if not (self.name.strip() and self.identifier.strip() and self.organization.strip()):
            raise BadInput("review: expected name, identifier and organization of the person, got not all of them")
        if (self.findings or self.segmentation) and self.decision != "correct":
            raise BadInput("review: expected findings and segmentation with the decision correct only")
        if self.decision == "correct" and not (self.findings or self.segmentation or self.text.strip()):
            raise BadInput("review: expected findings, a segmentation or a text that correct something, got none")
        longest = max(map(len, (self.name, self.identifier, self.organization)))
        if longest > 64 or len(self.text) > 4000 or not all(map(str.isprintable, (self.name, self.identifier))):
            raise BadInput("review: expected at most 64 characters of name, identifier and organization, 4000 of text")
        if any(map(_NO_LINE.search, (self.name, self.identifier, self.organization))) or self.name.count("=") > 2:
            raise BadInput(
                "review: expected the person in one line without backslash, the name in at most three groups"
            )
        if _NO_URI.search(self.system) or _NO_TEXT.search(self.text):
            raise BadInput("review: expected a URI as system and text without control characters, got something else")

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, hex."""
        told = asdict(self)
        if not self.segmentation:  # as it was before there were any: what was said is not said anew
            del told["segmentation"]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of one finding, and what the person says."""

    model: str  # name of the algorithm
    code: str
    meaning: str  # of the code
    said: bool  # present, by the model
    true: bool | None  # by the person; None: the result was rejected, and nobody said


def is_read(report: bytes) -> bool:
    """Whether a structured report says something of an image, and not why it was not read."""
    return bool(get(decode(report)[1], "CompletionFlag") != "PARTIAL")


def verdicts(report: bytes, review: Review) -> list[Verdict]:
    """Compare each finding of a structured report with its review.

    Raises
    ------
    BadInput
        The review is about a finding that the report does not have, or nothing was read.
    """
    _, data = decode(report)
    found = list(_findings(data))
    if not is_read(report):
        raise BadInput("review: expected a result, got one that was not read: there is nothing to review")
    if unknown := set(review.findings) - {one.code for one in found}:
        raise BadInput(f"review: expected findings of the report, got {len(unknown)} others")
    return [replace(one, true=_true(one, review)) for one in found]


def _true(one: Verdict, review: Review) -> bool | None:
    if review.decision == "reject":
        return False if one.said else None
    return review.findings.get(one.code, one.said)


def overruled(review: Review, verdicts: Iterable[Verdict]) -> dict[str, bool]:
    """Return what the person decided otherwise, code to present; a rejection says nothing else."""
    if review.decision == "reject":
        return {}
    return {one.code: one.true for one in verdicts if one.true is not None and one.true != one.said}


def _findings(data: Item) -> Iterator[Verdict]:
    """Visit the findings of the algorithms, with no word of a person yet."""
    for container in named(sequence(data, "ContentSequence"), codes.IMAGING_MEASUREMENTS):
        for group in sequence(container, "ContentSequence"):
            inner = sequence(group, "ContentSequence")
            if code := _finding_of(inner):
                said = next(one for one in inner if key_of(one) == code and get(one, "ValueType") == "CODE")
                by = get(named(inner, codes.ALGORITHM_NAME)[0], "TextValue", "")
                present = key_of(said, "ConceptCodeSequence") == key(codes.PRESENT)
                yield Verdict(by, code[1], _named(group, code[1]).meaning, present, None)


def _finding_of(group: list[Item]) -> tuple[str, str] | None:
    """Return the code of the finding of a group that states a probability."""
    if not named(group, codes.PROBABILITY):
        return None
    return next(key_of(one, "ConceptCodeSequence") for one in named(group, codes.FINDING))


def verified(report: bytes, review: Review, predecessor: str = "", drawn: Redrawn | None = None) -> Document:
    """Write the next version of a structured report.

    Parameters
    ----------
    predecessor
        SOP Instance UID of the last version; "": the report itself.
    drawn
        The segmentation with the person's masks, if there are any.

    Raises
    ------
    DocumentError
        It failed our own check.
    """
    _, data = decode(report)
    before = predecessor or get(data, "SOPInstanceUID")
    made = dict(data if drawn is None else renamed(data, drawn.before, drawn.document.sop_instance_uid))
    made |= item(
        SOPInstanceUID=derive(get(data, "SOPInstanceUID"), "review", review.digest),
        InstanceNumber=str(int(get(data, "InstanceNumber", "1")) + 1),
        VerificationFlag="VERIFIED",
        PreliminaryFlag="FINAL",
        CompletionFlagDescription="AI result, reviewed by a person",
        VerifyingObserverSequence=_observer(review),
        ContentSequence=_tree(made, review, drawn),
    )
    series = item(
        SeriesInstanceUID=get(data, "SeriesInstanceUID"),
        ReferencedSOPSequence=item(ReferencedSOPClassUID=get(data, "SOPClassUID"), ReferencedSOPInstanceUID=before),
    )
    study = item(StudyInstanceUID=get(data, "StudyInstanceUID"), ReferencedSeriesSequence=series)
    made |= item(**{PREDECESSORS: study})
    for keyword in (_EVIDENCE, PERTINENT):
        evidence = _pruned(made, keyword)
        made = {tag: entry for tag, entry in made.items() if tag not in item(**{keyword: []})}
        made |= item(**{keyword: evidence}) if evidence else {}
    if not all(map(str.isascii, (review.name, review.organization, review.text))):
        made |= item(SpecificCharacterSet="ISO_IR 192")
    encoded = encode(made)
    require_none("SR of a review", problems_of(encoded, None))
    return Document("SR", f"{review.digest[:8]}-sr.dcm", encoded, get(made, "SOPClassUID"), get(made, "SOPInstanceUID"))


def _observer(review: Review) -> Item:
    code = Code(review.identifier, _PRACTITIONER, "Practitioner")
    return item(
        VerifyingOrganization=review.organization,
        VerificationDateTime="".join(filter(str.isdigit, review.at)) + "+0000",
        VerifyingObserverName=review.name,
        VerifyingObserverIdentificationCodeSequence=coded(code),
    )


def _tree(data: Item, review: Review, drawn: Redrawn | None) -> list[Item]:
    """Take out what the person did not leave standing, and add what the person says."""
    kept = []
    for node in sequence(data, "ContentSequence"):
        if key_of(node) == key(codes.IMAGING_MEASUREMENTS):
            groups = [one for one in sequence(node, "ContentSequence") if _stands(one, review)]
            groups = groups if drawn is None else [measured(one, drawn, review.name) for one in groups]
            node = {tag: value for tag, value in node.items() if tag not in item(ContentSequence=[])}
            node |= item(ContentSequence=groups) if groups else {}
        kept.append(node)
    said = [_code(codes.REVIEW, _DECIDED[review.decision])]
    said += [
        _code(_named(data, code), codes.PRESENT if true else codes.ABSENT) for code, true in _changed(data, review)
    ]
    if review.text.strip():
        said.append(_node("TEXT", codes.COMMENT) | item(TextValue=review.text))
    kept = standing(kept if drawn is None else [compared(one, drawn) for one in kept])
    others = [one for one in kept if key_of(one) == key(codes.QUALITATIVE_EVALUATIONS)]
    before = [one for container in others for one in sequence(container, "ContentSequence")]
    container = _node("CONTAINER", codes.QUALITATIVE_EVALUATIONS) | item(ContinuityOfContent="SEPARATE")
    return [*(one for one in kept if one not in others), container | item(ContentSequence=[*before, *said])]


def _changed(data: Item, review: Review) -> list[tuple[str, bool]]:
    """What at least one algorithm had said otherwise."""
    said = {(one.code, one.said) for one in _findings(data)}
    return [(code, true) for code, true in review.findings.items() if (code, not true) in said]


def _stands(group: Item, review: Review) -> bool:
    """Whether the person left a group of the algorithm as it is."""
    if review.decision == "reject":
        return False
    inner = sequence(group, "ContentSequence")
    code = _finding_of(inner)
    if code is None or code[1] not in review.findings:
        return True
    said = next(one for one in inner if key_of(one) == code and get(one, "ValueType") == "CODE")
    return (key_of(said, "ConceptCodeSequence") == key(codes.PRESENT)) == review.findings[code[1]]


def _node(kind: str, name: Code) -> Item:
    return item(RelationshipType="CONTAINS", ValueType=kind, ConceptNameCodeSequence=coded(name))


def _code(name: Code, value: Code) -> Item:
    """State something; that a person does stands behind it."""
    person = item(
        RelationshipType="HAS OBS CONTEXT",
        ValueType="CODE",
        ConceptNameCodeSequence=coded(codes.OBSERVER_TYPE),
        ConceptCodeSequence=coded(codes.PERSON),
    )
    return _node("CODE", name) | item(ConceptCodeSequence=coded(value), ContentSequence=[person])


def _named(data: Item, code: str) -> Code:
    """Find a finding's concept by its code value."""
    for _, node in walk_nodes(sequence(data, "ContentSequence")):
        for one in sequence(node, "ConceptCodeSequence") if key_of(node) == key(codes.FINDING) else ():
            if code == key_of(node, "ConceptCodeSequence")[1]:
                return Code(code, get(one, "CodingSchemeDesignator"), get(one, "CodeMeaning"))
    raise BadInput("review: expected findings of the report, got another")


def _pruned(data: Item, keyword: str) -> list[Item]:
    """Keep in the evidence what the tree still names."""
    nodes = [node for _, node in walk_nodes(sequence(data, "ContentSequence"))]
    there = {get(one, "ReferencedSOPInstanceUID") for node in nodes for one in sequence(node, "ReferencedSOPSequence")}
    studies = []
    for study in sequence(data, keyword):
        series = []
        for one in sequence(study, "ReferencedSeriesSequence"):
            listed = sequence(one, "ReferencedSOPSequence")
            if instances := [each for each in listed if get(each, "ReferencedSOPInstanceUID") in there]:
                series.append(one | item(ReferencedSOPSequence=instances))
        if series:
            studies.append(study | item(ReferencedSeriesSequence=series))
    return studies


def components(review: Review) -> list[str]:
    """Return the components of the person's name, in the first of its scripts."""
    return next((one for one in review.name.split("=") if one.strip("^ ")), "").split("^")


def called(review: Review) -> str:
    """Return the person's name for people."""
    family, *given = components(review)
    return f"{' '.join(given).strip()} {family}".strip()


def words(review: Review, verdicts: Iterable[Verdict], drawn: Redrawn | None = None) -> list[str]:
    """Say the review in words, a line at a time."""
    names = {one.code: name(one.meaning) for one in verdicts}
    said = [f"{_DECIDED[review.decision].meaning} by {called(review)}, {review.organization}, {review.at}."]
    said += [f"{names[code]}: {'present' if value else 'absent'}" for code, value in review.findings.items()]
    sizes = drawn.sizes.values() if drawn is not None else ()
    said += [f"{one.label}: {one.value} {one.unit}, outlined by a person" for one in sizes]
    return said + [line for line in review.text.splitlines() if line.strip()]


def filed(review: Review, before: Filed, kind: str) -> Filed:
    """Say how a record files what a person signed."""
    identity = hashlib.sha256(f"{before.identity} {kind} {review.digest}".encode()).hexdigest()
    return Filed(identity, before.patient, before.about, signed=True)
