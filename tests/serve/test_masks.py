"""A person corrects a mask in a viewer, stores it into the study, and reviews: what arrives has the person's mask."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from pydicom.uid import UID

from tests import peers, phantoms
from tests.jobs import fake
from tests.report import drawn as by_hand
from tests.report.test_redrawn import drawn, made, masks, result
from tests.serve.stage import until
from tests.serve.test_fhir import ask, post
from tests.serve.test_review import PERSON, told
from tests.wire.objects import film
from wetread import acquire
from wetread.records import USUAL, Circumstances, Reading, Result, Stored
from wetread.report import documents
from wetread.report.fhir.site import Site
from wetread.report.redrawn import redrawn
from wetread.serve.node import Node
from wetread.serve.receiver import Receiver
from wetread.settings import Destination, Settings

SERIES = result("ct")
SEG = "1.2.840.10008.5.1.4.1.1.66.4"


class Reads:
    """Says what is known of the series, whatever else came with it."""

    def read_blobs(
        self, blobs: Sequence[tuple[str, bytes | Stored]], given: Circumstances = USUAL
    ) -> tuple[Reading, ...]:
        site = Site("R4", {"PATIENT": "urn:oid:1.2.3"})
        made = [Reading(SERIES, documents(SERIES, kinds=("FHIR", "ORU"), site=site))]
        (study,) = acquire.decode([(name, fake.content(held)) for name, held in blobs], Settings())
        for one in study.rejected:  # what was drawn is no image to read, and a report says so
            refused = Result(study.study_uid, one.source, one.digest, one.header, None, refusal=one.refusal)
            made.append(Reading(refused, documents(refused)))
        return tuple(made)

    def set_aside(
        self, study_uid: str, files: Iterable[tuple[str, str, bytes]], detail: str, given: Circumstances = USUAL
    ) -> tuple[Reading, ...]:
        raise AssertionError(detail)


@pytest.fixture
def reading_node(tmp_path: Path, pacs: Receiver) -> Iterator[Node]:
    with peers.fhir_server() as port:
        patient = {"system": "urn:oid:1.2.3", "value": str(SERIES.header.PatientID)}
        post(f"http://127.0.0.1:{port}/Patient", {"resourceType": "Patient", "identifier": [patient]})
        places = (
            Destination("PACS", "127.0.0.1", pacs.port, ("SEG", "SR")),
            Destination("EHR", url=f"fhir+http://127.0.0.1:{port}"),
        )
        given: dict[str, Any] = {"quiet_s": 0.1, "retry_first_s": 0.05, "retry_most_s": 0.1, "destinations": places}
        node = Node(Settings(state=tmp_path / "state", port=0, http_port=0, **given), Reads)
        node.start()
        try:
            stow(node, *(phantoms.to_bytes(one) for one in by_hand.of_series()))
            until(lambda: node.store.overview.counts()["DELIVERED"] == 1)
            yield node
        finally:
            node.stop(2.0)


def stow(node: Node, *files: bytes) -> None:
    client = DICOMwebClient(f"http://127.0.0.1:{node.http_port}/dicomweb")
    client.store_instances([pydicom.dcmread(io.BytesIO(one)) for one in files])


def sizes(port: str) -> set[float]:
    found = ask(f"{port}/Observation?_count=100")[1]["entry"]
    return {one["resource"]["valueQuantity"]["value"] for one in found if "valueQuantity" in one["resource"]}


def news(pacs: Receiver, before: int, successor: str) -> list[pydicom.Dataset]:
    """The segmentation and the report of a review."""
    arrived = [pydicom.dcmread(one.path) for one in pacs.receipts[before:]]
    found = [one for one in arrived if one.SOPClassUID == SEG or one.SOPInstanceUID == successor]
    return sorted(found, key=lambda one: one.SOPClassUID != SEG)


@pytest.mark.peer
def test_a_corrected_mask_reaches_whoever_got_the_first(reading_node: Node, pacs: Receiver) -> None:
    node, url = reading_node, reading_node.settings.destinations[1].url.removeprefix("fhir+")
    assert len(pacs.receipts) == 2
    for how in ("BINARY", "LABELMAP"):
        before, came = len(pacs.receipts), drawn("ct", how)
        stow(node, came)
        named = pydicom.dcmread(io.BytesIO(came)).SOPInstanceUID
        body = {"decision": "correct", "reviewer": PERSON, "segmentation": str(named)}
        status, answer = told(node, body, SERIES.study_uid)
        assert (status, sorted(answer["documents"])) == (201, ["FHIR", "ORU", "SEG", "SR"]), answer
        assert told(node, body, SERIES.study_uid) == (200, {**answer, "documents": []})
        until(lambda before=before, answer=answer: len(news(pacs, before, answer["successor"])) == 2)
        seg, report = news(pacs, before, answer["successor"])
        assert report.SOPInstanceUID == answer["successor"]
        assert seg.SOPInstanceUID in str(report.CurrentRequestedProcedureEvidenceSequence)
        file = io.BytesIO()
        seg.save_as(file)
        theirs = by_hand.read(file.getvalue())
        pixels = [mask for one, mask in zip(theirs.frames, theirs.pixels, strict=True) if one.segment == 1]
        assert sum(int(one.sum()) for one in pixels) == int(masks("ct")[0].sum())
        size = redrawn(made("ct")["SEG"], by_hand.read(came), "Doe^Jane", "ab" * 32).sizes["2.25.3000"]
        assert size.value in str(report)
        until(lambda size=size: float(size.value) in sizes(url))


@pytest.mark.peer
def test_a_segmentation_that_does_not_fit_is_said_so(reading_node: Node, pacs: Receiver) -> None:
    node, good = reading_node, drawn("ct")
    stranger = pydicom.dcmread(io.BytesIO(good))
    stranger.SOPInstanceUID = stranger.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    stranger.FrameOfReferenceUID = "1.2.3.5"
    file = io.BytesIO()
    stranger.save_as(file)
    stow(node, file.getvalue(), film(SERIES.study_uid, "1.2.9"))
    body = {"decision": "correct", "reviewer": PERSON}
    for uid, code, words in (
        ("1.2.3.4", 400, "frame of reference"),
        ("1.2.9", 422, "BAD-TAG"),
        ("1.2.3.6", 400, "stored into the study"),
        (str(pydicom.dcmread(io.BytesIO(made("ct")["SEG"])).SOPInstanceUID), 400, "stored into the study"),
    ):
        status, answer = told(node, {**body, "segmentation": uid}, SERIES.study_uid)
        assert (status, words in answer["error"]) == (code, True), answer
    status, answer = told(node, {**body, "decision": "accept", "segmentation": "1.2.3.4"}, SERIES.study_uid)
    assert (status, "correct only" in answer["error"]) == (400, True)
    assert not news(pacs, 2, "")
