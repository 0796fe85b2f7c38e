"""What is said of a critical finding to those who must know at once: JSON for a webhook, and an HL7 message.

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
from wetread.report.observations import critical
from wetread.report.words import statements
from wetread.routes import Alert
from wetread.wire.hl7 import UTF_8


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


def alarm(
    result: Result, rule: Alert, finding: Finding, institution: str = "", public_url: str = "", set_: str = UTF_8
) -> Alarm:
    """Say a critical finding.

    Parameters
    ----------
    institution, public_url, set_
        As of `wetread.report.documents`; with a URL it is said where to acknowledge.

    Returns
    -------
    Alarm
        Without a message where nobody knows whose image it is, or where it failed our own check: the webhook must
        not wait for that.
    """
    token = secrets.token_urlsafe(24)
    link = f"{public_url.rstrip('/')}/alerts/{token}"
    context = context_of(result, institution)
    body = json.dumps(_told(result, rule, finding, link, context, public_url), ensure_ascii=False).encode()
    message = b""
    if context is not None and oru.patients(context):
        filed = oru.filed_of(context, "alert", rule.name, finding.tracking_uid)
        said = critical(context, finding, public_url, link if public_url else "")
        with suppress(DocumentError):
            message = oru.written(context, filed, said, set_, urgent=True)
    return Alarm(rule.name, finding.tracking_uid, token, body, message)


def _told(
    result: Result, rule: Alert, finding: Finding, link: str, context: Context | None, public_url: str
) -> dict[str, Any]:
    line = next(one.line for one in statements(result) if one.finding is finding)
    made: dict[str, Any] = {
        "type": "wetread.alert",
        "rule": rule.name,
        "text": f"CRITICAL: {line}",
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
