"""Which elements our resources must have and may have, by version.

References
----------
FHIR R4 (4.0.1), R4B (4.3.0), R5 (5.0.0): the definitions of the resources; what is more than optional there or for us
is required here.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """The elements of one kind of resource."""

    required: frozenset[str]
    known: frozenset[str]


def _rule(required: str, optional: str = "") -> Rule:
    must = frozenset(required.split())
    return Rule(must, must | frozenset(optional.split()) | {"resourceType"})


_BOTH = {
    "Observation": _rule(
        "identifier partOf status category code subject issued",
        "effectiveDateTime device basedOn valueQuantity valueCodeableConcept dataAbsentReason interpretation note "
        "bodySite method hasMember derivedFrom component performer",
    ),
    "Task": _rule(
        "identifier status intent priority code focus for authoredOn requester", "basedOn description businessStatus"
    ),
    "Provenance": _rule("meta target recorded agent entity"),
}
_ALERT = "identifier status category priority subject about sent sender payload"
_REPORT = "identifier text status category code subject issued conclusion"
_REPORT_MAY = (
    "effectiveDateTime extension basedOn performer resultsInterpreter result media conclusionCode presentedForm"
)
_STUDY = "identifier status modality subject"
_STUDY_MAY = "started basedOn endpoint series"
_DEVICE = "identifier status manufacturer modelNumber version type"

R4 = _BOTH | {
    "Communication": _rule(f"{_ALERT} reasonCode", "basedOn note"),
    "DiagnosticReport": _rule(f"{_REPORT} imagingStudy", _REPORT_MAY),
    "ImagingStudy": _rule(_STUDY, _STUDY_MAY),
    "Endpoint": _rule("identifier status connectionType payloadType address", "payloadMimeType"),
    "Device": _rule(f"{_DEVICE} deviceName", "parent"),
    "BodyStructure": _rule("identifier patient", "description morphology location locationQualifier"),
    "Media": _rule(
        "identifier partOf status type subject issued device content", "createdDateTime basedOn height width note"
    ),
    "AuditEvent": _rule("meta type recorded agent source", "action outcome entity"),
}
R5 = _BOTH | {
    "Communication": _rule(f"{_ALERT} reason", "basedOn note"),
    "DiagnosticReport": _rule(f"{_REPORT} study", _REPORT_MAY),
    "ImagingStudy": _rule(_STUDY, _STUDY_MAY),
    "Endpoint": _rule("identifier status connectionType payload address"),
    "Device": _rule(f"{_DEVICE} name", "parent"),
    "BodyStructure": _rule("identifier patient includedStructure", "description morphology"),
    "DocumentReference": _rule("identifier status docStatus type subject date author content", "description"),
    "AuditEvent": _rule("meta code recorded agent source", "action outcome entity"),
}
#: What a required code may be for us, by resource and element.
CODES = {
    ("Observation", "status"): {"preliminary", "final", "corrected", "entered-in-error"},
    ("DiagnosticReport", "status"): {"preliminary", "final", "corrected"},
    ("Communication", "status"): {"in-progress"},
    ("Communication", "priority"): {"stat"},
    ("ImagingStudy", "status"): {"available"},
    ("Endpoint", "status"): {"active"},
    ("Device", "status"): {"active"},
    ("Media", "status"): {"completed"},
    ("DocumentReference", "status"): {"current"},
    ("Task", "status"): {"requested", "completed"},
    ("Task", "intent"): {"proposal"},
    ("Task", "priority"): {"routine", "urgent", "stat"},
}
