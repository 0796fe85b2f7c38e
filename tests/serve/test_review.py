"""A person reviews a result through the node: new versions leave by the ways of the first, and it is counted."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests import peers
from tests.serve.stage import until
from tests.serve.test_fhir import PATIENT, READ, REFUSED, ask, node, post
from tests.wire.objects import film
from wetread.serve.node import Node
from wetread.serve.receiver import Receiver
from wetread.serve.record import Record
from wetread.settings import Destination
from wetread.wire.dimse import send

PERSON = {"name": "Doe^Jane", "identifier": "1234567", "system": "urn:oid:1.2", "organization": "Hospital"}
FINDING = READ.findings[0].code.value


def told(made: Node, body: Any, study: str = READ.study_uid, kind: str = "application/json") -> tuple[int, Any]:
    url = f"http://127.0.0.1:{made.http_port}/studies/{study}/review"
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": kind}), timeout=20) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def metrics(made: Node) -> dict[str, float]:
    lines = [line for line in made.metrics.text().decode().splitlines() if line.startswith("wetread_review")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


@pytest.mark.peer
def test_a_review_closes_the_loop(tmp_path: Path, pacs: Receiver) -> None:
    with peers.fhir_server() as port:
        post(f"http://127.0.0.1:{port}/Patient", {"resourceType": "Patient", "identifier": [PATIENT]})
        places = (
            Destination("PACS", "127.0.0.1", pacs.port, ("SR",)),
            Destination("EHR", url=f"fhir+http://127.0.0.1:{port}"),
        )
        with node(tmp_path / "state", destinations=places) as made:
            send(Destination("WETREAD", "127.0.0.1", made.port), [film(READ.study_uid, "1.2.1")])
            until(lambda: made.store.overview.counts()["DELIVERED"] == 1)
            (first,) = ask(f"http://127.0.0.1:{made.http_port}/studies/{READ.study_uid}/review")[1]["reports"]
            status, body = told(made, {"decision": "correct", "reviewer": PERSON, "findings": {FINDING: False}})
            assert (status, body["report"], body["documents"]) == (201, first, ["SR", "FHIR"])
            until(lambda: len(pacs.receipts) == 2)
            until(lambda: report(port)["status"] == "final")
            sent = pydicom.dcmread(pacs.receipts[1].path)
            assert (sent.SOPInstanceUID, sent.VerificationFlag) == (body["successor"], "VERIFIED")
            assert report(port)["identifier"][1]["value"] == f"urn:oid:{body['successor']}"
            assert len(ask(f"http://127.0.0.1:{port}/Observation")[1]["entry"]) == 5  # none twice
            assert metrics(made)['wetread_review_ppv{model="cxr-pneumonia"}'] == 0.0
            # The same again changes nothing; another one supersedes it.
            again = {"decision": "correct", "reviewer": PERSON, "findings": {FINDING: False}}
            assert told(made, again) == (200, {**body, "documents": []})
            status, last = told(made, {"decision": "accept", "reviewer": PERSON})
            assert status == 201
            until(lambda: report(port)["status"] == "corrected")
            until(lambda: len(pacs.receipts) == 3)
            series = pydicom.dcmread(pacs.receipts[2].path).PredecessorDocumentsSequence[0].ReferencedSeriesSequence
            assert series[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == body["successor"]
            assert metrics(made) == {
                'wetread_reviews{decision="accept"}': 1.0,
                'wetread_reviews{decision="correct"}': 1.0,
                'wetread_review_agreement{model="cxr-pneumonia"}': 1.0,
                'wetread_review_override{model="cxr-pneumonia"}': 0.0,
                'wetread_review_ppv{model="cxr-pneumonia"}': 1.0,
            }
            # What the node itself serves is what the person signed last.
            (own,) = ask(f"http://127.0.0.1:{made.http_port}/fhir/DiagnosticReport")[1]["entry"]
            assert own["resource"]["status"] == "corrected"
            assert last["report"] == first


def test_a_search_finds_what_a_person_signed_by_its_new_status(tmp_path: Path) -> None:
    """A worklist asks for what is preliminary, so that somebody reviews it."""
    with node(tmp_path, destinations=(Destination("EHR", url="fhir+http://127.0.0.1:1"),)) as made:
        send(Destination("WETREAD", "127.0.0.1", made.port), [film(READ.study_uid, "1.2.1")])
        until(lambda: made.store.overview.counts()["READ"] == 1)

        def found(status: str) -> list[str]:
            url = f"http://127.0.0.1:{made.http_port}/fhir/DiagnosticReport?status={status}"
            return [one["resource"]["status"] for one in ask(url)[1].get("entry", ())]

        assert (found("preliminary"), found("final")) == (["preliminary"], [])
        assert told(made, {"decision": "accept", "reviewer": PERSON})[0] == 201
        assert (found("preliminary"), found("final"), found("preliminary,final")) == ([], ["final"], ["final"])


def report(port: int) -> dict[str, Any]:
    (one,) = ask(f"http://127.0.0.1:{port}/DiagnosticReport")[1]["entry"]
    return dict(one["resource"])


@pytest.fixture(scope="module")
def reading_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    record = Record()
    record.start()
    ehr = Destination("EHR", url=f"fhir+{record.url}")
    with node(tmp_path_factory.mktemp("review"), destinations=(ehr,)) as made:
        films = [film(READ.study_uid, "1.2.1"), film(REFUSED.study_uid, "1.3.1")]
        send(Destination("WETREAD", "127.0.0.1", made.port), films)
        until(lambda: sum(made.store.overview.counts()[name] for name in ("DELIVERED", "REFUSED")) == 2)
        yield made
    record.stop()


ACCEPT = {"decision": "accept", "reviewer": PERSON}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"no JSON", "expected JSON"),
        ([], "expected some of"),
        ({"decision": "accept"}, "expected some of"),
        ({**ACCEPT, "more": 1}, "expected some of"),
        ({**ACCEPT, "decision": "maybe"}, "expected decision"),
        ({**ACCEPT, "reviewer": {**PERSON, "identifier": ""}}, "expected name, identifier"),
        ({**ACCEPT, "reviewer": {**PERSON, "name": 7}}, "expected text in name"),
        ({**ACCEPT, "decision": "correct", "segmentation": "1.2\0"}, "expected text in segmentation"),
        ({**ACCEPT, "decision": "correct", "findings": {FINDING: "no"}}, "expected findings as code"),
        ({**ACCEPT, "decision": "correct", "findings": {"4711": True}}, "expected findings of the report"),
        ({**ACCEPT, "report": "1.2.3"}, "expected one report"),
    ],
)
def test_a_review_that_cannot_be_kept(body: Any, words: str, reading_node: Node) -> None:
    status, said = told(reading_node, body)
    assert status == 400
    assert words in said["error"]
    assert not metrics(reading_node)


def test_an_unknown_study_and_one_that_was_not_read(reading_node: Node) -> None:
    assert told(reading_node, ACCEPT, study="1.2.3")[0] == 400
    status, said = told(reading_node, ACCEPT, study=REFUSED.study_uid)
    assert (status, "nothing to review" in said["error"]) == (400, True)


def test_what_a_web_page_may_send_unasked_is_refused(reading_node: Node) -> None:
    assert told(reading_node, ACCEPT, kind="text/plain")[0] == 415
    assert told(reading_node, b"x" * (1 << 17))[0] == 413
