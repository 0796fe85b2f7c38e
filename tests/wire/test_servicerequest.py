"""Orders that a FHIR server tells: what is taken of a ServiceRequest, and what a server may do wrong."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests import peers
from tests.jobs import fake
from tests.serve.stage import until
from tests.wire.objects import element, film
from tests.wire.test_fhir import Answer, server
from wetread.errors import PeerBusy, PeerRefused, PeerUnreachable
from wetread.jobs.lanes import Lane
from wetread.records import Code, Identifier, Order
from wetread.report.fhir.coding import SYSTEMS, system_of
from wetread.report.fhir.site import Site
from wetread.serve.node import Node
from wetread.settings import Destination, Settings
from wetread.wire import fhir
from wetread.wire.dimse import send
from wetread.wire.servicerequest import naming, orders

PAIRS = (("PATIENT", "urn:oid:1.2.3"), ("ACCESSION", "https://h.example/acsn"), ("HOSP", "https://h.example/mrn"))
NAMES = naming((*PAIRS, ("CLINIC", "urn:oid:1.2.9")), SYSTEMS)
V2 = "http://terminology.hl7.org/CodeSystem/v2-0203"


def typed(kind: str, value: str, **more: str) -> dict[str, Any]:
    return {"type": {"coding": [{"system": V2, "code": kind}]}, "value": value, **more}


def request(**more: Any) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "id": "sr1",
        "status": "active",
        "intent": "order",
        "identifier": [
            typed("ACSN", "A-1", system="https://h.example/acsn"),
            typed("PLAC", "P-1", system="https://h.example/placer"),
            typed("FILL", "F-1", system="urn:oid:1.2.9"),
            {"system": "urn:dicom:uid", "value": "urn:oid:1.2.840.7"},
        ],
        "priority": "asap",
        "code": {"coding": [{"system": "http://loinc.org", "code": "36643-5", "display": "XR Chest 2 Views"}]},
        "subject": {"reference": "Patient/p1"},
        "reasonCode": [{"text": "Fever\nand cough"}, {"coding": [{"code": "R05", "display": "Cough"}]}],
        **more,
    }


PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "name": [{"family": "Doe"}],
    "identifier": [
        {"system": "https://h.example/mrn", "value": "4711"},
        {"system": "urn:oid:1.2.9", "value": "C-7"},
        {"system": "https://other.example/id", "value": "O-1"},
        {"value": "X-1", "assigner": {"display": "XRAY"}},
    ],
}


def page(*resources: Any, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in resources], **more}


def asked_of(answer: Callable[[str], Answer], accession: str = "A-1", uid: str = "1.2.840.7") -> list[Order]:
    with server(lambda path, *_: answer(path)) as (url, _seen):
        return orders(Destination("EHR", url=url), accession, uid, NAMES, 5.0)


def found(*resources: Any) -> list[Order]:
    return asked_of(lambda _: (200, page(*resources), {}))


def test_an_order_is_read_whole() -> None:
    asked: list[str] = []

    def answer(path: str) -> Answer:
        asked.append(path)
        return 200, page(request(), PATIENT), {}

    (order,) = asked_of(answer)
    base, _, rest = order.reference.partition("/fhir/")
    assert base.startswith("http://127.0.0.1:")
    assert rest == "ServiceRequest/sr1"
    assert (order.accession, order.placer) == (
        Identifier("A-1"),
        Identifier("P-1", "", "https://h.example/placer", "URI"),
    )
    assert order.filler == Identifier("F-1", "CLINIC", "1.2.9", "ISO")
    assert order.patient == (
        Identifier("4711", "HOSP"),
        Identifier("C-7", "CLINIC", "1.2.9", "ISO"),
        Identifier("O-1", "", "https://other.example/id", "URI"),
        Identifier("X-1", "XRAY"),
    )
    assert order.procedure == Code("36643-5", "LN", "XR Chest 2 Views")
    assert (order.priority, order.indication) == ("URGENT", "Fever and cough; Cough")
    assert (order.study_uid, order.source) == ("1.2.840.7", "fhir")
    (path,) = asked
    told = parse_qs(urlsplit(path).query)
    assert told["identifier"] == ["https://h.example/acsn|A-1"]
    assert told["_include"] == ["ServiceRequest:patient"]


def test_systems_come_back_as_they_went() -> None:
    (order,) = found(request(), PATIENT)
    site = Site(systems=dict(PAIRS))
    systems = [system_of(one, site, "PATIENT") for one in order.patient[:3]]
    assert systems == [one["system"] for one in PATIENT["identifier"][:3]]  # type: ignore[index]


@pytest.mark.parametrize(
    "more",
    [
        {"status": "revoked"},
        {"status": "entered-in-error"},
        {"status": "draft"},
        {"intent": "proposal"},
        {"intent": "plan"},
        {"doNotPerform": True},
        {"status": ["active"], "intent": {}, "identifier": []},
        {"identifier": [typed("ACSN", "A-2")]},
        {"identifier": [typed("PLAC", "A-1")]},
        {"identifier": "A-1"},
        {"identifier": [None, 7, {"value": 7}, {"type": 7, "value": "A-1"}, {"type": {"coding": 1}}]},
    ],
)
def test_what_is_no_order_of_the_study(more: dict[str, Any]) -> None:
    assert found(request(**more), PATIENT) == []


@pytest.mark.parametrize(
    ("more", "priority"), [("stat", "STAT"), ("urgent", "URGENT"), ("routine", "ROUTINE"), ("soon", ""), (None, "")]
)
def test_priorities(more: Any, priority: str) -> None:
    assert [one.priority for one in found(request(priority=more), PATIENT)] == [priority]


def test_an_accession_number_is_told_by_its_type_or_its_system() -> None:
    untyped = {"identifier": [{"system": "https://h.example/acsn", "value": "A-1"}]}
    assert [one.accession.value for one in found(request(**untyped), PATIENT)] == ["A-1"]
    shared = {"identifier": [], "requisition": typed("ACSN", "A-1")}
    assert [one.accession.value for one in found(request(**shared), PATIENT)] == ["A-1"]


def test_an_order_may_be_found_by_its_study() -> None:
    def answer(path: str) -> Answer:
        mine = "urn:dicom:uid|urn:oid:1.2.840.7" in unquote(path)
        uid = {"system": "urn:dicom:uid", "value": "urn:oid:1.2.840.7"}
        return 200, page(*([request(identifier=[uid]), PATIENT] if mine else [])), {}

    assert [one.study_uid for one in asked_of(answer)] == ["1.2.840.7"]
    assert [one.study_uid for one in asked_of(answer, "")] == ["1.2.840.7"]
    assert asked_of(answer, "", "1.2.840.8") == []


def test_what_is_no_id_is_no_reference() -> None:
    assert [one.reference for one in found(request(id="../Patient/1"), PATIENT)] == [""]


def test_r5() -> None:
    code = {"concept": {"coding": [{"code": "X", "system": "urn:local"}], "text": "Chest"}}
    made = request(code=code, reason=[{"concept": {"text": "Fall"}}], reasonCode=None)
    (order,) = found(made, PATIENT)
    assert (order.procedure, order.indication) == (Code("X", "", "Chest"), "Fall")


def test_pages_are_followed_within_bounds_and_on_the_same_server_only() -> None:
    asked: list[str] = []

    def endless(path: str) -> Answer:
        asked.append(path)
        return 200, page({"resourceType": "Basic"}, link=[{"relation": "next", "url": "?page=2"}]), {}

    assert asked_of(endless, "") == []
    assert len(asked) == fhir.MOST_PAGES

    for url in ("http://127.0.0.1:1/fhir?page=2", "http://[::1/fhir?page=2"):
        asked.clear()

        def elsewhere(path: str, url: str = url) -> Answer:
            asked.append(path)
            return 200, page(link=[{"relation": "next", "url": url}]), {}

        assert asked_of(elsewhere, "") == []
        assert len(asked) == 1

    assert asked_of(lambda _: (200, page(link=7, entry=7), {}), "") == []

    def second(path: str) -> Answer:
        more = "page=2" in path
        link = [] if more else [{"relation": "next", "url": "/fhir/ServiceRequest?page=2"}]
        return 200, page(request() if more else PATIENT, link=link), {}

    assert [len(one.patient) for one in asked_of(second)] == [4]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((503, {}, {"Retry-After": "7"}), PeerBusy),
        ((401, {"resourceType": "OperationOutcome"}, {}), PeerRefused),
        ((200, b"<html>4711</html>", {}), PeerRefused),
        ((200, {"resourceType": "Patient", "id": "4711"}, {}), PeerRefused),
        ((200, b'{"resourceType": "Bundle", "x": "' + b"4711" * 5_000_000 + b'"}', {}), PeerUnreachable),
    ],
)
def test_what_a_server_does_wrong(answer: Answer, error: type[Exception]) -> None:
    with pytest.raises(error) as told:
        asked_of(lambda _: answer)
    assert "4711" not in str(told.value)
    assert "A-1" not in str(told.value)


def test_a_patient_who_does_not_come_along_is_read() -> None:
    def answer(path: str) -> Answer:
        return (200, PATIENT if "/Patient/p1" in path else page(request()), {})

    assert [len(one.patient) for one in asked_of(answer)] == [4]
    logical = {"type": "Patient", "identifier": {"system": "https://h.example/mrn", "value": "4711"}}
    assert [one.patient for one in found(request(subject=logical))] == [(Identifier("4711", "HOSP"),)]
    away = {"reference": "https://elsewhere.example/Patient/p1"}
    assert [one.patient for one in found(request(subject=away))] == [()]


# ---- a server of others -----------------------------------------------------------------------


def post(port: int, resource: dict[str, Any]) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", f"/{resource['resourceType']}", json.dumps(resource))
        response = connection.getresponse()
        told = json.loads(response.read())
        assert response.status == 201, told
        return str(told["id"])
    finally:
        connection.close()


@pytest.mark.peer
def test_a_node_asks_a_server_of_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Medplum has the order A-1, asap, of the patient of the film, and A-1 revoked of another."""
    with peers.fhir_server() as port:
        patient = post(port, {name: value for name, value in PATIENT.items() if name != "id"})
        made = {name: value for name, value in request().items() if name != "id"}
        made["subject"] = {"reference": f"Patient/{patient}"}
        order = post(port, made)
        post(port, {**made, "status": "revoked", "priority": "stat"})
        place = Destination("EHR", url=f"fhir+http://127.0.0.1:{port}")
        settings = Settings(state=tmp_path, port=0, http_port=0, worklists=(place,), fhir_systems=PAIRS, quiet_s=30.0)
        asked = threading.Event()

        def load() -> Any:
            asked.wait(90.0)  # nothing is read before: a study that is read is no more hastened
            return fake.READER

        node = Node(settings, load)
        node.start()
        try:
            head, at = film("7.7", "7.7.1"), film("7.7", "7.7.1").index(element(0x00080060, "CS", b"CR"))
            plain = head[:at] + element(0x00080050, "SH", b"A-1") + head[at:]
            assert send(Destination("WETREAD", "127.0.0.1", node.port), [plain]) == [0]
            until(lambda: [job.lane for job in node.store.overview.versions("7.7")] == [Lane.URGENT], 60.0)
            (known,) = node.store.ordered.of("7.7", "A-1")
        finally:
            asked.set()
            node.stop()
    assert known.reference == f"http://127.0.0.1:{port}/ServiceRequest/{order}"
    assert Identifier("4711", "HOSP") in known.patient
    assert "4711" not in caplog.text
