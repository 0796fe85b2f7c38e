"""One source: what stands in the structured report, HL7 message, FHIR bundle, page and JSON is the same.

Each medium has one function that reads it from its bytes; None stands for what it does not say.
"""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from tests.report import chance
from wetread import report
from wetread.report.fhir.coding import SYSTEMS
from wetread.report.words import name
from wetread.wire.hl7 import Message, Segment, parse

FAST = 40


@dataclass(frozen=True)
class Number:
    """A number as it is printed: all that rounds to it."""

    value: Decimal
    half: Decimal  # half of the last printed place

    def same(self, other: Number) -> bool:
        return abs(self.value - other.value) < self.half + other.half


def percent(text: str, places: int) -> Number:
    return Number(Decimal(text), Decimal(5).scaleb(-places - 1))


def significant(text: str, digits: int) -> Number:
    value = Decimal(text)
    return Number(value, Decimal(5).scaleb(value.adjusted() - digits) if value else Decimal("1e-12"))


@dataclass(frozen=True)
class Said:
    """What one medium says; None: nothing about it."""

    study: str
    models: tuple[tuple[Any, ...], ...] | None  # id, version+build, Device UID, SHA-256
    findings: tuple[tuple[Any, ...], ...]  # code, name, present, probability, threshold, tracking, site
    sizes: tuple[tuple[Any, ...], ...]  # code, name, value, unit, tracking, side
    maps: tuple[tuple[Any, ...], ...] | None  # code of the finding, trusted, share inside
    unread: tuple[tuple[Any, ...], ...]  # codes, names, refusal
    refusal: str
    series: str | None = None
    accession: str | None = None
    patient: str | None = None
    report: str | None = None  # SOP Instance UID of the SR
    made: str | None = None  # when the image was made, to the second
    read_at: str | None = None


# ---- the structured report --------------------------------------------------------------------


def children(item: Dataset, code: str = "") -> Iterator[Dataset]:
    for one in item.get("ContentSequence", []):
        if not code or concept(one)[0] == code:
            yield one


def coded(item: Dataset) -> tuple[str, str, str]:
    return item.get("CodeValue") or item.LongCodeValue, item.CodingSchemeDesignator, item.CodeMeaning


def concept(item: Dataset) -> tuple[str, str, str]:
    names = item.get("ConceptNameCodeSequence")
    return coded(names[0]) if names else ("", "", "")


def meant(item: Dataset) -> tuple[str, str, str]:
    return coded(item.ConceptCodeSequence[0])


def first(item: Dataset, code: str) -> Dataset:
    return next(children(item, code))


def value_of(item: Dataset, code: str) -> str:
    return str(first(item, code).MeasuredValueSequence[0].NumericValue)


def from_sr(data: bytes) -> Said:
    root = dcmread(io.BytesIO(data))
    groups = [group for part in children(root, "126010") for group in children(part)]
    found = [one for one in groups if any(children(one, "122157"))]
    regions = [one for one in groups if any(children(one, "121191"))]
    assert len(found) + len(regions) == len(groups)
    stated = [one for part in children(root, "C0034375") for one in children(part)]
    unread = [one for one in stated if one.ValueType == "CODE" and meant(one)[0] == "NOT-READ"]
    state = [one for one in unread if concept(one)[0] == "READING-STATE"]
    reason = [meant(one)[0] for one in stated if concept(one)[0] == "NOT-READ-REASON"]
    models = [one.UID for one in children(root, "121012")]
    equipment = {one.DeviceUID: one for one in root.ContributingEquipmentSequence}
    return Said(
        study=root.StudyInstanceUID,
        models=None
        if state
        else tuple(
            (equipment[uid].ManufacturerModelName, equipment[uid].SoftwareVersions, uid, None) for uid in models
        ),
        findings=tuple(map(sr_finding, found)),
        sizes=tuple(size for one in regions for size in sr_sizes(one)),
        maps=tuple(sr_map(one) for one in found if any(children(one, "EXPL-TRUST"))),
        unread=tuple(
            (concept(one)[:2], name(concept(one)[2]), meant(first(one, "NOT-READ-REASON"))[0])
            for one in unread
            if one not in state
        ),
        refusal=reason[0] if state else "",
        series=root.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].SeriesInstanceUID,
        accession=str(root.AccessionNumber),
        patient=str(root.PatientID),
        report=root.SOPInstanceUID,
        made=f"{root.ContentDate}{str(root.ContentTime).partition('.')[0]}".ljust(14, "0"),
    )


def sr_model(one: Dataset) -> tuple[Any, ...]:
    return one.ManufacturerModelName, one.SoftwareVersions, one.DeviceUID, None


def sr_finding(group: Dataset) -> tuple[Any, ...]:
    code = meant(first(group, "121071"))
    presence = next(meant(one)[0] for one in children(group, code[0]) if one.ValueType == "CODE")
    tracking = first(group, "112039").TextValue, first(group, "112040").UID
    numbers = (percent(value_of(group, one), 2) for one in ("122157", "THRESHOLD"))
    sites: list[Any] = [meant(one)[:2] for one in children(group, "363698007")]
    return (code[:2], name(code[2]), presence == "52101004", *numbers, tracking, *(sites or [None]))


def sr_sizes(group: Dataset) -> Iterator[tuple[Any, ...]]:
    tracking = first(group, "112039").TextValue, first(group, "112040").UID
    for one in children(group):
        if one.ValueType == "NUM":
            measured, site = one.MeasuredValueSequence[0], first(one, "363698007")
            side: list[Any] = [meant(side)[:2] for side in children(site, "272741003")]
            unit = coded(measured.MeasurementUnitsCodeSequence[0])[0]
            code = concept(one)
            number = significant(str(measured.NumericValue), 6)
            yield (code[:2], name(code[2]), number, unit, tracking, *(side or [()]))


def sr_map(group: Dataset) -> tuple[Any, ...]:
    inside = next(one for one in ("INSIDE-SHARE", "INSIDE-BODY") if any(children(group, one)))
    trusted = meant(first(group, "EXPL-TRUST"))[0] == "TRUSTWORTHY"
    return meant(first(group, "121071"))[:2], trusted, percent(value_of(group, inside), 2)


# ---- the HL7 message --------------------------------------------------------------------------


def groups_of(message: Message) -> dict[str, list[Segment]]:
    made: dict[str, list[Segment]] = {}
    for one in message.all("OBX"):
        made.setdefault(one.text(4).partition(".")[2], []).append(one)
    return made


def identified(segment: Segment, field: int = 3) -> tuple[str, str]:
    return segment.text(field), segment.text(field, 3)


def among(group: Sequence[Segment], code: str) -> Segment:
    return next(one for one in group if one.text(3) == code)


def from_oru(data: bytes) -> Said:
    message = parse(data)
    groups = groups_of(message)
    found = [one for key, one in groups.items() if key.isdigit() and any(obx.text(3) == "122157" for obx in one)]
    regions = [one for key, one in groups.items() if key.isdigit() and one not in found]
    named, request = groups[""], message.all("OBR")[0]
    state = [one for one in named if one.text(3) == "READING-STATE"]
    return Said(
        study=among(named, "113014").text(5),
        models=None
        if state
        else tuple(
            tuple(among(one, code).text(5) for code in ("111001", "111003", "121012", "MODEL-DIGEST"))
            for key, one in groups.items()
            if key.startswith("A")
        ),
        findings=tuple(map(oru_finding, found)),
        sizes=tuple(size for one in regions for size in oru_sizes(one)),
        maps=tuple(oru_map(one) for one in found if any(obx.text(3) == "EXPL-TRUST" for obx in one)),
        unread=tuple(
            (identified(one), name(one.text(3, 2)), among(group, "NOT-READ-REASON").text(5))
            for key, group in groups.items()
            if key.startswith("N")
            for one in group
            if one.text(5) == "NOT-READ"
        ),
        refusal=among(named, "NOT-READ-REASON").text(5) if state else "",
        series=among(named, "112002").text(5),
        accession=request.text(18),
        patient=message.all("PID")[0].text(3),
        report=among(named, "126000").text(5),
        made=re.sub(r"[+-]\d{4}$|\.\d+", "", among(named, "113014").text(14)).ljust(14, "0"),
        read_at=request.text(22).removesuffix("+0000"),
    )


def oru_finding(group: Sequence[Segment]) -> tuple[Any, ...]:
    head = group[0]
    tracking = among(group, "112039").text(5), among(group, "112040").text(5)
    numbers = (percent(among(group, one).text(5), 2) for one in ("122157", "THRESHOLD"))
    sites: list[Any] = [identified(one, 5) for one in group if one.text(3) == "363698007"]
    present = head.text(5) == "52101004"
    assert head.text(8) == ("A" if present else "N")
    return (identified(head), name(head.text(3, 2)), present, *numbers, tracking, *(sites or [None]))


def oru_sizes(group: Sequence[Segment]) -> Iterator[tuple[Any, ...]]:
    tracking = among(group, "112039").text(5), among(group, "112040").text(5)
    side: list[Any] = [identified(one, 5) for one in group if one.text(3) == "272741003"]
    for one in group:
        if one.text(2) == "NM":
            number = significant(one.text(5), 6)
            yield (identified(one), name(one.text(3, 2)), number, one.text(6), tracking, *(side or [()]))


def oru_map(group: Sequence[Segment]) -> tuple[Any, ...]:
    inside = next(one for one in group if one.text(3) in ("INSIDE-SHARE", "INSIDE-BODY"))
    trusted = among(group, "EXPL-TRUST").text(5) == "TRUSTWORTHY"
    return identified(group[0]), trusted, percent(inside.text(5), 2)


# ---- the FHIR bundle --------------------------------------------------------------------------

_SCHEMES = {system: scheme for scheme, system in SYSTEMS.items()}


def fhir_code(concept: Any) -> tuple[str, str]:
    return concept["coding"][0]["code"], _SCHEMES[concept["coding"][0]["system"]]


def fhir_name(concept: Any) -> str:
    return name(concept["coding"][0]["display"])


def digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def uid_of(resource: Any) -> str:
    return str(resource["identifier"][0]["value"]).removeprefix("urn:oid:")


class Bundle:
    """A bundle, with what its resources refer to."""

    def __init__(self, data: bytes) -> None:
        entries = json.loads(data)["entry"]
        self.by_url = {one["fullUrl"]: one["resource"] for one in entries}
        self.all = list(self.by_url.values())

    def of(self, kind: str) -> list[Any]:
        return [one for one in self.all if one["resourceType"] == kind]

    def tracked(self, observation: Any) -> Any:
        return self.by_url[observation["bodySite"]["extension"][0]["valueReference"]["reference"]]

    def finding(self, one: Any) -> tuple[Any, ...]:
        parts = {part["code"]["coding"][0]["code"]: part for part in one["component"]}
        numbers = (percent(str(parts[code]["valueQuantity"]["value"]), 2) for code in ("122157", "THRESHOLD"))
        present = one["valueCodeableConcept"]["coding"][0]["code"] == "52101004"
        assert one["interpretation"][0]["coding"][0]["code"] == ("POS" if present else "NEG")
        body = self.tracked(one)
        site = fhir_code(one["bodySite"]) if "coding" in one["bodySite"] else None
        tracking = body["description"], uid_of(body)
        return fhir_code(one["code"]), fhir_name(one["code"]), present, *numbers, tracking, site

    def size(self, one: Any) -> tuple[Any, ...]:
        amount, body = one["valueQuantity"], self.tracked(one)
        side = fhir_code(body["locationQualifier"][0]) if "locationQualifier" in body else ()
        number = significant(str(amount["value"]), 6)
        tracking = body["description"], uid_of(body)
        return fhir_code(one["code"]), fhir_name(one["code"]), number, amount["code"], tracking, side


def fhir_map(one: Any) -> tuple[Any, ...]:
    parts = {part["code"]["coding"][0]["code"]: part for part in one["component"]}
    inside = next(part for code, part in parts.items() if code.startswith("INSIDE"))["valueQuantity"]["value"]
    trusted = parts["EXPL-TRUST"]["valueCodeableConcept"]["coding"][0]["code"] == "TRUSTWORTHY"
    return fhir_code(one["code"]), trusted, percent(str(inside), 2)


def from_fhir(data: bytes) -> Said:
    bundle = Bundle(data)
    (told,) = bundle.of("DiagnosticReport")
    observed = bundle.of("Observation")
    absent = [one for one in observed if "dataAbsentReason" in one]
    state = [one for one in absent if one["code"]["coding"][0]["code"] == "READING-STATE"]
    found = [one for one in observed if "valueCodeableConcept" in one]
    builds = [one for one in bundle.of("Device") if "parent" in one]
    series = bundle.of("ImagingStudy")[0]["series"][0]["uid"]
    return Said(
        study=uid_of(bundle.of("ImagingStudy")[0]),
        models=None
        if state
        else tuple(
            (one["modelNumber"], one["version"][0]["value"], uid_of(one), one["identifier"][1]["value"])
            for one in builds
        ),
        findings=tuple(map(bundle.finding, found)),
        sizes=tuple(map(bundle.size, (one for one in observed if "valueQuantity" in one))),
        maps=tuple(fhir_map(one) for one in found if "EXPL-TRUST" in json.dumps(one)),
        unread=tuple(
            (fhir_code(one["code"]), fhir_name(one["code"]), one["dataAbsentReason"]["coding"][1]["code"])
            for one in absent
            if one not in state
        ),
        refusal=state[0]["dataAbsentReason"]["coding"][1]["code"] if state else "",
        series=series,
        accession=told["basedOn"][0]["identifier"]["value"] if "basedOn" in told else "",
        patient=told["subject"]["identifier"]["value"],
        report=uid_of(told),
        made=digits(told["effectiveDateTime"][:19]) if "T" in told["effectiveDateTime"] else None,
        read_at=digits(told["issued"]),
    )


# ---- the JSON ---------------------------------------------------------------------------------


def pair(code: dict[str, str]) -> tuple[str, str]:
    return code["value"], code["scheme"]


def json_share(value: float) -> Number:
    return percent(str(Decimal(str(value)) * 100), 4)


def from_json(data: bytes) -> Said:
    told = json.loads(data)
    refusal = told["refusal"]
    return Said(
        study=told["image"]["study_uid"],
        models=None
        if refusal
        else tuple(
            (one["id"], f"{one['version']}+{one['build']}", one["device_uid"], one["sha256"]) for one in told["models"]
        ),
        findings=tuple(
            (
                pair(one["code"]),
                name(one["code"]["meaning"]),
                one["present"],
                json_share(one["probability"]),
                json_share(one["threshold"]),
                (one["tracking_id"], one["tracking_uid"]),
                one["site"] and pair(one["site"]),
            )
            for one in told["findings"]
        ),
        sizes=tuple(
            (
                pair(size["code"]),
                name(size["code"]["meaning"]),
                significant(str(size["value"]), 6),
                size["unit"]["value"],
                (one["tracking_id"], one["tracking_uid"]),
                pair(size["laterality"]) if size["laterality"] else (),
            )
            for one in told["regions"]
            for size in one["measurements"]
        ),
        maps=tuple(
            (pair(one["finding"]), one["trustworthy"], json_share(one["inside_share"])) for one in told["explanations"]
        ),
        unread=tuple(
            (pair(code), name(code["meaning"]), one["refusal"]["code"])
            for one in told["not_read"]
            for code in one["about"]
        ),
        refusal=refusal["code"] if refusal else "",
        series=told["image"]["series_uid"],
        read_at=re.sub(r"\D", "", told["read_at"]),
    )


# ---- the page ---------------------------------------------------------------------------------

_FINDING = re.compile(
    r'<div class="finding( is-present)?">.*?aria-label="Probability of (.*?) ([\d.]+) %, threshold ([\d.]+) %"'
)
_SIZE = re.compile(r'<tr><th scope="row">(.*?)</th><td class="number">(.*?)</td></tr>')
_UNREAD = re.compile(r'<div class="unread"><strong>(.*?): not read</strong>.*?<code>([A-Z-]+),')
_MODEL = re.compile(r'<tr><th scope="row">([^<]*?) ([^ <]+)</th><td>build (.*?), .*?<code>sha256 (.*?)</code>')


def from_page(data: bytes) -> Said:
    page = data.decode()
    measured = page.partition("<h2>Measured</h2>")[2].partition("</section>")[0]
    refusal = re.search(r'class="stop refused".*?<code>([A-Z-]+)</code>', page)
    models = page.partition("<h2>Models</h2>")[2].partition("</section>")[0]
    read_at = re.search(r"Read at</th><td>(.*?)</td>", page)
    study = re.search(r"Study UID</th><td><code>(.*?)</code>", page)
    assert study is not None
    assert read_at is not None
    return Said(
        study=study[1],
        models=None
        if refusal
        else tuple(
            (html.unescape(one), f"{two}+{three}", None, four) for one, two, three, four in _MODEL.findall(models)
        ),
        findings=tuple(
            (None, html.unescape(called), bool(present), percent(chance_, 1), percent(threshold, 1), None, None)
            for present, called, chance_, threshold in _FINDING.findall(page)
        ),
        sizes=tuple(map(page_size, _SIZE.findall(measured))),
        maps=None,
        unread=tuple((None, html.unescape(called), code) for called, code in _UNREAD.findall(page)),
        refusal=refusal[1] if refusal else "",
        read_at=re.sub(r"\D", "", read_at[1]),
    )


def page_size(row: tuple[str, str]) -> tuple[Any, ...]:
    called = html.unescape(row[0]).rpartition(", ")[2]
    number, unit = html.unescape(row[1]).split(" ")
    return None, called, significant(number, 4), unit, None, None


# ---- all of them ------------------------------------------------------------------------------

#: Kind of document -> what reads it.
READ: dict[str, Callable[[bytes], Said]] = {
    "SR": from_sr,
    "ORU": from_oru,
    "FHIR": from_fhir,
    "JSON": from_json,
    "HTML": from_page,
}


def same(one: Any, other: Any) -> bool:
    """Whether two media agree; what one does not say is no contradiction."""
    if one is None or other is None:
        return True
    if isinstance(one, Number):
        return isinstance(other, Number) and one.same(other)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, str) and isinstance(other, str):
        return one.casefold() == other.casefold()  # of the name of a measurement on the page
    return bool(one == other)


def differences(said: dict[str, Said]) -> list[str]:
    first_kind, *others = said
    return [
        f"{field.name}: {first_kind} {getattr(said[first_kind], field.name)} {kind} {getattr(said[kind], field.name)}"
        for kind in others
        for field in fields(Said)
        if not same(getattr(said[first_kind], field.name), getattr(said[kind], field.name))
    ] + [
        f"{field.name}: {kind} is not as {first} says"
        for number, first in enumerate(others)
        for kind in others[number + 1 :]
        for field in fields(Said)
        if not same(getattr(said[first], field.name), getattr(said[kind], field.name))
    ]


def check(seed: int) -> None:
    result = chance.result(seed)
    made = {one.kind: one.data for one in report.documents(result, kinds={"ORU", "FHIR"})}
    said = {kind: read(made[kind]) for kind, read in READ.items()}
    if result.order is not None:  # DICOM documents keep the identity of the image, a record gets that of the order
        known = {"accession": result.order.accession.value}
        known |= {"patient": result.order.patient[0].value} if result.order.patient else {}
        for kind in ("ORU", "FHIR"):
            for key, value in known.items():
                assert getattr(said[kind], key) == value
                object.__setattr__(said[kind], key, None)
    assert differences(said) == [], f"seed {seed}"
    assert len(said["JSON"].findings) == len(result.findings)
    assert len(said["JSON"].sizes) == sum(len(one.measurements) for one in result.regions)
    assert said["ORU"].models is None or len(said["ORU"].models) == len(result.models)


@pytest.mark.parametrize("seed", range(FAST))
def test_all_media_say_the_same(seed: int) -> None:
    check(seed)


@pytest.mark.slow
def test_all_media_say_the_same_of_a_thousand_results() -> None:
    for seed in range(1000):
        check(seed)


@pytest.mark.parametrize("kind", ["ORU", "FHIR", "JSON", "HTML"])
def test_a_difference_is_found(kind: str) -> None:
    """The comparison itself is tried: each medium with another number in it."""
    result = next(one for one in map(chance.result, range(100)) if len(one.findings) > 1 and one.regions)
    other = next(one for one in map(chance.result, range(100, 200)) if len(one.findings) > 1)
    made = {one.kind: one.data for one in report.documents(result, kinds={"ORU", "FHIR"})}
    wrong = {one.kind: one.data for one in report.documents(other, kinds={"ORU", "FHIR"})}
    said = {one: read((wrong if one == kind else made)[one]) for one, read in READ.items()}
    assert any(line.startswith("findings") for line in differences(said))
