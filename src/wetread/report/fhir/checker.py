"""The checker: judges a bundle by the table of rules and against its result before it may leave.

It judges the bytes, not what we meant to write.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from wetread.report import codes
from wetread.report.context import explained
from wetread.report.fhir.coding import URI, Json, dicom_uid, quantity, query
from wetread.report.fhir.rules import CODES, R4, R5
from wetread.report.fhir.shared import Shared
from wetread.report.problem import Problem, require_none
from wetread.report.words import decimal, percent

_DATE = r"\d{4}-\d{2}-\d{2}"
_CLOCK = r"T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]((0\d|1[0-3]):[0-5]\d|14:00))"
_DATE_TIME = re.compile(f"{_DATE}({_CLOCK})?")
_INSTANT = re.compile(f"{_DATE}{_CLOCK}")
_OID = re.compile(r"urn:oid:\d+(\.\d+)+")  # UIDs of the source are repeated right or wrong, as in DICOM documents
#: The form of what stands under these names, wherever it stands.
_FORMS = {
    "effectiveDateTime": _DATE_TIME,
    "createdDateTime": _DATE_TIME,
    "started": _DATE_TIME,
    "authoredOn": _DATE_TIME,
    "sent": _DATE_TIME,
    "issued": _INSTANT,
    "recorded": _INSTANT,
    "timestamp": _INSTANT,
    "system": URI,
    "fullUrl": re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "reference": re.compile(r"urn:uuid:\S+|Patient\?identifier=\S+|ServiceRequest/[A-Za-z0-9.-]{1,64}"),
}
#: Where a resource tells when the image was made.
_WHEN = {
    "Observation": "effectiveDateTime",
    "DiagnosticReport": "effectiveDateTime",
    "Media": "createdDateTime",
}
_SUBJECTS = ("subject", "patient", "for")


def check(data: bytes, shared: Shared) -> None:
    """Let a bundle pass, or not.

    Raises
    ------
    DocumentError
        Something is wrong; the message names the first few problems, and no patient.
    """
    require_none("FHIR", problems(data, shared))


def check_alone(data: bytes, shared: Shared) -> None:
    """Let a transaction of one resource pass that is about a result, or not.

    Raises
    ------
    DocumentError
        As `check`.
    """
    bundle = json.loads(data)
    (only,) = bundle["entry"]
    rules = R5 if shared.site.r5 else R4
    require_none("FHIR", [*_values(bundle, "Bundle"), *_resource(only, rules), *_of([only], shared)])


def problems(data: bytes, shared: Shared) -> Iterator[Problem]:
    """Judge a bundle."""
    bundle = json.loads(data)
    yield from formed(bundle, shared.site.r5)
    yield from _about(bundle["entry"], shared)
    yield from _said(bundle["entry"], shared)


def formed(bundle: Json, r5: bool) -> Iterator[Problem]:
    """Judge a bundle by itself."""
    entries = bundle["entry"]
    yield from _values(bundle, "Bundle")
    urls = [one["fullUrl"] for one in entries]
    if len(set(urls)) != len(urls):
        yield Problem("Bundle.entry.fullUrl", "expected each once, got one twice", "FHIR Bundle bdl-7")
    for one in _found(bundle, "reference"):
        if isinstance(one, str) and one.startswith("urn:uuid:") and one not in urls:
            yield Problem("reference", "expected an entry of the bundle, got none", "FHIR 3.1.0.11")
    for one in entries:
        yield from _resource(one, R5 if r5 else R4)


def _resource(entry: Json, rules: dict[str, Any]) -> Iterator[Problem]:
    """Judge one entry by the table, and that a replay would find what it created."""
    resource, request = entry["resource"], entry["request"]
    kind = resource["resourceType"]
    if kind not in rules:
        yield Problem(kind, f"expected one of {', '.join(rules)}, got another", "Wetread documents")
        return
    for name in sorted(rules[kind].required - set(resource)):
        yield Problem(f"{kind}.{name}", "expected a value, got none", f"FHIR {kind}")
    for name in sorted(set(resource) - rules[kind].known):
        yield Problem(f"{kind}.{name}", "expected no such element, got one", f"FHIR {kind}")
    if kind == "Observation" and not {"device", "performer"} & set(resource):
        yield Problem(kind, "expected a device, or a person, that observed it", "Wetread documents")
    for (of, name), allowed in CODES.items():
        if of == kind and resource.get(name) not in allowed:
            yield Problem(
                f"{kind}.{name}", f"expected one of {', '.join(sorted(allowed))}, got another", f"FHIR {kind}"
            )
    tags = resource.get("meta", {}).get("tag", [])
    finds = [query(one) for one in resource.get("identifier", []) if "system" in one]
    finds += [f"_tag={one['system']}|{one['code']}" for one in tags]
    created = (request["method"], request["url"]) == ("POST", kind) and request.get("ifNoneExist") in finds
    updated = request["method"] == "PUT" and request["url"] in [f"{kind}?{one}" for one in finds]
    if not created and not updated:
        said = "expected a conditional create or update by its own identifier"
        yield Problem(f"{kind} request", said, "FHIR 3.1.0.7.1, 3.1.0.8.1")


def _values(value: Any, path: str) -> Iterator[Problem]:
    """Judge every value by its form: FHIR has no empty ones, and JSON no infinite ones."""
    if value in (None, "", [], {}):
        yield Problem(path, "expected a value, got an empty one", "FHIR JSON")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(path, "expected a finite number, got another", "FHIR decimal")
    elif isinstance(value, dict):
        for name, child in value.items():
            form = _FORMS.get(name)
            if form is not None and isinstance(child, str) and not form.fullmatch(child):
                yield Problem(f"{path}.{name}", "expected its form, got another", "FHIR datatypes")
            yield from _values(child, f"{path}.{name}")
        if value.get("system") == "urn:dicom:uid" and not _OID.fullmatch(str(value.get("value", value.get("code")))):
            yield Problem(path, "expected urn:oid: and a UID, got another form", "PS3.5 Section 9.1")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _values(child, f"{path}[{index}]")


def _found(value: Any, name: str) -> Iterator[Any]:
    """Visit what stands under a name, in depth."""
    if isinstance(value, dict):
        for key, child in value.items():
            if key == name:
                yield child
            yield from _found(child, name)
    elif isinstance(value, list):
        for child in value:
            yield from _found(child, name)


def _of(entries: list[Json], shared: Shared) -> Iterator[Problem]:
    """Judge that every resource is about the patient, the order and the moment of the result."""
    for resource in (one["resource"] for one in entries):
        kind = resource["resourceType"]
        if any(resource[name] != shared.subject for name in _SUBJECTS if name in resource):
            yield Problem(f"{kind}.subject", "expected the patient of the source, got another", "G11")
        if resource.get("basedOn", shared.orders) != shared.orders:
            yield Problem(f"{kind}.basedOn", "expected the order of the result, got another", "G11")
        if kind in _WHEN and resource.get(_WHEN[kind], "") != shared.effective:
            yield Problem(f"{kind}.{_WHEN[kind]}", "expected when the image was made, got another", "one source")


def _about(entries: list[Json], shared: Shared) -> Iterator[Problem]:
    """Judge that everything is about the patient, the study and the order of the result, and names nobody."""
    yield from _of(entries, shared)
    by_kind: dict[str, list[Json]] = {}
    for one in entries:
        by_kind.setdefault(one["resource"]["resourceType"], []).append(one["resource"])
    expected = {"DiagnosticReport": shared.report_uid, "ImagingStudy": shared.context.source.study_uid}
    for kind, uid in expected.items():
        if [one["identifier"] for one in by_kind.get(kind, [])] != [[dicom_uid(uid)]]:
            yield Problem(kind, "expected exactly one, with the UID of the source, got another", "Wetread documents")
    named = sorted(one["identifier"][0]["value"] for one in by_kind.get("Device", []))
    if named != sorted(f"urn:oid:{one.device_uid}" for one in shared.algorithms):
        yield Problem("Device", "expected each algorithm once, got others", "AIR 6.5.3.1")


def _said(entries: list[Json], shared: Shared) -> Iterator[Problem]:
    """Judge that every value is one of the result, and every value of the result is there."""
    result = shared.context.result
    observed = [one["resource"] for one in entries if one["resource"]["resourceType"] == "Observation"]
    parts = [part for one in observed for part in (one, *one.get("component", ()))]
    numbers = Counter(
        (part["code"]["coding"][0]["code"], part["valueQuantity"]["value"], part["valueQuantity"]["code"])
        for part in parts
        if "valueQuantity" in part
    )
    answers = Counter(
        (one["code"]["coding"][0]["code"], one["valueCodeableConcept"]["coding"][0]["code"])
        for one in observed
        if "valueCodeableConcept" in one
    )
    if result.refusal is not None:
        if numbers or answers or not all("dataAbsentReason" in one for one in observed):
            yield Problem("Observation", "expected no value of what was not read, got one", "G10")
        return
    wanted = [
        (one.code.value, decimal(one.value), one.unit) for region in result.regions for one in region.measurements
    ]
    for finding in result.findings:
        wanted.append((codes.PROBABILITY.value, percent(finding.probability), codes.PERCENT))
        wanted.append((codes.THRESHOLD.value, percent(finding.threshold), codes.PERCENT))
        for one in explained(result, finding):
            inside = codes.INSIDE_SHARE if one.organ == "lungs" else codes.INSIDE_BODY
            wanted.append((inside.value, percent(one.inside_share), codes.PERCENT))
    told = Counter((code, quantity(value, unit)["value"], unit.value) for code, value, unit in wanted)
    if numbers != told:
        yield Problem("Observation.valueQuantity", "expected the numbers of the result, got others", "one source")
    verdicts = {True: codes.PRESENT.value, False: codes.ABSENT.value}
    if answers != Counter((one.code.value, verdicts[one.present]) for one in result.findings):
        yield Problem(
            "Observation.valueCodeableConcept", "expected the findings of the result, got others", "one source"
        )
