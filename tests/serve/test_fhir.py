"""Results in a record of others, and the same to be pulled from the node."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from tests import peers
from tests.jobs import fake
from tests.report import phantom
from tests.serve.stage import until
from tests.wire.objects import film
from wetread import report
from wetread.jobs.resources import _settled
from wetread.records import USUAL, Circumstances, Reading, Result, Stored
from wetread.report.fhir.site import Site
from wetread.serve.node import Node
from wetread.serve.record import Record
from wetread.settings import Destination, Settings
from wetread.wire import fhir
from wetread.wire.dimse import send

SITE = Site("R4", {"PATIENT": "urn:oid:1.2.3"})
READ, REFUSED = phantom.result("spacing"), phantom.refused("utf8")
PATIENT = {"system": "urn:oid:1.2.3", "value": str(READ.header.PatientID)}


class Phantoms:
    """Says what is known of the study that it gets."""

    def read_blobs(
        self, blobs: Sequence[tuple[str, bytes | Stored]], given: Circumstances = USUAL
    ) -> tuple[Reading, ...]:
        made = []
        for one in (READ, REFUSED):
            if any(one.study_uid.encode() in fake.content(held) for _, held in blobs):
                made.append(reading(replace(one, read_at="2026-11-29T00:00:00Z")))
        return tuple(made)

    def set_aside(
        self, study_uid: str, files: Iterable[tuple[str, str, bytes]], detail: str, given: Circumstances = USUAL
    ) -> tuple[Reading, ...]:
        raise AssertionError(detail)


def reading(result: Result) -> Reading:
    return Reading(result, report.documents(result, kinds=("FHIR",), site=SITE))


@contextmanager
def node(state: Path, **given: Any) -> Iterator[Node]:
    settings = Settings(state=state, port=0, http_port=0, quiet_s=0.1, retry_first_s=0.05, retry_most_s=0.1, **given)
    made = Node(settings, Phantoms)
    made.start()
    try:
        yield made
    finally:
        made.stop(2.0)


def ask(url: str, **headers: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/fhir+json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.loads(response.read())


@pytest.mark.peer
def test_a_result_arrives_in_a_record_of_others_once_its_patient_is_known(tmp_path: Path) -> None:
    with peers.fhir_server() as port:
        ehr = Destination("EHR", url=f"fhir+http://127.0.0.1:{port}")
        with node(tmp_path, destinations=(ehr,)) as made:
            send(Destination("WETREAD", "127.0.0.1", made.port), [film(READ.study_uid, "1.2.1")])
            until(lambda: rejected(made) > 0)
            assert ask(f"http://127.0.0.1:{port}/DiagnosticReport")[1].get("entry") is None
            post(f"http://127.0.0.1:{port}/Patient", {"resourceType": "Patient", "identifier": [PATIENT]})
            until(lambda: made.store.overview.counts()["DELIVERED"] == 1)
            (told,) = ask(f"http://127.0.0.1:{port}/DiagnosticReport")[1]["entry"]
            assert told["resource"]["status"] == "preliminary"
            assert told["resource"]["subject"]["reference"].startswith("Patient/")


def rejected(made: Node) -> float:
    text = made.metrics.text().decode()
    lines = [line for line in text.splitlines() if 'outcome="rejected"' in line and not line.startswith("#")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A node that holds two results, and goes on from an index without resources."""
    with node(tmp_path_factory.mktemp("fhir"), fhir="R4") as made:
        films = [film(READ.study_uid, "1.2.1"), film(REFUSED.study_uid, "1.3.1")]
        send(Destination("WETREAD", "127.0.0.1", made.port), films)
        until(lambda: sum(made.store.overview.counts()[name] for name in ("DELIVERED", "REFUSED")) == 2)
        yield f"http://127.0.0.1:{made.http_port}/fhir"


def found(base: str, query: str) -> list[Any]:
    status, bundle = ask(f"{base}/{query}")
    assert status == 200, bundle
    get_fhir_model_class("Bundle").model_validate(bundle)
    return [one["resource"] for one in bundle.get("entry", ())]


def test_the_capability_statement_is_true(base: str) -> None:
    status, told = ask(f"{base}/metadata")
    assert status == 200
    get_fhir_model_class("CapabilityStatement").model_validate(told)
    examples = {"token": "x", "date": "ge2020-01-01", "reference": "x"}
    for one in told["rest"][0]["resource"]:
        interactions = {each["code"] for each in one["interaction"]}
        assert ask(f"{base}/{one['type']}/unknown")[0] == 404
        assert (ask(f"{base}/{one['type']}")[0] == 200) == ("search-type" in interactions)
        for parameter in one.get("searchParam", ()):
            name = parameter["name"] + (":identifier" if parameter["type"] == "reference" else "")
            assert found(base, f"{one['type']}?{name}={examples[parameter['type']]}") is not None
        for name in one.get("searchInclude", ()):
            assert found(base, f"{one['type']}?_include={name}")


def test_what_is_held_is_read_and_valid(base: str) -> None:
    for kind in ("DiagnosticReport", "Observation", "ImagingStudy", "Device"):
        resources = found(base, f"{kind}?_count=500")
        assert resources
        for one in resources:
            get_fhir_model_class(kind).model_validate(one)
            assert ask(f"{base}/{kind}/{one['id']}") == (200, one)
            for reference in references(one):
                status, there = ask(f"{base}/{reference}")
                assert status == 200, reference
                get_fhir_model_class(there["resourceType"]).model_validate(there)


def test_an_order_that_another_server_holds_is_named_by_its_identifier() -> None:
    named = {"type": "ServiceRequest", "identifier": {"value": "A9"}}
    kept = {"type": "Device", "reference": "urn:uuid:7"}
    given = {"basedOn": [{**named, "reference": "ServiceRequest/7"}], "performer": [kept]}
    assert _settled(given, {"urn:uuid:7": "Device"}) == {
        "basedOn": [named],
        "performer": [{"type": "Device", "reference": "Device/7"}],
    }


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "reference" in value:
            yield value["reference"]
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("DiagnosticReport", 2),
        ("DiagnosticReport?status=preliminary", 2),
        ("DiagnosticReport?status=final", 0),
        ("DiagnosticReport?status=http://hl7.org/fhir/diagnostic-report-status|preliminary", 2),
        ("DiagnosticReport?status=http://hl7.org/fhir/observation-status|preliminary", 0),
        ("DiagnosticReport?status=http://hl7.org/fhir/diagnostic-report-status|", 2),
        ("DiagnosticReport?status=final,|preliminary", 2),
        ("DiagnosticReport?patient:identifier=urn:oid:1.2.3|", 2),
        ("DiagnosticReport?patient:identifier=urn:oid:1.2|", 0),
        (f"DiagnosticReport?patient:identifier=urn:oid:1.2.3|{PATIENT['value']}", 2),
        (f"DiagnosticReport?subject:identifier={PATIENT['value']}", 2),
        (f"DiagnosticReport?patient:identifier=urn:oid:9|{PATIENT['value']}", 0),
        ("DiagnosticReport?patient:identifier=%25", 0),
        (f"ImagingStudy?identifier=urn:dicom:uid|urn:oid:{READ.study_uid}", 1),
        (f"ImagingStudy?identifier=urn:oid:{READ.study_uid},urn:oid:{REFUSED.study_uid}", 2),
        (f"ImagingStudy?identifier=urn:oid:{READ.study_uid[:-1]}", 0),
        ("ImagingStudy?started=1995-09-26", 0),
        ("ImagingStudy?started=ge1990&started=lt2020", 2),
        ("ImagingStudy?started=gt2020", 0),
        ("DiagnosticReport?_count=1", 1),
        ("DiagnosticReport?_count=1&_offset=2", 0),
        ("Device?status=active", 3),
    ],
)
def test_searches(query: str, number: int, base: str) -> None:
    if "started=1995" in query:
        number = len([one for one in found(base, "ImagingStudy") if one["started"].startswith("1995-09-26")])
    assert len(found(base, query)) == number


def test_pages_lead_to_each_other(base: str) -> None:
    seen: list[str] = []
    url = f"{base}/Observation?_count=2"
    while url:
        _, bundle = ask(url)
        seen += [one["resource"]["id"] for one in bundle["entry"]]
        url = next((one["url"] for one in bundle["link"] if one["relation"] == "next"), "")
    assert len(seen) == len(set(seen)) == bundle["total"]


def test_results_come_with_their_report(base: str) -> None:
    query = f"DiagnosticReport?patient:identifier={PATIENT['value']}&_include=DiagnosticReport:result"
    resources = found(base, query)
    kinds = [one["resourceType"] for one in resources]
    wanted = {name for one in resources for name in references(one.get("result", []))}
    assert kinds.count("Observation") == len(wanted)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("DiagnosticReport?patient=Patient/1", 400, "invalid"),
        ("DiagnosticReport?unknown=1", 400, "invalid"),
        ("DiagnosticReport?date=tomorrow", 400, "invalid"),
        ("DiagnosticReport?_count=many", 400, "invalid"),
        ("DiagnosticReport?_include=Observation:device", 400, "invalid"),
        ("DiagnosticReport?identifier=" + ",".join("a" * 1200), 400, "invalid"),
        ("DiagnosticReport?" + "&".join(["date=2020"] * 1200), 400, "invalid"),
        ("Patient", 404, "not-found"),
        ("Patient/1", 404, "not-found"),
        ("DiagnosticReport/1", 404, "not-found"),
    ],
)
def test_what_it_does_not_do(path: str, status: int, code: str, base: str) -> None:
    got, told = ask(f"{base}/{path}")
    assert (got, told["issue"][0]["code"]) == (status, code)
    get_fhir_model_class("OperationOutcome").model_validate(told)


def test_xml_is_not_spoken(base: str) -> None:
    assert ask(f"{base}/metadata", Accept="application/fhir+xml")[0] == 406


def test_strangers_are_refused(base: str) -> None:
    request = urllib.request.Request(f"{base}/Device", headers={"Host": "attacker.example"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=20)
    with caught.value:
        assert caught.value.code == 403


def test_the_record_of_the_demo_keeps_a_bundle_once() -> None:
    record = Record()
    record.start()
    try:
        data = next(
            one.data for one in reading(replace(READ, read_at="2026-11-29T00:00:00Z")).documents if one.kind == "FHIR"
        )
        assert fhir.send(Destination("EHR", url=f"fhir+{record.url}"), [data, data]) == [0, 0]
        assert record.wait(2, 5.0)
        assert record.bundles == [data, data]
        assert [one["status"] for one in record.reports()] == ["preliminary"]
    finally:
        record.stop()


def test_a_node_that_makes_no_bundles_has_no_such_place(tmp_path: Path) -> None:
    with node(tmp_path) as made, pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{made.http_port}/fhir/metadata", timeout=20)
    with caught.value:
        assert caught.value.code == 404
