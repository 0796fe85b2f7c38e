"""C-FIND against Orthanc, DCMTK and pynetdicom, and against peers that misbehave."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom import AE, evt

from tests import peers
from tests.wire.objects import element, film
from wetread.errors import BadInput, PeerRefused, PeerUnreachable
from wetread.settings import Destination
from wetread.wire.archive import number_of_instances
from wetread.wire.attributes import texts
from wetread.wire.dimse import send
from wetread.wire.part10 import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from wetread.wire.query import STUDY_ROOT_FIND, Query, find

FILMS = [film("1.2.3", f"1.2.3.1.{n}") for n in range(5)] + [film("1.2.4", "1.2.4.1.1")]
ASKED = {"StudyInstanceUID": "", "PatientID": "", "PatientName": ""}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Destination]:
    with peers.orthanc(tmp_path_factory.mktemp("orthanc"), DicomAlwaysAllowFind=True) as running:
        archive = Destination("ORTHANC", "127.0.0.1", running.port)
        assert send(archive, FILMS) == [0] * 6
        yield archive


@pytest.fixture(scope="module")
def dcmqrscp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Destination]:
    with peers.dcmqrscp(tmp_path_factory.mktemp("dcmqrscp")) as port:
        archive = Destination("DCMQRSCP", "127.0.0.1", port)
        assert send(archive, FILMS) == [0] * 6
        yield archive


@pytest.fixture(params=["orthanc", "dcmqrscp"])
def archive(request: pytest.FixtureRequest) -> Destination:
    found: Destination = request.getfixturevalue(request.param)
    return found


# ---- archives ---------------------------------------------------------------------------------


@pytest.mark.peer
def test_studies_and_their_objects(archive: Destination) -> None:
    studies = find(archive, "STUDY", ASKED)
    assert studies.whole
    assert {(row["StudyInstanceUID"], row["PatientID"]) for row in studies.rows} == {
        ("1.2.3", "CANARY-ID-77"),
        ("1.2.4", "CANARY-ID-77"),
    }
    with Query(archive) as query:  # several questions on one association
        (series,) = query.find("SERIES", {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": ""}).rows
        above = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": series["SeriesInstanceUID"]}
        images = query.find("IMAGE", {**above, "SOPInstanceUID": ""}).rows
    assert {row["SOPInstanceUID"] for row in images} == {f"1.2.3.1.{n}" for n in range(5)}


@pytest.mark.peer
def test_nothing_matches(archive: Destination) -> None:
    with Query(archive) as query:
        assert query.find("STUDY", {"StudyInstanceUID": "9.9"}).rows == ()
        assert query.find("STUDY", {**ASKED, "PatientName": "Nobody*"}).rows == ()
        assert len(query.find("STUDY", {**ASKED, "PatientName": "Canary*"}).rows) == 2


@pytest.mark.peer
def test_the_number_of_instances(archive: Destination) -> None:
    """Orthanc counts; dcmqrscp does not, so that its series and instances are asked for."""
    assert number_of_instances(archive, "1.2.3") == 5
    assert number_of_instances(archive, "1.2.4") == 1
    assert number_of_instances(archive, "9.9") is None


@pytest.mark.peer
def test_a_limit_cancels_the_query(archive: Destination) -> None:
    keys = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1", "SOPInstanceUID": ""}
    with Query(archive) as query:
        some = query.find("IMAGE", keys, most=2)
        assert (len(some.rows), some.whole) == (2, False)
        assert len(query.find("IMAGE", keys).rows) == 5  # the association is as it was


def test_an_archive_that_is_away() -> None:
    with pytest.raises(PeerUnreachable, match="no connection"):
        find(Destination("PACS", "127.0.0.1", peers.free_port()), "STUDY", ASKED, timeout_s=2.0)


# ---- peers that misbehave ---------------------------------------------------------------------

Answer = Callable[[Any], Iterator[tuple[int, Dataset | None]]]


@contextmanager
def archive_that(
    answer: Answer, syntax: str = EXPLICIT_LITTLE, sop_class: str = STUDY_ROOT_FIND
) -> Iterator[Destination]:
    """An archive of pynetdicom that answers as it is told."""
    ae = AE("ODD")
    ae.add_supported_context(sop_class, syntax)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, answer)])
    assert server is not None
    try:
        yield Destination("ODD", "127.0.0.1", server.server_address[1])
    finally:
        server.shutdown()


def study(number: object = None, study_uid: str = "1.2.3", **more: object) -> Dataset:
    row = Dataset()
    row.QueryRetrieveLevel = "STUDY"
    row.StudyInstanceUID = study_uid
    if number is not None:
        row.NumberOfStudyRelatedInstances = number
    for keyword, value in more.items():
        setattr(row, keyword, value)
    return row


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE])
def test_values_and_character_sets(syntax: str) -> None:
    seen: list[Dataset] = []

    def answer(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        seen.append(event.identifier)
        row = study(7, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg", ModalitiesInStudy=["CT", "SR"])
        row.ReferencedStudySequence = [Dataset()]
        yield 0xFF00, row

    with archive_that(answer, syntax) as odd:
        (row,) = find(odd, "STUDY", {**ASKED, "PatientName": "Mü*", "ModalitiesInStudy": ""}).rows
    assert row["PatientName"] == "Müller^Jörg"
    assert row["ModalitiesInStudy"] == "CT\\SR"
    assert row["NumberOfStudyRelatedInstances"] == "7"
    assert "ReferencedStudySequence" not in row
    assert seen[0].PatientName == "Mü*"
    assert seen[0].QueryRetrieveLevel == "STUDY"


def test_a_cancel_is_heard() -> None:
    heard: list[int] = []

    def answer(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for number in range(10_000):
            if event.is_cancelled:
                heard.append(number)
                yield 0xFE00, None
                return
            yield 0xFF00, study(number)

    with archive_that(answer) as odd:
        found = find(odd, "STUDY", ASKED, cancel=lambda: True)
    assert (len(found.rows), found.whole) == (1, False)
    assert heard
    assert heard[0] < 10_000


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # pynetdicom leaves its socket open
def test_an_archive_that_never_ends() -> None:
    def answer(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        while True:
            time.sleep(0.01)
            yield 0xFF00, study(1)

    with archive_that(answer) as odd, pytest.raises(PeerUnreachable, match="after C-CANCEL"):
        find(odd, "STUDY", ASKED, timeout_s=0.5, most=3)


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001])
def test_a_failure_is_an_error_that_quotes_nobody(status: int) -> None:
    def answer(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        failure = Dataset()
        failure.Status = status
        failure.ErrorComment = "CANARY is not known here"
        yield failure, None  # type: ignore[misc]

    with archive_that(answer) as odd, pytest.raises(PeerRefused, match=f"0x{status:04X}") as caught:
        find(odd, "STUDY", ASKED)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x10\x00\xc0\x21US\x01\x00\x04",  # Pregnancy Status of one byte
        b"\xfe\xff\x0d\xe0UR\x00\x00",  # the end of an item, of six bytes
    ],
)
def test_a_match_that_is_no_identifier(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynetdicom.service_class.encode", lambda *_args: sent)
    with (
        archive_that(lambda event: iter([(0xFF00, study())])) as odd,
        pytest.raises(PeerRefused, match="no identifier"),
    ):
        find(odd, "STUDY", ASKED)


def test_a_peer_that_is_no_archive() -> None:
    with (
        archive_that(lambda event: iter(()), sop_class="1.2.840.10008.1.1") as odd,
        pytest.raises(PeerRefused, match="does not answer C-FIND"),
    ):
        find(odd, "STUDY", ASKED)


def test_a_keyword_that_does_not_exist() -> None:
    with archive_that(lambda event: iter(())) as odd, pytest.raises(BadInput, match="'StudyUID'"):
        find(odd, "STUDY", {"StudyUID": "1.2.3"})


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([study(12)], 12),
        ([study(12, "1.2.99")], None),  # it passes over the key
        ([study(3, "1.2.99"), study(12)], 12),
        ([], None),
    ],
    ids=["counts", "of another study", "among others", "has none"],
)
def test_what_counts_as_told(rows: list[Dataset], expected: int | None) -> None:
    def answer(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        yield from ((0xFF00, row) for row in rows)

    with archive_that(answer) as odd:
        assert number_of_instances(odd, "1.2.3") == expected


def test_numbers_of_series_are_summed_up() -> None:
    levels: list[str] = []

    def answer(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        levels.append(event.identifier.QueryRetrieveLevel)
        if levels[-1] == "STUDY":
            yield 0xFF00, study()
        elif levels[-1] == "SERIES":
            for series, number in (("1.2.3.1", 4), ("1.2.3.2", None)):
                yield 0xFF00, study(SeriesInstanceUID=series, NumberOfSeriesRelatedInstances=number)
        else:
            for number in range(3):
                yield 0xFF00, study(SeriesInstanceUID="1.2.3.2", SOPInstanceUID=f"1.2.3.2.{number}")

    with archive_that(answer) as odd:
        assert number_of_instances(odd, "1.2.3") == 7
    assert levels == ["STUDY", "SERIES", "IMAGE"]


def test_counting_ends_in_time() -> None:
    def answer(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        while not event.is_cancelled:
            time.sleep(0.05)
            yield 0xFF00, study()
        yield 0xFE00, None

    begin = time.monotonic()
    with archive_that(answer) as odd:
        assert number_of_instances(odd, "1.2.3", timeout_s=0.5) is None
    assert time.monotonic() - begin < 30.0


def test_chinese_answers_hold_no_escape_sequences() -> None:
    elements = (
        (0x00080005, "CS", b"\\ISO 2022 IR 58"),
        (0x00100010, "PN", b"Wang^XiaoDong=\x1b$)A\xcd\xf5^\x1b$)A\xd0\xa1\xb6\xab"),
        (0x00321060, "LO", b"\x1b$)A\xd0\xd8\xb2\xbf"),
    )
    row = read_dataset(BytesIO(b"".join(element(*one) for one in elements)), False, is_little_endian=True)
    found = texts(row)
    assert found["PatientName"] == "Wang^XiaoDong=王^小东"
    assert found["RequestedProcedureDescription"] == "胸部"
