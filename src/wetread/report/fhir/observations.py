"""What was said: Observation by finding, by measurement, by group of them, and by what was not read.

References
----------
FHIR R4: Observation, BodyStructure; HL7 dicom-sr (group 125007 with its members; tracking as BodyStructure);
DICOM PS3.16 TID 1411, 1501.
"""

from __future__ import annotations

from collections.abc import Iterator

from wetread.counting import named
from wetread.records import Code, Explanation, Finding, Measurement, ModelIdentity, Refusal, Region
from wetread.report import codes
from wetread.report.context import explained, place_of
from wetread.report.equipment import Algorithm, algorithm, software
from wetread.report.fhir.coding import Json, coding, concept, dicom_uid, full_url, quantity, term
from wetread.report.fhir.shared import Shared, entry
from wetread.report.words import omitted, percent

#: FHIR R4 extension registry: the BodyStructure that a bodySite is.
BODY_SITE = "http://hl7.org/fhir/StructureDefinition/bodySite"

_INTERPRETED = {True: ("POS", "Positive"), False: ("NEG", "Negative")}


def observations(shared: Shared, pictures: dict[str, Json]) -> Iterator[Json]:
    """Make the entries of everything that the models said, and did not say."""
    result = shared.context.result
    if result.refusal is not None:
        text = f"{result.refusal.sentence} {result.refusal.detail}"
        yield _absent(shared, codes.READING_STATE, result.refusal, text, "")
        return
    for finding in result.findings:
        yield from _finding(shared, finding, pictures.get("heat"))
    for number, region in enumerate(result.regions):
        yield from _region(shared, region, str(number))
    for unread in result.not_read:
        for about in unread.about:
            yield _absent(shared, about, unread.refusal, omitted(unread), unread.model.device_uid)


def _observation(shared: Shared, key: tuple[str, ...], code: Code, by: Algorithm) -> Json:
    return {
        "resourceType": "Observation",
        "identifier": [dicom_uid(shared.uid("observation", *key))],
        "basedOn": shared.orders,
        "partOf": [shared.study],
        "status": "preliminary",
        "category": [term("observation-category", "imaging", "Imaging")],
        "code": concept(code),
        "subject": shared.subject,
        "effectiveDateTime": shared.effective,
        "issued": shared.issued,
        "device": shared.device(by),
    }


def _entry(resource: Json) -> Json:
    identifier = resource["identifier"][0]
    return entry(resource, full_url(resource["resourceType"], identifier["value"]), identifier)


def _method(model: ModelIdentity) -> Json:
    one = algorithm(model)
    return {"method": concept(one.family, text=f"{one.name} {one.version}")}


def _finding(shared: Shared, finding: Finding, heat: Json | None) -> Iterator[Json]:
    site = place_of(shared.context, finding)
    why = explained(shared.context.result, finding)
    key = ("finding", finding.tracking_uid, finding.model.device_uid)
    made = _observation(shared, key, finding.code, algorithm(finding.model))
    made |= {
        "valueCodeableConcept": concept(codes.PRESENT if finding.present else codes.ABSENT),
        "interpretation": [term("v3-ObservationInterpretation", *_INTERPRETED[finding.present])],
    }
    image = shared.context.result.image
    notes = [f"On {named(image, finding.slices)}"] if image is not None and finding.slices else []
    notes += [one.sentence for one in why]
    made["note"] = [{"text": one} for one in notes]
    yield (body := _body(shared, finding.tracking_uid, finding.tracking_id, site, None, finding.code))
    made["bodySite"] = _site(site, None, body)
    first = bool(why) and why[0] is shared.context.result.explanations[0]
    shown = [{"reference": heat["fullUrl"]}] if heat is not None and first else []
    made |= {**_method(finding.model), "derivedFrom": [shared.study, *shown]}
    made["component"] = [
        {"code": concept(codes.PROBABILITY), "valueQuantity": quantity(percent(finding.probability), codes.PERCENT)},
        {"code": concept(codes.THRESHOLD), "valueQuantity": quantity(percent(finding.threshold), codes.PERCENT)},
        *(part for one in why for part in _trust(one)),
    ]
    yield _entry(made)


def _trust(one: Explanation) -> list[Json]:
    inside = codes.INSIDE_SHARE if one.organ == "lungs" else codes.INSIDE_BODY
    trust = codes.TRUSTED if one.trustworthy else codes.NOT_TRUSTED
    return [
        {"code": concept(codes.TRUST), "valueCodeableConcept": concept(trust)},
        {"code": concept(inside), "valueQuantity": quantity(percent(one.inside_share), codes.PERCENT)},
    ]


def _region(shared: Shared, region: Region, number: str) -> Iterator[Json]:
    """Make a group with one member a measurement, and the structure that they are about."""
    site = place_of(shared.context, region)
    morphology = None if region.category.value == codes.ANATOMY.value else region.type
    body = _body(shared, region.tracking_uid, region.tracking_id, site, region.laterality, morphology)
    where = {"bodySite": _site(site, region.laterality, body)}
    yield body
    members = []
    for index, measurement in enumerate(region.measurements):
        members.append(_measurement(shared, region, measurement, (number, str(index)), where))
    yield from members
    made = _observation(
        shared, ("group", number, region.tracking_uid), codes.MEASUREMENT_GROUP, algorithm(region.model)
    )
    made |= {**where, **_method(region.model)}
    made["hasMember"] = [{"reference": one["fullUrl"]} for one in members]
    made["derivedFrom"] = [shared.study]
    made["component"] = [
        {"code": concept(codes.FINDING), "valueCodeableConcept": concept(region.type, text=region.label)},
        {"code": concept(codes.FINDING_CATEGORY), "valueCodeableConcept": concept(region.category)},
    ]
    yield _entry(made)


def _measurement(shared: Shared, region: Region, one: Measurement, key: tuple[str, ...], where: Json) -> Json:
    made = _observation(shared, ("measure", *key, region.tracking_uid), one.code, algorithm(region.model))
    made |= {"valueQuantity": quantity(one.value, one.unit), **where, **_method(region.model)}
    return _entry(made | {"derivedFrom": [shared.study]})


def _absent(shared: Shared, code: Code, refusal: Refusal, text: str, by: str) -> Json:
    """State that nothing is known of something, and why; who did not read did not contribute."""
    made = _observation(shared, ("absent", code.scheme, code.value, by), code, software())
    why = coding(codes.private(refusal.code, refusal.sentence))
    reason = term("data-absent-reason", "not-performed", "Not Performed")
    return _entry(made | {"dataAbsentReason": {"coding": [*reason["coding"], why], "text": text.strip()}})


def _site(site: Code | None, laterality: Code | None, body: Json) -> Json:
    """Write a place, with what is tracked there; of some findings no place is known."""
    extension = [{"url": BODY_SITE, "valueReference": {"reference": body["fullUrl"]}}]
    if site is None:
        return {"extension": extension, "text": "not stated"}
    text = f"{laterality.meaning} {site.meaning.lower()}" if laterality is not None else site.meaning
    return {"extension": extension, **concept(site, text=text)}


def _body(
    shared: Shared, tracking_uid: str, label: str, site: Code | None, side: Code | None, morphology: Code | None
) -> Json:
    """Make the entry of what is tracked over time."""
    identifier = dicom_uid(tracking_uid)
    made: Json = {"resourceType": "BodyStructure", "identifier": [identifier], "description": label}
    made |= {"morphology": concept(morphology)} if morphology is not None else {}
    if shared.site.r5:
        structure = {"structure": concept(site) if site is not None else {"text": "not known"}}
        made["includedStructure"] = [structure | ({"laterality": concept(side)} if side is not None else {})]
    else:
        made |= {"location": concept(site)} if site is not None else {}
        made |= {"locationQualifier": [concept(side)]} if side is not None else {}
    return _entry(made | {"patient": shared.subject})
