"""A critical finding as FHIR Communication: one transaction with one conditional create.

References
----------
FHIR R4 and R5: Communication (R5 has no text in a payload, but a concept).
"""

from __future__ import annotations

from wetread.records import Finding
from wetread.report import codes
from wetread.report.context import NOTICE, Context
from wetread.report.equipment import software
from wetread.report.fhir import checker
from wetread.report.fhir.coding import Json, concept, dicom_uid, encoded, full_url, oid, term
from wetread.report.fhir.shared import entry, shared_of
from wetread.report.fhir.site import Site


def communication(context: Context, site: Site, rule: str, finding: Finding, said: str, link: str) -> bytes:
    """Write the transaction, as UTF-8 JSON.

    Parameters
    ----------
    rule
        Its name; the same finding by the same rule is the same resource.
    said
        The finding in words.
    link
        Where it is acknowledged; "" leaves it out.

    Raises
    ------
    DocumentError
        It did not pass our own checker, or nobody said when the result was read.
    """
    shared = shared_of(context, site, "", ())
    uid = shared.uid("alert", rule, finding.tracking_uid)
    words = {"contentCodeableConcept": concept(finding.code, text=said)} if site.r5 else {"contentString": said}
    report = {"type": "DiagnosticReport", "identifier": dicom_uid(shared.report_uid)}
    study = {"type": "ImagingStudy", "identifier": dicom_uid(context.source.study_uid)}
    made: Json = {
        "resourceType": "Communication",
        "identifier": [oid(uid)],
        "basedOn": shared.orders,
        "status": "in-progress",
        "category": [term("communication-category", "alert", "Alert")],
        "priority": "stat",
        "subject": shared.subject,
        "about": [report, study],
        "sent": shared.issued,
        "sender": {"type": "Device", "identifier": dicom_uid(software().device_uid)},
        "reasonCode" if not site.r5 else "reason": [_reason(finding, site)],
        "payload": [words, *([_link(link)] if link else [])],
        "note": [{"text": NOTICE}],
    }
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry(made, full_url(uid), oid(uid))]}
    data = encoded(bundle)
    checker.check_alone(data, shared)
    return data


def _reason(finding: Finding, site: Site) -> Json:
    return {"concept": concept(finding.code)} if site.r5 else concept(finding.code)


def _link(link: str) -> Json:
    return {"contentAttachment": {"contentType": "text/html", "url": link, "title": codes.ACKNOWLEDGE.meaning}}
