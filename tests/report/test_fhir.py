"""The FHIR transaction: valid by three validators, accepted by a server of others, and idempotent."""

from __future__ import annotations

import base64
import copy
import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement

from tests import peers
from tests.report import phantom
from wetread import report
from wetread.errors import DocumentError
from wetread.records import Code, Identifier, Order, Result
from wetread.report.context import context_of
from wetread.report.fhir import checker
from wetread.report.fhir.shared import shared_of
from wetread.report.fhir.site import Site, site_of
from wetread.settings import Destination, Settings

Results = Callable[[str], Result]
KINDS = ["real", "spacing", "utf8", "iso2022", "empty", "refused", "partial", "reduced", "late", "negative"]
KINDS += ["ct", "mr-enhanced", "slice"]
READ_AT = "2026-11-29T00:00:00Z"
SYSTEMS = {"PATIENT": "urn:oid:1.2.3", "ACCESSION": "urn:oid:1.2.4"}
HERE = Site("R4", SYSTEMS)
BASE = "https://node.example"


def bundle(result: Result, site: Site = HERE) -> dict[str, Any]:
    (made,) = [
        one
        for one in report.documents(replace(result, read_at=READ_AT), "Hospital", ("FHIR",), BASE, site=site)
        if one.kind == "FHIR"
    ]
    return dict(json.loads(made.data))


def resources(made: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one["resource"] for one in made["entry"] if one["resource"]["resourceType"] == kind]


class Server:
    """The peer."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def call(self, path: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/fhir+json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def held(self, made: dict[str, Any]) -> Counter[str]:
        kinds = {one["resource"]["resourceType"] for one in made["entry"]}
        return Counter({kind: len(self.call(f"/{kind}?_count=1000")[1].get("entry", ())) for kind in kinds})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with peers.fhir_server() as port:
        yield Server(port)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", ["R4", "R5"])
def test_fhir_resources_finds_nothing_wrong(kind: str, version: str, result_of: Results) -> None:
    from fhir.resources import bundle as r5
    from fhir.resources.R4B import bundle as r4b

    made = bundle(result_of(kind), replace(HERE, version=version))
    (r5 if version == "R5" else r4b).Bundle.model_validate(made)


@pytest.mark.peer
@pytest.mark.parametrize(
    "kind", [kind if kind in ("spacing", "refused") else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_a_server_of_others_takes_it_once(kind: str, result_of: Results, server: Server) -> None:
    made = bundle(result_of(kind))
    assert server.call("/validate", made) == (200, [])
    server.call("/", method="DELETE")
    (subject,) = {json.dumps(one["subject"]) for one in resources(made, "DiagnosticReport")}
    named = json.loads(subject)
    assert server.call("/", made)[0] == 400  # a patient that it does not know is no one else
    server.call("/", method="DELETE")
    server.call("/Patient", {"resourceType": "Patient", "identifier": [named["identifier"]]})
    status, answer = server.call("/", made)
    assert (status, {one["response"]["status"] for one in answer["entry"]}) == (200, {"201"})
    before = server.held(made)
    assert before == Counter(one["resource"]["resourceType"] for one in made["entry"])
    for _ in range(10):
        status, answer = server.call("/", made)
        assert (status, {one["response"]["status"] for one in answer["entry"]}) == (200, {"200"})
    assert server.held(made) == before


@pytest.mark.peer
def test_the_peers_do_judge(result_of: Results, server: Server) -> None:
    for change in ("lacks", "knows not"):
        made = bundle(result_of("real"))
        observation = resources(made, "Observation")[0]
        observation.pop("status") if change == "lacks" else observation.update(unknown=1)
        found = server.call("/validate", made)[1]
        assert {one.partition(":")[0] for one in found} == {"fhir", "medplum"}


def test_a_refusal_holds_no_value(result_of: Results) -> None:
    made = bundle(result_of("refused"))
    (one,) = resources(made, "Observation")
    assert not [name for name in one if name.startswith("value")]
    assert one["dataAbsentReason"]["coding"][1]["code"] == "WRONG-BODY-PART"
    (told,) = resources(made, "DiagnosticReport")
    assert told["conclusionCode"][0]["coding"][0]["code"] == "WRONG-BODY-PART"
    assert told["conclusion"].splitlines()[1].startswith("NOT READ.")
    assert not resources(made, "Task")


def test_what_one_model_did_not_read_is_absent_not_negative(result_of: Results) -> None:
    told = {one["code"]["text"]: one for one in resources(bundle(result_of("partial")), "Observation")}
    assert "OUTSIDE-AGE" in json.dumps(told["Pneumonia"]["dataAbsentReason"])
    assert "valueCodeableConcept" not in told["Pneumonia"]


def test_a_finding_says_all_of_it(result_of: Results) -> None:
    made = bundle(result_of("real"))
    told = {one["code"]["text"]: one for one in resources(made, "Observation")}
    finding = told["Pneumonia"]
    assert finding["valueCodeableConcept"]["text"] == "Present"
    assert finding["interpretation"][0]["coding"][0]["code"] == "POS"
    assert finding["component"][0]["valueQuantity"] == {
        "value": 97.3,
        "unit": "percent",
        "system": "http://unitsofmeasure.org",
        "code": "%",
    }
    devices = {one["fullUrl"]: one["resource"] for one in made["entry"]}
    assert devices[finding["device"]["reference"]]["modelNumber"] == "cxr-pneumonia"
    assert len(finding["derivedFrom"]) == 2  # the study and the heat map
    group = told["Measurement Group"]
    assert devices[group["hasMember"][0]["reference"]]["valueQuantity"]["code"] in ("%", "cm2")


@pytest.mark.parametrize("doubted", [0, 1])
def test_the_heat_map_is_that_of_the_first_explanation(doubted: int, result_of: Results) -> None:
    """Of several findings one has a picture: whether it deserves trust says nothing of the others."""
    result = result_of("spacing")
    other = replace(result.findings[0], code=Code("60046008", "SCT", "Pleural effusion"), tracking_uid="2.25.77")
    told = [replace(result.explanations[0], finding=one.code) for one in (result.findings[0], other)]
    told[doubted] = replace(told[doubted], trustworthy=False)
    made = bundle(replace(result, findings=(result.findings[0], other), explanations=tuple(told)))
    titles = {one["content"]["title"] for one in resources(made, "Media")}
    assert any(title.startswith("Not trustworthy") for title in titles) == (doubted == 0)
    found = [one for one in resources(made, "Observation") if "valueCodeableConcept" in one]
    assert [len(one["derivedFrom"]) for one in found] == [2, 1]  # the study, and the map of the first
    (report_,) = resources(made, "DiagnosticReport")
    page = base64.b64decode(report_["presentedForm"][0]["data"])
    assert (b'<b class="badge">' in page) == (doubted == 0)


def test_the_patient_is_named_by_identifier_only(result_of: Results) -> None:
    result = result_of("real")
    family = str(result.header.PatientName).partition("^")[0]
    made = bundle(result)
    assert family not in json.dumps(made, ensure_ascii=False)
    (told,) = resources(made, "DiagnosticReport")
    assert told["subject"]["reference"] == f"Patient?identifier=urn:oid:1.2.3|{result.header.PatientID}"
    (told,) = resources(bundle(result, Site()), "DiagnosticReport")
    assert told["subject"] == {"type": "Patient", "identifier": {"value": result.header.PatientID}}


def test_the_order_tells_patient_accession_and_priority(result_of: Results) -> None:
    merged = Identifier("NEW 1,2", "HOSP", "1.2.9", "ISO")
    order = Order(Identifier("A9", "RIS", "AB-CD", "UUID"), patient=(merged,), priority="STAT")
    made = bundle(replace(result_of("spacing"), order=order))
    (told,) = resources(made, "DiagnosticReport")
    assert told["subject"]["reference"] == "Patient?identifier=urn:oid:1.2.9|NEW%201%5C%2C2"
    assert told["basedOn"][0]["identifier"]["system"] == "urn:uuid:ab-cd"
    assert told["basedOn"][0]["identifier"]["type"]["coding"][0]["code"] == "ACSN"
    assert resources(made, "Task")[0]["priority"] == "stat"


def test_the_order_is_named_where_it_was_found_if_the_bundle_goes_there_alone(result_of: Results) -> None:
    order = Order(Identifier("A9"), reference="https://ehr.example/fhir/ServiceRequest/7", source="fhir")
    result = replace(result_of("spacing"), order=order)

    def based_on(order: Order, *urls: str) -> Any:
        places = tuple(Destination(f"D{i}", url=url) for i, url in enumerate(urls))
        site = site_of(Settings(destinations=places, fhir_systems=tuple(SYSTEMS.items())))
        (told,) = resources(bundle(replace(result, order=order), site), "DiagnosticReport")
        return told.get("basedOn")

    alone = based_on(order, "fhir+https://ehr.example/fhir/", "https://pacs.example/dicom-web")
    assert [one["reference"] for one in alone] == ["ServiceRequest/7"]
    assert alone[0]["identifier"]["value"] == "A9"
    for others in ([], ["fhir+https://ehr.example/fhir2"], ["fhir+https://ehr.example/fhir", "fhir+https://b.example"]):
        assert ["reference" in one for one in based_on(order, *others)] == [False]


@pytest.mark.peer
def test_a_server_of_others_ties_a_result_to_its_order(result_of: Results, server: Server) -> None:
    server.call("/", method="DELETE")
    subject = {"type": "Patient", "identifier": {"system": "urn:oid:1.2.3", "value": "4711"}}
    asked = {"resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": subject}
    _, placed = server.call("/ServiceRequest", asked)
    found = f"https://ehr.example/ServiceRequest/{placed['id']}"
    order = Order(Identifier("A9"), patient=(Identifier("4711"),), reference=found, source="fhir")
    made = bundle(replace(result_of("spacing"), order=order), replace(HERE, server="https://ehr.example"))
    assert server.call("/validate", made) == (200, [])
    server.call("/Patient", {"resourceType": "Patient", "identifier": [subject["identifier"]]})
    assert server.call("/", made)[0] == 200
    status, answer = server.call(f"/DiagnosticReport?based-on=ServiceRequest/{placed['id']}")
    assert (status, len(answer["entry"])) == (200, 1)


def test_a_revision_names_the_report_that_it_replaces(result_of: Results) -> None:
    (told,) = resources(bundle(result_of("late")), "DiagnosticReport")
    named = [one["valueReference"]["identifier"]["value"] for one in told["extension"]]
    assert named == ["urn:oid:2.25.721", "urn:oid:2.25.731"]


def test_the_study_lists_what_was_read_and_made(result_of: Results) -> None:
    documents = {one.kind: one for one in report.documents(result_of("ct"), "Hospital")}
    (study,) = resources(bundle(result_of("ct")), "ImagingStudy")
    read, *made = study["series"]
    assert read["numberOfInstances"] == len(read["instance"]) == 9
    uids = [one["instance"][0]["uid"] for one in made]
    assert uids == [one.sop_instance_uid for one in documents.values() if one.sop_class_uid]


def test_two_readings_differ_in_their_time_only() -> None:
    first, again = phantom.result("spacing"), phantom.result("spacing")
    assert bundle(first) == bundle(again)
    documents = [
        report.documents(replace(first, read_at=at), kinds=("FHIR",)) for at in (READ_AT, "2026-11-29T00:00:09Z")
    ]
    one, other = (next(one for one in made if one.kind == "FHIR") for made in documents)
    assert one.filed == other.filed
    assert one.data != other.data


def test_without_the_time_of_its_reading_nothing_leaves() -> None:
    with pytest.raises(DocumentError, match="time of its reading"):
        report.documents(phantom.result(), kinds=("FHIR",))


def test_an_image_that_names_no_study_has_no_bundle() -> None:
    refused = phantom.refused(with_header=False)
    assert "FHIR" not in {one.kind for one in report.documents(refused, kinds=("FHIR",))}


@pytest.mark.parametrize("uid", ["1.2.03.4", "00.1", "9.8.7"])
def test_a_uid_that_is_not_quite_one_stays_as_it_is(uid: str) -> None:
    result = phantom.result("spacing")
    header = copy.deepcopy(result.header)
    assert header is not None
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        header[keyword] = DataElement(tag_for_keyword(keyword) or 0, "UI", uid, validation_mode=config.IGNORE)
    made = bundle(replace(result, header=header, study_uid=uid))
    assert resources(made, "ImagingStudy")[0]["identifier"] == [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}]


@pytest.mark.parametrize("version", ["R4", "R5"])
def test_pictures_say_which_side_is_on_their_right(version: str) -> None:
    result = phantom.result("spacing")
    assert result.image is not None
    for direction, side in (("L", "The picture's right is the patient's left"), ("", "")):
        made = bundle(
            replace(result, image=replace(result.image, row_direction=direction)), replace(HERE, version=version)
        )
        pictures = resources(made, "Media") or resources(made, "DocumentReference")
        said = [one.get("description", "") or "".join(note["text"] for note in one.get("note", ())) for one in pictures]
        assert said == [side, side]


def _lacks(made: dict[str, Any]) -> None:
    resources(made, "Observation")[0].pop("device")


def _unknown(made: dict[str, Any]) -> None:
    resources(made, "Device")[0]["name"] = "R5"


def _empty(made: dict[str, Any]) -> None:
    resources(made, "ImagingStudy")[0]["series"] = []


def _other_value(made: dict[str, Any]) -> None:
    next(one for one in resources(made, "Observation") if "valueQuantity" in one)["valueQuantity"]["value"] += 1


def _other_verdict(made: dict[str, Any]) -> None:
    next(one for one in resources(made, "Observation") if "valueCodeableConcept" in one).pop("valueCodeableConcept")


def _other_patient(made: dict[str, Any]) -> None:
    resources(made, "Media")[0]["subject"] = {"reference": "Patient?identifier=urn:oid:1.2.3|other"}


def _other_order(made: dict[str, Any]) -> None:
    resources(made, "DiagnosticReport")[0]["basedOn"] = [{"display": "another"}]


def _dangling(made: dict[str, Any]) -> None:
    made["entry"] = [one for one in made["entry"] if one["resource"]["resourceType"] != "Media"]


def _twice(made: dict[str, Any]) -> None:
    made["entry"].append(made["entry"][0])


def _replayed(made: dict[str, Any]) -> None:
    made["entry"][0]["request"]["ifNoneExist"] = "identifier=urn:dicom:uid|urn:oid:1.2"


def _verified(made: dict[str, Any]) -> None:
    resources(made, "DiagnosticReport")[0]["status"] = "amended"


def _local_time(made: dict[str, Any]) -> None:
    resources(made, "DiagnosticReport")[0]["effectiveDateTime"] = "2026-11-29T00:00:00"


def _undated(made: dict[str, Any]) -> None:
    del resources(made, "Observation")[0]["effectiveDateTime"]


@pytest.mark.parametrize(
    "damage",
    [
        _lacks,
        _unknown,
        _empty,
        _other_value,
        _other_verdict,
        _other_patient,
        _other_order,
        _dangling,
        _twice,
        _replayed,
        _verified,
        _local_time,
        _undated,
    ],
)
def test_our_own_checker_stops_it(damage: Callable[[dict[str, Any]], None]) -> None:
    result = replace(phantom.result("spacing"), read_at=READ_AT)
    documents = {one.kind: one for one in report.documents(result, "", ("FHIR",), site=HERE)}
    context = context_of(result, "")
    assert context is not None
    shared = shared_of(context, HERE, "", [one for one in documents.values() if one.sop_class_uid])
    checker.check(documents["FHIR"].data, shared)
    made = copy.deepcopy(json.loads(documents["FHIR"].data))
    damage(made)
    with pytest.raises(DocumentError, match="FHIR: expected no problem"):
        checker.check(json.dumps(made).encode(), shared)
