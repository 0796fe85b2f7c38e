"""The report itself, and the task to review it: DiagnosticReport, Task.

References
----------
FHIR R4 and R5: DiagnosticReport, Task, Narrative; IHE IMR 1.1.0 (text, presentedForm with size and hash).  Nobody
interpreted it yet, so it is preliminary and names no interpreter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from wetread.records import Code
from wetread.report import codes
from wetread.report.context import NOTICE
from wetread.report.equipment import software
from wetread.report.fhir.coding import Json, concept, dicom_uid, full_url, oid
from wetread.report.fhir.imaging import attachment
from wetread.report.fhir.shared import Shared, entry
from wetread.report.words import circumstances, measured, name, omitted, statements

MOST_PAGE = 4 << 20  # bytes of the page beyond which it is left out
#: FHIR R4 extension registry: names the report that this one replaces.
REPLACES = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces"
_CATEGORY = {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD", "display": "Radiology"}
#: DICOM calls it another name; a terminology server knows LOINC's own.
_CODE = Code(codes.IMAGING_REPORT.value, codes.IMAGING_REPORT.scheme, "Diagnostic imaging study")
_PRIORITIES = {"STAT": "stat", "URGENT": "urgent"}


def lines(shared: Shared) -> Iterator[str]:
    """Say the result, a line at a time; some readers see nothing else of it."""
    result = shared.context.result
    yield NOTICE
    if result.refusal is not None:
        yield f"NOT READ. {result.refusal.sentence} {result.refusal.detail}".strip()
        return
    if not result.findings and not result.not_read:
        yield "No finding asked for; only regions were outlined."
    yield from (one.line for one in statements(result))
    yield from (one.sentence for one in result.explanations)
    for region in result.regions:
        for one in region.measurements:
            yield f"{region.label}, {name(one.code.meaning).lower()}: {measured(one)}"
    yield from (omitted(one) for one in result.not_read)
    yield from circumstances(result)


def report(shared: Shared, results: Sequence[Json], pictures: Sequence[Json], page: bytes) -> Json:
    """Make the entry of the report."""
    result, identifier = shared.context.result, dicom_uid(shared.report_uid)
    said = list(lines(shared))
    if result.refusal is not None:
        concluded = [codes.private(result.refusal.code, result.refusal.sentence)]
    else:
        concluded = [one.code for one in result.findings if one.present]
    made: Json = {
        "resourceType": "DiagnosticReport",
        "text": {"status": "generated", "div": _narrative(said)},
        "extension": _replaced(shared),
        "identifier": [identifier],
        "basedOn": shared.orders,
        "status": "preliminary",
        "category": [{"coding": [_CATEGORY]}],
        "code": concept(_CODE),
        "subject": shared.subject,
        "effectiveDateTime": shared.effective,
        "issued": shared.issued,
        "performer": _performers(shared),
        "result": list(results),
        "study" if shared.site.r5 else "imagingStudy": [shared.study],
        "media": [{"comment": title_of(one), "link": {"reference": one["fullUrl"]}} for one in pictures],
        "conclusion": "\n".join(said),
        "conclusionCode": [concept(one) for one in concluded],
        "presentedForm": [attachment(shared, page, "text/html", "AI result")] if len(page) <= MOST_PAGE else [],
    }
    return entry(made, full_url("DiagnosticReport", shared.report_uid), identifier)


def title_of(picture: Json) -> str:
    """Return the title of the entry of a picture."""
    content = picture["resource"]["content"]
    return str((content[0]["attachment"] if isinstance(content, list) else content)["title"])


def _performers(shared: Shared) -> list[Json]:
    return [{"type": "Organization", "display": shared.context.institution}] if shared.context.institution else []


def _replaced(shared: Shared) -> list[Json]:
    """Name the reports that this one replaces, by the UIDs of their structured reports; none that a person signed."""
    revision = shared.context.result.revision
    earlier = (
        [one for one in revision.replaced if one.kind == "SR" and not one.reviewed] if revision is not None else []
    )
    named = ({"type": "DiagnosticReport", "identifier": dicom_uid(one.sop_instance_uid)} for one in earlier)
    return [{"url": REPLACES, "valueReference": one} for one in named]


def _narrative(said: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in said)
    head = "<p>AI result, preliminary: no person has seen it.</p>"
    return f'<div xmlns="http://www.w3.org/1999/xhtml">{head}<ul>{items}</ul></div>'


def task(shared: Shared) -> Json | None:
    """Make the entry that asks a person to review the report; of an image that was not read there is none."""
    result = shared.context.result
    if result.refusal is not None:
        return None
    uid = shared.uid("review")
    priority = _PRIORITIES.get(result.order.priority if result.order is not None else "", "routine")
    code = {"system": "http://hl7.org/fhir/CodeSystem/task-code", "code": "approve"}
    made: Json = {
        "resourceType": "Task",
        "identifier": [oid(uid)],
        "basedOn": shared.orders,
        "status": "requested",
        "intent": "proposal",
        "priority": priority,
        "code": {"coding": [code], "text": "Review of an AI result"},
        "description": "Review this AI result: accept, correct or reject it.",
        "focus": shared.to("DiagnosticReport", shared.report_uid),
        "for": shared.subject,
        "authoredOn": shared.issued,
        "requester": shared.device(software()),
    }
    return entry(made, full_url("Task", uid), oid(uid))
