"""The bundle of a review: the same resources, final, by conditional updates.

References
----------
FHIR R4, RESTful API Section 3.1.0.7.1 (conditional update); DiagnosticReport.status, Observation.status; IHE IMR (the
interpreter).
"""

from __future__ import annotations

import json
from html import escape

from wetread.report import codes
from wetread.report.context import NOTICE
from wetread.report.fhir import checker
from wetread.report.fhir.coding import Json, concept, dicom_uid, encoded, full_url, query, term
from wetread.report.fhir.shared import tagged
from wetread.report.problem import require_none
from wetread.report.redrawn import Redrawn, Size
from wetread.report.reviewed import Review, Verdict, called, overruled, words

_DONE = {"accept": "Accepted", "reject": "Rejected", "correct": "Corrected"}


def signed(
    bundle: bytes,
    review: Review,
    verdicts: list[Verdict],
    report_uid: str,
    again: bool,
    drawn: Redrawn | None = None,
) -> bytes:
    """Write the bundle of a review.

    Parameters
    ----------
    bundle
        Of the result, or of an earlier review of it.
    verdicts
        What the person says of each finding.
    report_uid
        SOP Instance UID of the verified structured report.
    again
        The report was final before: it becomes corrected.
    drawn
        The segmentation with the person's masks, if there are any.

    Raises
    ------
    DocumentError
        It failed our own check.
    """
    made = json.loads(bundle)
    status = "corrected" if again else "final"
    true = {one.code for one in verdicts if one.true}  # of several models at least by one
    changed = overruled(review, verdicts)
    observed = [one["resource"] for one in made["entry"] if "valueCodeableConcept" in one["resource"]]
    said = words(review, verdicts, drawn) + (_omitted(made) if review.decision == "correct" else [])
    concepts = {_code(one): one["code"] for one in observed}
    taken = [each for one in observed if _code(one) in changed for each in one["derivedFrom"]]
    sizes = _sizes(made, drawn)
    for entry in made["entry"]:
        resource = entry["resource"]
        match resource["resourceType"]:
            case "Observation":
                _observation(resource, review, changed, status)
                _outlined(resource, sizes)
            case "DiagnosticReport":
                concluded = [told for code, told in concepts.items() if code in true]
                _report(resource, review, concluded, status, report_uid, said)
                _without(resource, taken)
            case "Task":
                resource |= {"status": "completed", "businessStatus": {"text": _DONE[review.decision]}}
            case _:
                continue
        kind = resource["resourceType"]
        entry["request"] = {"method": "PUT", "url": f"{kind}?{query(resource['identifier'][0])}"}
    report = next(one for one in made["entry"] if one["resource"]["resourceType"] == "DiagnosticReport")
    made["identifier"], made["timestamp"] = dicom_uid(report_uid), review.at
    made["entry"].append(_provenance(report["fullUrl"], review, report_uid))
    r5 = "study" in report["resource"]
    require_none("FHIR of a review", checker.formed(made, r5))
    return encoded(made)


def practitioner(review: Review) -> Json:
    """Refer to the person who reviewed, by identifier."""
    identifier = {**({"system": review.system} if review.system else {}), "value": review.identifier}
    return {"type": "Practitioner", "identifier": identifier, "display": called(review)}


def _code(observation: Json) -> str:
    return str(observation["code"]["coding"][0]["code"])


def _omitted(made: Json) -> list[str]:
    """Say what was not read, and why."""
    absent = (one["resource"].get("dataAbsentReason") for one in made["entry"])
    return list(dict.fromkeys(one["text"] for one in absent if one is not None))


def _without(report: Json, taken: list[Json]) -> None:
    """Take out the pictures that explain what the person decided otherwise."""
    if kept := [one for one in report.pop("media", ()) if one["link"] not in taken]:
        report["media"] = kept


def _observation(one: Json, review: Review, changed: dict[str, bool], status: str) -> None:
    one["performer"] = [practitioner(review)]
    if review.decision == "reject":
        one["status"] = "entered-in-error"
        return
    one["status"] = status
    value = changed.get(_code(one))
    if "valueCodeableConcept" in one and value is not None:
        one["status"] = "corrected"
        one["valueCodeableConcept"] = concept(codes.PRESENT if value else codes.ABSENT)
        letter = ("POS", "Positive") if value else ("NEG", "Negative")
        one["interpretation"] = [term("v3-ObservationInterpretation", *letter)]
        one["derivedFrom"] = one["partOf"]  # the study, and no explanation of something else
        for name in ("component", "device", "method", "note"):  # the algorithm's
            one.pop(name, None)


def _sizes(made: Json, drawn: Redrawn | None) -> dict[str, Size]:
    """Find the structures that a person outlined: full URL -> size."""
    found = {f"urn:oid:{uid}": size for uid, size in (drawn.sizes if drawn is not None else {}).items()}
    return {
        one["fullUrl"]: found[one["resource"]["identifier"][0]["value"]]
        for one in made["entry"]
        if one["resource"]["resourceType"] == "BodyStructure" and one["resource"]["identifier"][0]["value"] in found
    }


def _outlined(one: Json, sizes: dict[str, Size]) -> None:
    """Write the size of a person's mask; no device observed it."""
    if "valueCodeableConcept" in one:  # found by the algorithm in the same structure
        return
    about = [each["valueReference"]["reference"] for each in one.get("bodySite", {}).get("extension", ())]
    size = next((sizes[url] for url in about if url in sizes), None)
    if size is None:
        return
    one.pop("device", None)
    one |= {"method": {"text": "Outlined by a person"}, "status": "corrected"}
    if "valueQuantity" in one and one["valueQuantity"].get("code") == size.unit:
        one["valueQuantity"] |= {"value": json.loads(size.value)}


def _report(one: Json, review: Review, concluded: list[Json], status: str, report_uid: str, said: list[str]) -> None:
    one.pop("conclusionCode", None)
    if review.decision == "accept":
        said = said + [line for line in one["conclusion"].splitlines() if line != NOTICE]
    if review.decision != "accept":
        one.pop("presentedForm", None)  # it says what the person does not
    if review.decision == "reject":
        for name in ("media", "result"):
            one.pop(name, None)
    items = "".join(f"<li>{escape(line)}</li>" for line in said)
    one |= {
        "text": {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"><ul>{items}</ul></div>'},
        "identifier": [one["identifier"][0], dicom_uid(report_uid)],
        "status": status,
        "issued": review.at,
        "resultsInterpreter": [practitioner(review)],
        "conclusion": "\n".join(said),
    }
    if concluded:
        one["conclusionCode"] = concluded


def _provenance(report: str, review: Review, uid: str) -> Json:
    made: Json = {
        "resourceType": "Provenance",
        "target": [{"reference": report}],
        "recorded": review.at,
        "agent": [{"type": term("provenance-participant-type", "verifier"), "who": practitioner(review)}],
        "entity": [{"role": "revision", "what": {"reference": report}}],
    }
    return tagged(made, full_url("Provenance", uid), uid)
