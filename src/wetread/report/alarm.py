"""What is said of a critical finding to those who must know at once: as JSON for a webhook, in HL7 and in FHIR.

The JSON holds no identifier of the patient but the UIDs of study and report: webhooks end in places that are no record.

References
----------
HL7 v2.5.1 Sections 7.3.1 (ORU), 4.5.4 (TQ1: priority S), Table 0078 (AA, very abnormal).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from wetread.errors import DocumentError
from wetread.records import Alarm, Finding, Result
from wetread.report import oru
from wetread.report.context import NOTICE, Context, context_of, instance_uid
from wetread.report.fhir import site_of
from wetread.report.fhir.communication import communication
from wetread.report.observations import critical
from wetread.report.words import statements
from wetread.routes import Alert
from wetread.settings import Settings


def critical_findings(result: Result, rules: Sequence[Alert], lane: str) -> Iterator[tuple[Alert, Finding]]:
    """Yield each finding that a rule calls critical, with that rule; nothing that is not present.

    Parameters
    ----------
    lane
        Of the study, as it was read: one of `wetread.routes.LANES`.
    """
    for rule in rules:
        for finding in result.findings:
            if finding.present and rule.fits(finding.code.value, finding.model.id, finding.probability, lane):
                yield rule, finding


def alarm(result: Result, rule: Alert, finding: Finding, settings: Settings) -> Alarm:
    """Say a critical finding.

    Parameters
    ----------
    settings
        `institution`, `public_url`, `hl7_character_set`, `fhir` and `fhir_systems` are used; with a
        URL it is said where to acknowledge.

    Returns
    -------
    Alarm
        Without a message or bundle where nobody knows whose image it is, or where it failed our own check: the
        webhook must not wait for that.
    """
    institution, public_url = settings.institution, settings.public_url
    token = secrets.token_urlsafe(24)
    link = f"{public_url.rstrip('/')}/alerts/{token}"
    shown = link if public_url else ""
    context = context_of(result, institution)
    body = json.dumps(_told(result, rule, finding, link, context, public_url), ensure_ascii=False).encode()
    message = bundle = b""
    if context is not None and oru.patients(context):
        filed = oru.filed_of(context, "alert", rule.name, finding.tracking_uid)
        said = critical(context, finding, public_url, shown)
        with suppress(DocumentError):
            message = oru.written(context, filed, said, settings.hl7_character_set, urgent=True)
        with suppress(DocumentError):
            bundle = communication(context, site_of(settings), rule.name, finding, _line(result, finding), shown)
    return Alarm(rule.name, finding.tracking_uid, token, body, message, bundle)


def _line(result: Result, finding: Finding) -> str:
    return "CRITICAL: " + next(one.line for one in statements(result) if one.finding is finding)


def _told(
    result: Result, rule: Alert, finding: Finding, link: str, context: Context | None, public_url: str
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "wetread.alert",
        "rule": rule.name,
        "text": _line(result, finding),
        "notice": NOTICE,
        "study_uid": result.study_uid,
        "series_uid": result.image.series_uid if result.image is not None else "",
        "read_at": result.read_at,
        "finding": {
            "code": finding.code.value,
            "scheme": finding.code.scheme,
            "meaning": finding.code.meaning,
            "probability": round(finding.probability, 6),
            "threshold": round(finding.threshold, 6),
            "tracking_uid": finding.tracking_uid,
            "model": f"{finding.model.id} {finding.model.version}+{finding.model.build}",
        },
        "report_uid": instance_uid(context, "SR") if context is not None else "",
        "acknowledge": link,
    }
    return made | ({"study": f"{public_url.rstrip('/')}/dicomweb/studies/{result.study_uid}"} if public_url else {})
