"""DICOMweb of a node, asked by dicomweb-client and by hand."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pydicom
import pytest
from dicomweb_client import DICOMwebClient
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID, EncapsulatedPDFStorage, ExplicitVRBigEndian

from tests import peers, phantoms, slices, toy
from tests.contain.test_decoder import no_process
from tests.jobs import fake
from tests.serve.stage import get, until
from tests.wire.objects import CR, data_set, element, film
from wetread.errors import ModelError, SettingsError
from wetread.jobs.worker import Reader
from wetread.pipeline import open_reader
from wetread.serve.dicomweb import MOST_REQUESTS
from wetread.serve.node import Node
from wetread.serve.receiver import Receiver
from wetread.settings import Destination, Settings
from wetread.wire.dimse import send
from wetread.wire.part10 import EXPLICIT_LITTLE, header
from wetread.wire.qido import MOST_STARS

Start = Callable[..., Node]
NAME, PATIENT = phantoms.SECRETS[:2]
RELATED = 'multipart/related; type="application/dicom"; boundary=cut'


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts nodes that are stopped after the test."""
    with ExitStack() as stack:

        def make(reads: bool = False, reader: Reader = fake.READER, **given: Any) -> Node:
            settings = Settings(state=tmp_path / "state", port=0, http_port=0, quiet_s=0.2, peer_timeout_s=2.0)
            node = Node(replace(settings, **given), lambda: reader if reads else none())
            node.start()
            stack.callback(node.stop, 2.0)
            return node

        yield make


def none() -> Reader:
    """Objects are kept, nothing is made of them."""
    raise ModelError("none")


def client(node: Node) -> DICOMwebClient:
    return DICOMwebClient(f"http://127.0.0.1:{node.http_port}/dicomweb")


def ask(node: Node, path: str, body: bytes | None = None, /, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{node.http_port}/dicomweb{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def give(node: Node, *items: bytes) -> None:
    assert set(send(Destination("WETREAD", "127.0.0.1", node.port), items)) == {0}


def cases() -> list[bytes]:
    """Two films of two patients, and a CT series of three slices."""
    films = [
        phantoms.make_film(StudyInstanceUID="1.1", SOPInstanceUID="1.1.1.1", SeriesInstanceUID="1.1.1"),
        phantoms.make_film(StudyInstanceUID="1.2", SOPInstanceUID="1.2.1.1", SeriesInstanceUID="1.2.1"),
    ]
    films[0].StudyDate, films[0].AccessionNumber = "20230102", "A1"
    films[1].StudyDate, films[1].AccessionNumber, films[1].PatientID = "20230203", "A2", "OTHER"
    films[1].SpecificCharacterSet, films[1].PatientName = "ISO_IR 192", "Müller^Jörg"
    volume = np.zeros((3, 32, 32), np.int16)
    volume[:] = np.arange(32, dtype=np.int16)
    series = [data for _, data in slices.blobs(slices.series(volume))]
    return [*(phantoms.to_bytes(one) for one in films), *series]


KEY_TAGS = ("0020000D", "0020000E", "00080018")


def uids(found: list[dict[str, Any]], tag: str = "0020000D") -> list[str]:
    return [one[tag]["Value"][0] for one in found]


def test_studies_are_found(start: Start) -> None:
    node = start()
    give(node, *cases())
    web = client(node)
    whole = web.search_for_studies()
    assert len(whole) == 3
    assert uids(whole)[1:] == ["1.2", "1.1"]  # the newest first
    (found,) = web.search_for_studies(search_filters={"PatientName": "müller^*"})
    study = Dataset.from_json(found)
    assert (study.StudyInstanceUID, str(study.PatientName), study.PatientID) == ("1.2", "Müller^Jörg", "OTHER")
    modality = phantoms.make_film().Modality
    assert (study.ModalitiesInStudy, study.NumberOfStudyRelatedSeries) == (modality, 1)
    for given, expected in (
        ({"PatientID": "OTHER"}, ["1.2"]),
        ({"PatientID": "other"}, []),
        ({"PatientID": "OTH?R"}, ["1.2"]),
        ({"PatientID": "%"}, []),
        ({"PatientID": "OTHE_"}, []),
        ({"AccessionNumber": "A1"}, ["1.1"]),
        ({"StudyDate": "20230101-20230131"}, ["1.1"]),
        ({"StudyDate": "-20230203"}, ["1.2", "1.1"]),
        ({"StudyInstanceUID": "1.1,1.2"}, ["1.2", "1.1"]),
        ({"00200010": "*", "AccessionNumber": "A?"}, ["1.2", "1.1"]),
        ({"ModalitiesInStudy": "CT", "AccessionNumber": "A1"}, []),
    ):
        assert uids(web.search_for_studies(search_filters=given)) == expected, given
    assert len(web.search_for_studies(search_filters={"ModalitiesInStudy": "CT"})) == 1


def test_results_are_found_beside_what_was_read(start: Start) -> None:
    node = start(reads=True)
    give(node, film("1.3", "1.3.1"))
    until(lambda: node.store.overview.counts()["DELIVERED"] == 1)
    web = client(node)
    (study,) = web.search_for_studies(search_filters={"StudyInstanceUID": "1.3"})
    made = web.search_for_instances("1.3")
    assert set(uids(made, "00080018")) == {"1.3.1", *fake.document_uids("1.3.1")}
    assert study["00201208"]["Value"] == [3]
    files = {one.SOPInstanceUID for one in web.retrieve_study("1.3")}
    assert files == {"1.3.1", *fake.document_uids("1.3.1")}


def test_series_and_instances_are_paged_in_order(start: Start) -> None:
    node = start()
    give(node, *cases())
    web = client(node)
    (series,) = web.search_for_series(search_filters={"Modality": "CT"})
    assert series["00201209"]["Value"] == [3]
    study_uid, series_uid = series["0020000D"]["Value"][0], series["0020000E"]["Value"][0]
    assert uids(web.search_for_series(study_uid), "0020000E") == [series_uid]
    numbers = [one["00200013"]["Value"][0] for one in web.search_for_instances(study_uid, series_uid)]
    assert numbers == sorted(numbers)
    paged = [web.search_for_instances(study_uid, series_uid, limit=1, offset=n) for n in range(4)]
    assert [one["00200013"]["Value"][0] for page in paged for one in page] == numbers
    assert [len(page) for page in paged] == [1, 1, 1, 0]
    (first, *_) = web.search_for_instances(study_uid, series_uid)
    assert (first["00280010"]["Value"], first["00280011"]["Value"]) == ([32], [32])
    assert "00100010" not in first
    assert "00100010" in web.search_for_instances(study_uid, fields=["PatientName"])[0]
    assert "00100010" in web.search_for_instances()[0]


def test_files_come_back_byte_for_byte(start: Start) -> None:
    node = start()
    sent = cases()
    give(node, *sent)
    web = client(node)
    expected = {str(one.SOPInstanceUID): one for one in (pydicom.dcmread(io.BytesIO(data)) for data in sent)}
    (series,) = web.search_for_series(search_filters={"Modality": "CT"})
    found = web.retrieve_series(series["0020000D"]["Value"][0], series["0020000E"]["Value"][0])
    assert len(found) == 3
    for one in found:
        assert one == expected[one.SOPInstanceUID]
    assert web.retrieve_instance("1.1", "1.1.1", "1.1.1.1").PatientID == PATIENT
    status, headers, body = ask(node, "/studies/1.1/series/1.1.1/instances/1.1.1.1", Accept="application/dicom")
    assert (status, headers["content-type"]) == (200, "application/dicom")
    (blob,) = node.store.held.blobs({"SOPInstanceUID": "1.1.1.1"})
    assert hashlib.sha256(body).hexdigest() == blob.digest


def test_metadata_says_what_the_file_says(start: Start) -> None:
    node = start()
    sent = cases()
    give(node, *sent)
    web = client(node)
    original = pydicom.dcmread(io.BytesIO(sent[1]))
    (found,) = json.loads(ask(node, "/studies/1.2/metadata")[2])
    assert web.retrieve_study_metadata("1.2")[0]["00100010"] == found["00100010"]
    assert str(Dataset.from_json({"00100010": found["00100010"]}).PatientName) == "Müller^Jörg"
    address = f"http://127.0.0.1:{node.http_port}/dicomweb/studies/1.2/series/1.2.1/instances/1.2.1.1"
    assert found["7FE00010"] == {"vr": "OW", "BulkDataURI": f"{address}/bulkdata/7FE00010"}
    assert found["00083002"]["Value"] == [original.file_meta.TransferSyntaxUID]
    for name in ("Rows", "Columns", "SOPClassUID", "BitsStored", "PixelSpacing", "PatientBirthDate"):
        if name in original:
            tag = f"{original[name].tag:08X}"
            assert Dataset.from_json({tag: found[tag]})[name].value == original[name].value, name
    assert len(web.retrieve_series_metadata(*series_of(web))) == 3


@pytest.mark.peer
def test_xml_says_what_dcmtk_says(start: Start, tmp_path: Path) -> None:
    node = start()
    sent = cases()[1]
    give(node, sent)
    (tmp_path / "film.dcm").write_bytes(sent)
    expected = attributes(peers.dcmtk("dcm2xml", "-nat", "+Ca", "latin-1", tmp_path / "film.dcm").stdout.encode())
    as_xml = 'multipart/related; type="application/dicom+xml"'
    _, headers, body = ask(node, "/studies/1.2/metadata", Accept=as_xml)
    assert headers["content-type"].startswith(as_xml)
    found = attributes(body.split(b"\r\n\r\n")[1].partition(b"\r\n--")[0])
    for tag in set(found) - {"00080005", "00083002", "7FE00010"}:
        assert found[tag] == expected[tag], tag
    assert len(found) > 20
    _, _, body = ask(node, "/studies?PatientID=OTHER", Accept=as_xml)
    searched = attributes(body.split(b"\r\n\r\n")[1].partition(b"\r\n--")[0])
    assert searched["00100010"] == expected["00100010"]
    _, headers, body = post(node, wrapped(film("1.5", "1.5.1")), Accept="application/dicom+xml")
    assert headers["content-type"] == "application/dicom+xml"
    assert "1.5.1" in "".join(ElementTree.fromstring(body).itertext())


def attributes(text: bytes) -> dict[str, list[Any]]:
    """Tag of each attribute of the outermost level -> VR, keyword, and what is in it."""
    return {
        one.attrib["tag"]: [
            one.attrib["vr"],
            one.attrib["keyword"],
            [
                (part.tag.rpartition("}")[2], part.attrib, (part.text or "").strip())
                for part in one.iter()
                if part is not one
            ],
        ]
        for one in ElementTree.fromstring(text)
    }


def series_of(web: DICOMwebClient) -> tuple[str, str]:
    (series,) = web.search_for_series(search_filters={"Modality": "CT"})
    return series["0020000D"]["Value"][0], series["0020000E"]["Value"][0]


@pytest.mark.parametrize(
    ("path", "accept", "status", "text"),
    [
        ("/studies?PatientAge=3", "", 400, "got PatientAge"),
        ("/studies?StudyDate=yesterday", "", 400, "StudyDate"),
        ("/studies?limit=-1", "", 400, "limit"),
        ("/studies/*/series", "", 400, "UIDs in the path"),
        ("/studies?accept=application/dicom+json", "text/html", 200, "0020000D"),
        ("/studies?PatientName=" + "*a" * (MOST_STARS + 1), "", 400, "PatientName"),
        ("/studies?%3Cscript%3E=1", "", 400, "a name that is none"),
        ("/studies", "text/html", 406, "application/dicom+json"),
        ("/studies/9.9", "", 404, "nothing that is held"),
        ("/studies/9.9/metadata", "", 404, "nothing that is held"),
        ("/studies/..%2f..%2fetc", "", 404, ""),
        ("/studies/1.1", 'multipart/related; type="image/png"', 406, "application/dicom"),
        ("/studies/1.1", 'multipart/related; type="application/dicom"; transfer-syntax=1.2.3', 406, "kept"),
        ("/studies", "a" * 5000, 400, "media type"),
    ],
)
def test_what_cannot_be_is_said(start: Start, path: str, accept: str, status: int, text: str) -> None:
    node = start()
    give(node, cases()[0])
    got, _, body = ask(node, path, **({"Accept": accept} if accept else {}))
    assert got == status
    assert text in body.decode()
    assert "9.9" not in body.decode()
    assert "yesterday" not in body.decode()


def test_what_is_accepted_may_stand_in_several_lines(start: Start) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", start().http_port, timeout=20)
    connection.putrequest("GET", "/dicomweb/studies")
    for kind in ("text/html", "application/dicom+json"):
        connection.putheader("Accept", kind)
    connection.endheaders()
    assert connection.getresponse().status == 200
    connection.close()


def test_what_is_not_done_is_said(start: Start) -> None:
    node = start()
    status, headers, body = ask(node, "/studies?fuzzymatching=true&PatientName=x")
    assert (status, json.loads(body)) == (200, [])
    assert headers["warning"].startswith("299 ")


def test_what_was_deleted_is_not_found(start: Start) -> None:
    node = start(reads=True)
    give(node, film("1.3", "1.3.1"))
    until(lambda: node.store.overview.counts()["DELIVERED"] == 1)
    web = client(node)
    assert len(web.search_for_instances("1.3")) == 3
    with node.store._index.writing() as connection:
        connection.exec_driver_sql("INSERT INTO removed SELECT id, 0 FROM jobs")
        connection.exec_driver_sql("UPDATE documents SET digest = ''")
    assert web.search_for_studies() == []
    assert ask(node, "/studies/1.3")[0] == 404


def test_too_many_at_a_time_are_told_so_and_health_goes_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    node = start()
    going = threading.Event()
    monkeypatch.setattr(node.store.held, "search", lambda asked, most: [{} for _ in range(not going.wait(20))])
    with ThreadPoolExecutor(MOST_REQUESTS + 8) as pool:
        asked = [pool.submit(ask, node, "/studies") for _ in range(MOST_REQUESTS + 8)]
        until(lambda: sum(one.done() for one in asked) == 8)
        assert get(node.http_port, "/health")[0] == 200
        going.set()
        answers = [one.result() for one in asked]
    assert sorted(status for status, _, _ in answers) == [200] * MOST_REQUESTS + [503] * 8
    assert {headers["retry-after"] for status, headers, _ in answers if status == 503} == {"10"}


def test_only_this_machine_by_its_own_name(start: Start) -> None:
    node = start()
    assert ask(node, "/studies")[0] == 200
    assert ask(node, "/studies", Host=f"localhost:{node.http_port}")[0] == 200
    status, _, body = ask(node, "/studies", Host="evil.example")
    assert status == 403
    assert b"dicomweb_tokens" in body
    assert ask(node, "/studies", **{"X-Forwarded-For": "10.1.2.3"})[0] == 403
    assert "access-control-allow-origin" not in ask(node, "/studies", Origin="http://viewer.example")[1]


def test_tokens(start: Start, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("a" * 24 + "\n" + "b" * 30 + "\n")
    pages = "http://viewer.example, https://Other.example:8443/ohif/"
    node = start(dicomweb_tokens=tokens, dicomweb_origins=pages)
    status, headers, _ = ask(node, "/studies")
    assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="wetread"')
    for shown in ("Bearer " + "a" * 23, "Basic " + "a" * 24, "a" * 24, "Bearer "):
        assert ask(node, "/studies", Authorization=shown)[0] == 401
    for shown in ("Bearer " + "a" * 24, "bearer " + "b" * 30):
        assert ask(node, "/studies", Authorization=shown, Host="node.example")[0] == 200
    for page in ("http://viewer.example", "https://other.example:8443"):
        origin = {"Origin": page, "Authorization": "Bearer " + "a" * 24}
        assert ask(node, "/studies", **origin)[1]["access-control-allow-origin"] == page


@pytest.mark.parametrize("content", [None, "", "short\n"])
def test_tokens_that_protect_nothing(start: Start, tmp_path: Path, content: str | None) -> None:
    tokens = tmp_path / "tokens"
    if content is not None:
        tokens.write_text(content)
    with pytest.raises(SettingsError, match="dicomweb_tokens"):
        start(dicomweb_tokens=tokens)


def test_an_open_door(start: Start) -> None:
    node = start(open_doors="dicomweb")
    assert ask(node, "/studies", Host="node.example")[0] == 200


def post(
    node: Node, body: bytes, path: str = "/studies", kind: str = RELATED, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    return ask(node, path, body, **{"Content-Type": kind, **headers})


def wrapped(*items: bytes) -> bytes:
    head = b"--cut\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + item + b"\r\n" for item in items) + b"--cut--"


def test_objects_are_stored_and_read(start: Start, pacs: Receiver) -> None:
    node = start(reads=True, destinations=(Destination("PACS", "127.0.0.1", pacs.port, ("SR",)),))
    sent = (cases()[1], film("1.5", "1.5.1"))
    made = client(node).store_instances([pydicom.dcmread(io.BytesIO(sent[0]))])
    assert [one.ReferencedSOPInstanceUID for one in made.ReferencedSOPSequence] == ["1.2.1.1"]
    status, _, body = post(node, wrapped(sent[1]), "/studies/1.5")
    told = json.loads(body)
    assert (status, told["00081190"]["Value"][0].rpartition("/")[2]) == (200, "1.5")
    until(lambda: node.store.overview.counts()["DELIVERED"] == 2)
    assert {one.study_uid for one in pacs.receipts} == {"1.2", "1.5"}
    assert {study["0020000D"]["Value"][0] for study in client(node).search_for_studies()} == {"1.2", "1.5"}


def test_one_object_is_one_by_whichever_way_it_comes(start: Start) -> None:
    node = start()
    give(node, film())
    assert post(node, wrapped(film(), film()))[0] == 200
    other = film(size=66)
    status, _, body = post(node, wrapped(other))
    told = json.loads(body)
    assert (status, told["00081199"]["Value"][0]["00081196"]["Value"]) == (202, [0xB000])
    assert len(client(node).search_for_instances()) == 1


def test_each_object_is_told_of(start: Start) -> None:
    node = start()
    good, elsewhere = film("1.5", "1.5.1"), film("1.6", "1.6.1")
    status, _, body = post(node, wrapped(good, elsewhere, b"no object", good[:200]), "/studies/1.5")
    told = json.loads(body)
    assert status == 202
    assert [item["00081155"]["Value"] for item in told["00081199"]["Value"]] == [["1.5.1"]]
    (failed,) = told["00081198"]["Value"]
    assert (failed["00081155"]["Value"], failed["00081197"]["Value"]) == (["1.6.1"], [0xA900])
    assert [item["00081197"]["Value"] for item in told["0008119A"]["Value"]] == [[0xC000]] * 2
    assert post(node, wrapped(b"no object"))[0] == 409


@pytest.mark.parametrize(
    ("sop_class", "syntax", "status"),
    [
        ("1.2.840.10008.1.1", EXPLICIT_LITTLE, 409),  # Verification
        ("1.2.840.10008.1.3.10", EXPLICIT_LITTLE, 409),  # DICOMDIR
        ("1.2.840.10008.5.1.4.38.1", EXPLICIT_LITTLE, 409),  # a hanging protocol
        (CR, "1.2.840.10008.1.2.4.94", 409),  # JPIP
        (CR, "1.2.3.4", 409),
        ("1.3.12.2.1107.5.9.1", EXPLICIT_LITTLE, 200),  # nobody but its maker knows whether it is stored
    ],
)
def test_nothing_is_kept_that_c_store_refuses(start: Start, sop_class: str, syntax: str, status: int) -> None:
    told = post(start(), wrapped(header(sop_class, "1.5.1", syntax) + data_set("1.5", "1.5.1", 64, sop_class)))
    assert told[0] == status
    failed = json.loads(told[2]).get("00081198", {}).get("Value", [])
    assert [one["00081197"]["Value"] for one in failed] == [[0x0122]] * (status == 409)


def test_where_stored_objects_can_be_retrieved_is_told(start: Start) -> None:
    node = start()
    base = f"http://127.0.0.1:{node.http_port}/dicomweb"
    one, other = film("1.5", "1.5.1"), film("1.6", "1.6.1")
    nowhere = header(CR, "1.5.2", EXPLICIT_LITTLE) + b"".join(
        element(tag, "UI", value.encode())
        for tag, value in ((0x00080016, CR), (0x00080018, "1.5.2"), (0x0020000D, "1.5"))
    )
    told = json.loads(post(node, wrapped(one, nowhere))[2])
    assert told["00081190"] == {"vr": "UR", "Value": [f"{base}/studies/1.5"]}
    first, second = (item["00081190"] for item in told["00081199"]["Value"])
    (address,) = first["Value"]
    assert (first["vr"], ask(node, address.removeprefix(base))[0]) == ("UR", 200)
    assert second == {"vr": "UR"}  # it names no series
    post(node, wrapped(nowhere.replace(b"1.5\0", b"1.7\0").replace(b"1.5.2\0", b"1.7.2\0")))
    (study,) = json.loads(ask(node, "/studies?StudyInstanceUID=1.7")[2])
    assert study["00080061"] == {"vr": "CS"}  # nor a modality
    for body in (wrapped(one, other), wrapped(b"no object")):
        assert json.loads(post(node, body)[2])["00081190"] == {"vr": "UR"}


def test_no_room_is_said(start: Start) -> None:
    node = start(max_waiting=1, stat_reserve=0.0)
    status, headers, body = post(node, wrapped(film("1.5", "1.5.1"), film("1.6", "1.6.1")))
    assert status == 202
    assert json.loads(body)["00081198"]["Value"][0]["00081197"]["Value"] == [0xA700]
    status, headers, _ = post(node, wrapped(film("1.7", "1.7.1")))
    assert (status, headers["retry-after"]) == (503, "10")


@pytest.mark.parametrize(
    ("body", "kind", "headers", "status", "text"),
    [
        (wrapped(b""), 'multipart/related; type="application/dicom"', {}, 400, "expected a boundary"),
        (wrapped(b""), "application/dicom", {}, 415, "multipart/related"),
        (wrapped(b""), 'multipart/related; type="application/dicom+json"; boundary=cut', {}, 415, "multipart"),
        (wrapped(b""), "", {"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        (b"--cut--", "", {}, 400, "at least one object"),
        (b"", "", {}, 400, "ends before"),
        (wrapped(film("1.8", "1.8.1"))[:-6], "", {}, 400, "ends before"),
        (wrapped(film("1.8", "1.8.1"), bytes(5000)), "", {}, 413, "1 objects before it were answered for"),
        (b"--cut\r\nContent-Type: text/plain\r\n\r\nx\r\n--cut--", "", {}, 400, "application/dicom"),
    ],
)
def test_bodies_that_are_none(
    start: Start, body: bytes, kind: str, headers: dict[str, str], status: int, text: str
) -> None:
    node = start(max_object_bytes=4000)
    got, _, said = post(node, body, kind=kind or RELATED, **headers)
    assert got == status
    assert text in said.decode()
    assert post(node, wrapped(film()))[0] == 200


def test_a_request_that_breaks_off_or_falls_silent(start: Start) -> None:
    node = start(idle_timeout_s=0.3)
    body = wrapped(film("1.5", "1.5.1"), film("1.6", "1.6.1"))
    head = f"POST /dicomweb/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {RELATED}\r\n"
    for cut in (True, False):
        with socket.create_connection(("127.0.0.1", node.http_port), timeout=10) as sock:
            sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-40])
            if not cut:
                assert sock.recv(100).startswith(b"HTTP/1.1 408")
    until(lambda: len(client(node).search_for_instances()) == 1)  # the first came whole
    assert post(node, body)[0] == 200


def ct() -> Dataset:
    return pydicom.dcmread(io.BytesIO(cases()[2]))


def instance_of(one: Dataset) -> tuple[str, str, str]:
    return one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID


def address(one: Dataset) -> str:
    study, series, instance = instance_of(one)
    return f"/studies/{study}/series/{series}/instances/{instance}"


def to_bytes(one: Dataset) -> bytes:
    file = io.BytesIO()
    one.save_as(file)
    return file.getvalue()


def multiframe(bits: int) -> tuple[Dataset, list[bytes]]:
    """Three frames of 5 x 7, of one bit or of sixteen; and each as octets."""
    one = ct()
    one.Rows, one.Columns, one.NumberOfFrames = 5, 7, 3
    chance = np.random.default_rng(1)
    values = chance.integers(0, 2 if bits == 1 else 4096, (3, 35), dtype=np.uint16)
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = bits, min(bits, 12), min(bits, 12) - 1, 0
    if bits == 1:
        one.PixelData = np.packbits(values.ravel().astype(np.uint8), bitorder="little").tobytes()
        frames = [np.packbits(frame.astype(np.uint8), bitorder="little").tobytes() for frame in values]
    else:
        one.PixelData = values.tobytes()
        frames = [frame.tobytes() for frame in values]
    one.PixelData += b"\0" * (len(one.PixelData) % 2)
    return one, frames


@pytest.mark.parametrize("bits", [1, 16])
def test_native_frames(start: Start, bits: int) -> None:
    node = start()
    one, frames = multiframe(bits)
    give(node, to_bytes(one))
    web = client(node)
    assert web.retrieve_instance_frames(*instance_of(one), [3, 1]) == [frames[2], frames[0]]
    (whole,) = web.retrieve_bulkdata(f"http://127.0.0.1:{node.http_port}/dicomweb{address(one)}/bulkdata/7FE00010")
    assert whole == one.PixelData
    for path, status in (("4", 404), ("0", 400), ("1,", 400), ("x", 400), ("1,2,1", 400)):
        assert ask(node, f"{address(one)}/frames/{path}")[0] == status


def test_big_endian_frames_come_little_endian(start: Start) -> None:
    node = start()
    one, frames = multiframe(16)
    one.PixelData = np.frombuffer(one.PixelData, "<u2").astype(">u2").tobytes()
    one.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    file = io.BytesIO()
    pydicom.dcmwrite(file, one, implicit_vr=False, little_endian=False)
    give(node, file.getvalue())
    assert client(node).retrieve_instance_frames(*instance_of(one), [2]) == [frames[1]]


def test_compressed_frames(start: Start) -> None:
    node = start()
    one = ct()
    octets = one.PixelData
    one.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)  # RLE Lossless
    give(node, to_bytes(one))
    assert client(node).retrieve_instance_frames(*instance_of(one), [1]) == [octets]
    kept = next(iter(generate_frames(one.PixelData, number_of_frames=1)))
    for accept in ("application/octet-stream", "image/dicom-rle"):
        wanted = f'multipart/related; type="{accept}"; transfer-syntax=*'
        _, headers, body = ask(node, f"{address(one)}/frames/1", Accept=wanted)
        assert 'type="image/dicom-rle"' in headers["content-type"]
        assert b"transfer-syntax=1.2.840.10008.1.2.5" in body
        assert kept in body
    assert ask(node, f"{address(one)}/frames/1", Accept='multipart/related; type="image/jls"')[0] == 406


def test_of_several_transfer_syntaxes_one_that_can_be_given_is(start: Start) -> None:
    node = start()
    one = ct()
    one.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)  # RLE Lossless
    give(node, to_bytes(one))
    jpeg, kept, explicit = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1"
    for path, kind in ((address(one), "application/dicom"), (f"{address(one)}/frames/1", "application/octet-stream")):
        for syntaxes, expected in (
            ((jpeg, kept), kept),
            ((jpeg, "*"), kept),
            ((jpeg, explicit, kept), explicit),
            ((f"{explicit}; q=0.5", kept), kept),
            ((f"{jpeg}; q=0.9", f"{explicit}; q=0.1"), explicit),
        ):
            wanted = ", ".join(f'multipart/related; type="{kind}"; transfer-syntax={syntax}' for syntax in syntaxes)
            status, _, body = ask(node, path, Accept=wanted)
            assert (status, f"transfer-syntax={expected}\r\n".encode() in body) == (200, True), syntaxes
        assert ask(node, path, Accept=f'multipart/related; type="{kind}"; transfer-syntax={jpeg}')[0] == 406


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.8.1"])  # MPEG-4, deflated frames
def test_what_cannot_be_decoded_is_given_as_it_is_kept_or_not_at_all(start: Start, syntax: str) -> None:
    node = start()
    one = ct()
    one.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    one.file_meta.TransferSyntaxUID = UID(syntax)
    give(node, to_bytes(one))
    for path, kind in (
        ("/studies/" + one.StudyInstanceUID, "application/dicom"),
        (address(one), "application/dicom"),
        (f"{address(one)}/frames/1", "application/octet-stream"),
    ):
        for wanted, status in (("*", 200), (EXPLICIT_LITTLE, 406)):
            accept = f'multipart/related; type="{kind}"; transfer-syntax={wanted}'
            assert ask(node, path, Accept=accept)[0] == status, (path, wanted)
    assert ask(node, f"{address(one)}/frames/1", Accept='multipart/related; type="application/octet-stream"')[0] == 406


@pytest.mark.parametrize(
    "syntax",
    [
        "1.2.840.10008.1.2",
        "1.2.840.10008.1.2.1.99",
        "1.2.840.10008.1.2.5",
        "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.90",
    ],
)
def test_objects_are_given_uncompressed_to_whom_asks(start: Start, syntax: str) -> None:
    node = start()
    one = phantoms.make_film(StudyInstanceUID="1.1", SOPInstanceUID="1.1.1.1", SeriesInstanceUID="1.1.1")
    pixels = one.pixel_array.copy()
    give(node, phantoms.to_bytes(phantoms.make_copy(one, syntax)))
    explicit = "1.2.840.10008.1.2.1"
    for path, accept in (
        (address(one), f"application/dicom; transfer-syntax={explicit}"),
        ("/studies/1.1", f'multipart/related; type="application/dicom"; transfer-syntax={explicit}'),
    ):
        status, _, body = ask(node, path, Accept=accept)
        assert status == 200, body
        file = body if path != "/studies/1.1" else body.split(b"\r\n\r\n", 1)[1].rpartition(b"\r\n--")[0]
        found = pydicom.dcmread(io.BytesIO(file))
        assert found.file_meta.TransferSyntaxUID == explicit
        assert np.array_equal(found.pixel_array, pixels)
        for name in ("SOPInstanceUID", "PatientName", "Rows", "BitsStored", "PhotometricInterpretation"):
            assert found[name].value == one[name].value, name
    assert b"transfer-syntax=" + syntax.encode() in ask(node, "/studies/1.1")[2]


def test_what_cannot_be_decoded_is_said(start: Start) -> None:
    node = start()
    one = ct()
    one.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    one.PixelData = one.PixelData[:40] + bytes(len(one.PixelData) - 40)
    give(node, to_bytes(one))
    status, _, body = ask(node, address(one), Accept="application/dicom; transfer-syntax=1.2.840.10008.1.2.1")
    assert (status, b"BAD-PIXELS" in body) == (406, True)


def test_what_no_process_can_decode_now_is_asked_for_later(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    node = start()
    one = ct()
    give(node, to_bytes(one))
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", no_process)
        status, headers, body = ask(node, f"{address(one)}/rendered")
    assert (status, "retry-after" in headers, b"did not start" in body) == (503, True, True)
    assert ask(node, f"{address(one)}/rendered")[0] == 200


def test_a_picture_through_its_window(start: Start) -> None:
    node = start()
    one = ct()
    one.RescaleSlope, one.RescaleIntercept, one.WindowCenter, one.WindowWidth = 1, -5, 10, 11
    one.PixelData = np.tile(np.arange(32, dtype=np.int16), (32, 1)).tobytes()
    give(node, to_bytes(one))
    values = np.arange(32) - 5.0

    def row(query: str = "", frames: str = "") -> list[int]:
        status, headers, body = ask(node, f"{address(one)}{frames}/rendered{query}", Accept="image/png")
        assert (status, headers["content-type"]) == (200, "image/png")
        return list(np.asarray(Image.open(io.BytesIO(body)))[7])

    assert row() == list(np.round(255 * np.clip((values - 9.5) / 10 + 0.5, 0, 1)).astype(int))
    assert row(frames="/frames/1") == row()
    assert row("?window=8,4,linear-exact") == list(np.round(255 * np.clip((values - 8) / 4 + 0.5, 0, 1)).astype(int))
    assert row("?window=8,4,sigmoid") == list(np.round(255 / (1 + np.exp(-4 * (values - 8) / 4))).astype(int))
    _, headers, body = ask(node, f"{address(one)}/rendered?viewport=8,8&quality=50")
    assert (headers["content-type"], Image.open(io.BytesIO(body)).size) == ("image/jpeg", (8, 8))
    assert ask(node, f"{address(one)}/thumbnail")[0] == 200
    for query in ("window=1,0", "window=nan,1", "window=1,1,cubic", "viewport=1", "quality=0", "annotation=patient"):
        assert ask(node, f"{address(one)}/rendered?{query}")[0] == 400, query
    assert ask(node, f"{address(one)}/frames/1,2/rendered")[0] == 400


def test_pictures_in_colour_inverse_and_of_nothing(start: Start) -> None:
    node = start()
    rgb, inverse = ct(), pydicom.dcmread(io.BytesIO(cases()[3]))
    rgb.SamplesPerPixel, rgb.PhotometricInterpretation, rgb.PlanarConfiguration = 3, "RGB", 0
    rgb.BitsAllocated, rgb.BitsStored, rgb.HighBit, rgb.PixelRepresentation = 8, 8, 7, 0
    rgb.PixelData = bytes((200, 100, 50)) * 32 * 32
    inverse.PhotometricInterpretation = "MONOCHROME1"
    for name in ("WindowCenter", "WindowWidth"):
        inverse.pop(name, None)
    report = film("1.7", "1.7.1", 0)
    give(node, to_bytes(rgb), to_bytes(inverse), report)

    def picture(one: Dataset) -> Any:
        return np.asarray(Image.open(io.BytesIO(ask(node, f"{address(one)}/rendered", Accept="image/png")[2])))

    assert picture(rgb)[3, 3].tolist() == [200, 100, 50]
    shown = picture(inverse)
    assert (shown[0, 0], shown[0, -1]) == (255, 0)
    assert ask(node, "/studies/1.7/series/1.7.1/instances/1.7.1/rendered")[0] == 404
    assert ask(node, f"{address(rgb)}/bulkdata/00100010")[0] == 404
    assert ask(node, f"{address(rgb)}/bulkdata/x")[0] == 404


def test_what_is_large_is_told_by_its_address(start: Start) -> None:
    node = start()
    one = ct()
    document, overlay = b"%PDF-" + bytes(range(1, 255)) * 400, bytes(range(250)) * 400
    for name in ("PixelData", "Rows", "Columns"):
        del one[name]
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = EncapsulatedPDFStorage
    one.EncapsulatedDocument, one.EncapsulatedDocumentLength = document + b"\0", len(document)
    one.add_new(0x60003000, "OW", overlay)
    give(node, to_bytes(one))
    (told,) = json.loads(ask(node, f"{address(one)}/metadata")[2])
    for tag, value in (("00420011", document + b"\0"), ("60003000", overlay)):
        uri = told[tag]["BulkDataURI"].partition("/dicomweb")[2]
        assert ask(node, uri, Accept="application/octet-stream")[2] == value
        assert client(node).retrieve_bulkdata(told[tag]["BulkDataURI"]) == [value]
    status, headers, body = ask(node, f"{address(one)}/rendered")
    assert (status, headers["content-type"], body) == (200, "application/pdf", document)
    assert ask(node, f"{address(one)}/rendered", Accept="image/jpeg")[0] == 406
    assert ask(node, f"{address(one)}/thumbnail")[0] == 404


def test_true_results_are_shown(start: Start, tmp_path: Path) -> None:
    """What a web viewer does with a segmentation and a report, beside the film that they are about."""
    models = toy.make_models(tmp_path / "models")
    node = start(reads=True, reader=open_reader(Settings(models=models, engine="onnxruntime", state=tmp_path / "own")))
    one = phantoms.make_film(StudyInstanceUID="1.2", SOPInstanceUID="1.2.1.1", SeriesInstanceUID="1.2.1")
    give(node, phantoms.to_bytes(one))
    until(lambda: node.store.overview.counts()["DELIVERED"] == 1)
    web = client(node)
    (study,) = web.search_for_studies()
    assert {"SR", "SEG", one.Modality} <= set(study["00080061"]["Value"])
    assert {series["00100020"]["Value"][0] for series in web.search_for_series()} == {phantoms.SECRETS[1]}
    (seg,) = web.search_for_instances("1.2", search_filters={"Modality": "SEG"})
    uids_of = [seg[tag]["Value"][0] for tag in KEY_TAGS]
    whole = web.retrieve_instance(*uids_of)
    told = Dataset.from_json(web.retrieve_instance_metadata(*uids_of) | {"7FE00010": {"vr": "OB"}})
    assert told.SegmentSequence[0].SegmentLabel == whole.SegmentSequence[0].SegmentLabel
    assert told.PerFrameFunctionalGroupsSequence == whole.PerFrameFunctionalGroupsSequence
    (frame,) = web.retrieve_instance_frames(*instance_of(whole), [1])
    mask = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")[: whole.Rows * whole.Columns]
    expected = whole.pixel_array.reshape(-1, whole.Rows, whole.Columns)[0]
    assert np.array_equal(mask.reshape(whole.Rows, whole.Columns), expected)
    (sr,) = web.search_for_instances("1.2", search_filters={"Modality": "SR"})
    tree = Dataset.from_json(web.retrieve_instance_metadata(*[sr[tag]["Value"][0] for tag in KEY_TAGS]))
    assert tree.ContentSequence[0].RelationshipType
    assert tree.ConceptNameCodeSequence[0].CodeValue == "126000"
    for shown in web.search_for_instances("1.2"):
        path = address(Dataset.from_json(shown))
        image = shown["00080016"]["Value"][0] != sr["00080016"]["Value"][0]
        assert (ask(node, f"{path}/rendered")[0] == 200) is image
