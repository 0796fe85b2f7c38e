"""Pulling studies from DCMTK's archive and from Orthanc, and from archives that misbehave."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dicomweb_client import DICOMwebClient
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import dcmread
from pynetdicom import AE, evt

from tests import peers
from tests.jobs import fake
from tests.serve.stage import until
from tests.wire.objects import CR, film
from wetread import cli
from wetread.acquire import SYNTAXES
from wetread.errors import BadInput, PeerRefused, PeerUnreachable
from wetread.serve.node import Node
from wetread.serve.pull import IntoFolder, IntoNode, Pulled, Way, matching, way
from wetread.serve.receiver import Receiver
from wetread.settings import Destination, Settings
from wetread.wire.archive import Series, fetch
from wetread.wire.dimse import send
from wetread.wire.part10 import EXPLICIT_LITTLE, meta
from wetread.wire.query import STUDY_ROOT_FIND
from wetread.wire.retrieve import STUDY_ROOT_GET, STUDY_ROOT_MOVE, Archive, Fetched, get, move

FILMS = [film("1.2.3", f"1.2.3.1.{n}") for n in range(3)] + [film("1.2.4", "1.2.4.1.1")]
PATIENT = {"PatientID": "CANARY-ID-77"}
WEB: dict[str, Destination] = {}


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """Stands where a node would, AE title WETREAD."""
    made = Receiver(tmp_path_factory.mktemp("node"), ae_title="WETREAD")
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Archive]:
    allowed: dict[str, Any] = dict.fromkeys(
        ("DicomAlwaysAllowFind", "DicomAlwaysAllowGet", "DicomAlwaysAllowMove"), True
    )
    modalities = {"node": ["WETREAD", "127.0.0.1", receiver.port]}
    allowed |= {"Plugins": [peers.dicomweb_plugin()]}
    with peers.orthanc(tmp_path_factory.mktemp("orthanc"), DicomModalities=modalities, **allowed) as running:
        archive = Destination("ORTHANC", "127.0.0.1", running.port)
        assert send(archive, FILMS) == [0] * 4
        WEB["orthanc"] = Destination("WEB", url=f"http://127.0.0.1:{running.http_port}/dicom-web")
        yield Archive(archive)


@pytest.fixture(scope="module")
def web(orthanc: Archive) -> Archive:
    """The same Orthanc by its DICOMweb plug-in."""
    return Archive(WEB["orthanc"])


@pytest.fixture(scope="module")
def dcmqrscp(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Archive]:
    with peers.dcmqrscp(tmp_path_factory.mktemp("dcmqrscp"), f"node = (WETREAD, localhost, {receiver.port})") as port:
        archive = Destination("DCMQRSCP", "127.0.0.1", port)
        assert send(archive, FILMS) == [0] * 4
        yield Archive(archive)


@pytest.fixture(params=["orthanc", "dcmqrscp", "web"])
def archive(request: pytest.FixtureRequest) -> Archive:
    found: Archive = request.getfixturevalue(request.param)
    return found


def body(data: bytes) -> Dataset:
    return dcmread(DicomBytesIO(data), force=True)


# ---- archives ---------------------------------------------------------------------------------


@pytest.mark.peer
def test_a_study_comes_into_a_folder(archive: Archive, tmp_path: Path) -> None:
    (study,) = matching(archive, {"StudyInstanceUID": "1.2.3"}, 10)
    seen: list[int] = []
    IntoFolder(archive, tmp_path / "to", tuple(SYNTAXES))(study, lambda now: seen.append(now.completed))
    assert (study.completed, study.failed, study.expected) == (3, 0, 3)
    assert seen == sorted(seen)
    files = {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()}
    assert sorted(files) == [f"1.2.3.1.{n}.dcm" for n in range(3)]
    for name, data in files.items():
        assert meta(data).sop_instance_uid == name.removesuffix(".dcm")
        assert body(data).PixelData == body(FILMS[0]).PixelData
    IntoFolder(archive, tmp_path / "to", tuple(SYNTAXES))(study, lambda now: None)  # again: what is there stays
    assert {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()} == files


@pytest.mark.peer
@pytest.mark.parametrize("name", ["orthanc", "dcmqrscp"])
def test_studies_of_a_patient_come_into_the_node(name: str, receiver: Receiver, request: pytest.FixtureRequest) -> None:
    archive: Archive = request.getfixturevalue(name)
    receiver.receipts.clear()
    studies = matching(archive, PATIENT, 10)
    assert {one.study_uid for one in studies} == {"1.2.3", "1.2.4"}
    for study in studies:
        IntoNode(archive, "WETREAD")(study, lambda now: None)
    assert sum(study.completed for study in studies) == 4
    assert {receipt.sop_instance_uid for receipt in receiver.receipts} == {meta(one).sop_instance_uid for one in FILMS}


@pytest.mark.peer
def test_what_does_not_match_is_not_there(archive: Archive) -> None:
    assert matching(archive, {"PatientID": "NOBODY"}, 10) == []
    assert matching(archive, {**PATIENT, "StudyDate": "19000101-19000102"}, 10) == []
    with pytest.raises(BadInput, match="at most 1 studies, more match"):
        matching(archive, PATIENT, 1)


@pytest.mark.peer
@pytest.mark.parametrize("name", ["orthanc", "dcmqrscp"])
def test_a_node_that_the_archive_does_not_know_is_named(name: str, request: pytest.FixtureRequest) -> None:
    archive = request.getfixturevalue(name)
    with pytest.raises(PeerRefused, match=r"STRANGER|status 0x"):
        move(archive, {"StudyInstanceUID": "1.2.3"}, "STRANGER")


@pytest.mark.parametrize("keys", [{}, {"StudyDate": "20261128"}, {"PatientID": "*"}, {"AccessionNumber": "A?"}])
def test_a_study_must_be_selected(keys: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="expected a Study Instance UID, accession number or Patient ID"):
        matching(Archive(Destination("PACS", "127.0.0.1", 1)), keys, 10)


@contextmanager
def node(state: Path, **given: Any) -> Iterator[Node]:
    settings = Settings(state=state, port=0, quiet_s=0.2, **{"http_port": peers.free_port(), **given})
    made = Node(settings, lambda: fake.READER)
    made.start()
    try:
        yield made
    finally:
        made.stop(2.0)


@pytest.mark.peer
def test_studies_of_a_dicomweb_server_come_into_the_node(web: Archive, tmp_path: Path) -> None:
    """Its objects stay byte for byte: between two Orthancs, and between two nodes."""
    tokens = tmp_path / "tokens"
    tokens.write_text("t" * 24 + "\n" + "u" * 24 + "\n")
    with node(tmp_path / "one", dicomweb_tokens=tokens) as one, node(tmp_path / "two") as two:
        into_one, into_two = (pull_way(archive, here) for archive, here in ((web, one), (web_of(one, tokens), two)))
        for study in matching(web, PATIENT, 10):
            into_one(study, lambda now: None)
            assert (study.completed, study.failed) == (study.expected, 0)
        bodies = {blob.sop_instance_uid: one.store.held.get(blob) for blob in one.store.held.blobs({}) if blob.received}
        assert {uid: body(data).PixelData for uid, data in bodies.items()} == {
            meta(data).sop_instance_uid: body(data).PixelData for data in FILMS
        }
        until(lambda: one.store.overview.counts()["DELIVERED"] == 2)
        (study,) = matching(web_of(one, tokens), {"StudyInstanceUID": "1.2.3"}, 10)
        into_two(study, lambda now: None)  # images, and results of the first node
        held = {blob.sop_instance_uid: two.store.held.get(blob) for blob in two.store.held.blobs({})}
        assert study.completed == study.expected > 3
        for n in range(3):
            assert held[f"1.2.3.1.{n}"] == bodies[f"1.2.3.1.{n}"]
        client = DICOMwebClient(f"http://127.0.0.1:{one.http_port}/dicomweb", headers=BEARER)
        ours: dict[str, bytes] = {}
        fetch(web_of(one, tokens), "1.2.3", Series("1.2.3.1", 3), (), ours.__setitem__)
        theirs = {one.SOPInstanceUID: one.PixelData for one in client.retrieve_series("1.2.3", "1.2.3.1")}
        assert {uid: body(data).PixelData for uid, data in ours.items()} == theirs


BEARER = {"Authorization": "Bearer " + "u" * 24}


def web_of(here: Node, tokens: Path = Path()) -> Archive:
    return Archive(Destination("NODE", url=f"http://127.0.0.1:{here.http_port}/dicomweb", token=tokens))


def pull_way(archive: Archive, here: Node) -> Way:
    return way(archive, here.settings, None, ())


def test_a_node_that_takes_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="set http_port"):
        way(Archive(Destination("WEB", url="http://127.0.0.1:1")), Settings(http_port=0), None, ())
    with node(tmp_path / "state") as here:
        assert send(Destination("WETREAD", "127.0.0.1", here.port), FILMS[:1]) == [0]
        settings = Settings(http_port=peers.free_port())  # nobody listens there
        bring = way(web_of(here), settings, None, ())
        with pytest.raises(PeerUnreachable):
            bring(Pulled("1.2.3"), lambda now: None)


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str]:
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.setattr(sys, "argv", ["wetread", "--state", str(tmp_path / "state"), *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0), capsys.readouterr().out

    return call


@pytest.mark.peer
def test_the_command(run: Run, dcmqrscp: Archive, tmp_path: Path) -> None:
    name = dcmqrscp.name
    code, out = run("pull", name, "--patient", "CANARY-ID-77", "--dry-run")
    assert code == 0
    assert "1.2.3" in out
    assert "CANARY" not in out
    code, out = run("pull", name, "--study", "1.2.3", "--to", tmp_path / "to", "--json")
    (study,) = json.loads(out)
    assert (code, study["completed"], study["failed"]) == (0, 3, 0)
    assert len(list((tmp_path / "to").glob("*.dcm"))) == 3
    assert run("pull", name, "--study", "9.9", "--to", tmp_path / "to")[0] == 1
    assert run("pull", name)[0] == 2


# ---- archives that misbehave ------------------------------------------------------------------


@contextmanager
def archive_that(sop_class: str, handler: Any, *stores: str) -> Iterator[Archive]:
    """An archive of pynetdicom that answers as it is told."""
    ae = AE("ODD")
    ae.add_supported_context(sop_class, EXPLICIT_LITTLE)
    for one in stores:
        ae.add_supported_context(one, EXPLICIT_LITTLE, scu_role=True, scp_role=True)
    event = {STUDY_ROOT_FIND: evt.EVT_C_FIND, STUDY_ROOT_GET: evt.EVT_C_GET, STUDY_ROOT_MOVE: evt.EVT_C_MOVE}[sop_class]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(event, handler)])
    assert server is not None
    try:
        yield Archive(Destination("ODD", "127.0.0.1", server.server_address[1]), timeout_s=5.0)
    finally:
        server.shutdown()


def got(archive: Archive, keep: Callable[[str, bytes], None]) -> Fetched:
    return get(archive, {"StudyInstanceUID": "1.2.3"}, [(CR, EXPLICIT_LITTLE)], keep)


def test_an_object_of_another_study_is_not_taken() -> None:
    def answer(event: Any) -> Iterator[Any]:
        yield 2
        for data in (FILMS[0], FILMS[3]):
            yield 0xFF00, body(data)

    kept: list[str] = []
    with archive_that(STUDY_ROOT_GET, answer, CR) as archive:
        found = got(archive, lambda uid, data: kept.append(uid))
    assert (found.completed, found.failed) == (1, 1)
    assert kept == ["1.2.3.1.0"]


def test_a_full_disk_is_told_to_the_archive() -> None:
    def answer(event: Any) -> Iterator[Any]:
        yield 1
        yield 0xFF00, body(FILMS[0])

    def keep(uid: str, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with archive_that(STUDY_ROOT_GET, answer, CR) as archive, pytest.raises(PeerRefused, match="C-GET answered"):
        got(archive, keep)


def test_an_archive_without_the_service_or_the_role_is_named() -> None:
    with archive_that(STUDY_ROOT_FIND, lambda event: iter(())) as archive:
        with pytest.raises(PeerRefused, match="does not offer C-GET"):
            got(archive, lambda uid, data: None)
        with pytest.raises(PeerRefused, match="does not offer C-MOVE"):
            move(archive, {"StudyInstanceUID": "1.2.3"}, "WETREAD")
    with (
        archive_that(STUDY_ROOT_GET, lambda event: iter((0,))) as archive,
        pytest.raises(PeerRefused, match="grants no SCP role"),
    ):
        got(archive, lambda uid, data: None)


def test_an_archive_that_passes_over_keys_gives_nothing_else() -> None:
    """Some answer with every study; another patient's must not be pulled."""

    def answer(event: Any) -> Iterator[Any]:
        for uid, patient in (("1.2.3", "A"), ("1.2.4", "B")):
            row = Dataset()
            row.StudyInstanceUID, row.PatientID, row.StudyDate = uid, patient, f"2026112{uid[-1]}"
            row.ModalitiesInStudy, row.NumberOfStudyRelatedInstances = ["CT", "SR"], "12"
            yield 0xFF00, row

    with archive_that(STUDY_ROOT_FIND, answer) as archive:
        found = matching(archive, {"PatientID": "B"}, 10)
    assert found == [Pulled("1.2.4", "20261124", "CT SR", "", 12)]
