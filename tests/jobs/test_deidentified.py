"""A destination outside gets copies without the patient, whatever happens; or nothing."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID
from sqlalchemy import select

from tests.jobs.test_flow import receive
from tests.report import phantom
from tests.wire.objects import SR
from wetread import report
from wetread.acquire.deidentify import Ledger
from wetread.errors import SettingsError
from wetread.jobs import deidentified
from wetread.jobs.delivery import Outbox
from wetread.jobs.parcels import moved
from wetread.jobs.returned import Returned
from wetread.jobs.runner import Runner
from wetread.jobs.store import Store
from wetread.jobs.tables import outbox
from wetread.jobs.watch import Watch
from wetread.records import Document
from wetread.settings import Destination, Settings, load
from wetread.wire.dimse import Received
from wetread.wire.part10 import EXPLICIT_LITTLE, meta

CLOUD = Destination("CLOUD", "cloud.invalid", 104, deidentify=True)
PACS = Destination("PACS", "pacs.invalid", 104, ("SR", "SC"))


class Cloud:
    """Remembers what it got."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def __call__(self, destination: Destination, files: Sequence[bytes], on_status: Callable[[int, int], None]) -> None:
        for i, file in enumerate(files):
            self.got.append(file)
            on_status(i, 0)


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    result = phantom.result("spacing")
    return [one for one in report.documents(result) if one.sop_class_uid]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(destinations=(CLOUD, PACS), state=tmp_path / "state", host="127.0.0.1", port=0)


@pytest.fixture
def store(settings: Settings, documents: list[Document]) -> Iterator[Store]:
    """Holds a result that waits for both destinations."""
    made = Store(settings.state_dir)
    receive(made, "1.2", "1.2.3")
    job = made.studies.take()
    assert job is not None
    ways = {one.names[0]: one.documents for one in settings.destinations}
    made.studies.finish(job.id, [(one, ways) for one in documents], "")
    yield made
    made.close()


def named(data: bytes) -> bool:
    """Whether a document says whose it is."""
    source = phantom.header("spacing")
    return any(str(source[name].value).encode() in data for name in ("PatientID", "PatientName", "StudyInstanceUID"))


def test_each_destination_gets_its_own(store: Store, settings: Settings) -> None:
    for place in (CLOUD, PACS):
        peer = Cloud()
        outbox = Outbox(place.names[0], place, store, peer, settings, Watch())
        assert outbox.step() is None or outbox.step() is None
        assert len(peer.got) == (3 if place is CLOUD else 2)
        assert {named(data) for data in peer.got} == {place is PACS}
        assert {meta(data).sop_class_uid for data in peer.got} == {
            dcmread(io.BytesIO(data)).SOPClassUID for data in peer.got
        }
    with Ledger(settings.ledger_path) as ledger:
        copy = dcmread(io.BytesIO(peer.got[0])).SOPInstanceUID
        assert ledger.original("uid", ledger.uid(copy)) == copy


def test_nothing_leaves_while_the_ledger_cannot_be_written(store: Store, settings: Settings) -> None:
    settings.ledger_path.mkdir()
    peer = Cloud()
    outbox = Outbox(CLOUD.names[0], CLOUD, store, peer, settings, Watch())
    outbox.step()
    assert peer.got == []
    assert len(store.parcels.waiting(CLOUD.names[0], frozenset(), 9)) == 3
    settings.ledger_path.rmdir()
    again = Outbox(CLOUD.names[0], CLOUD, store, peer, settings, Watch())
    again.step()
    assert len(peer.got) == 3


def test_what_cannot_be_de_identified_is_given_up(
    store: Store, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as a capture that an older setting queued."""
    peer = Cloud()
    place = replace(PACS, deidentify=("patient",), documents=())
    with caplog.at_level(logging.ERROR):
        Outbox(PACS.names[0], place, store, peer, settings, Watch()).step()
    assert [meta(data).sop_class_uid for data in peer.got] == ["1.2.840.10008.5.1.4.1.1.88.34"]
    assert not named(peer.got[0])
    assert store.parcels.waiting(PACS.names[0], frozenset(), 9) == []
    assert "document not de-identified" in caplog.text


def test_a_destination_that_is_gone_gets_no_names(store: Store, settings: Settings) -> None:
    peer = Cloud()
    deidentified.remember(settings.destinations, settings.ledger_path)
    runner = Runner(store, replace(settings, destinations=()), deliver=peer)
    runner.start()
    try:
        for loop in runner._outboxes:
            loop.wake()
    finally:
        runner.stop()
    place = deidentified.left(CLOUD.names[0], settings.ledger_path)
    assert place.deidentify == ("shifted-dates", "descriptors", "patient")
    assert deidentified.left(PACS.names[0], settings.ledger_path).deidentify is False
    assert deidentified.left(PACS.names[0], settings.ledger_path.with_name("none")).deidentify is False
    assert sum(named(data) for data in peer.got) == 2  # what the PACS got


def test_a_destination_with_a_new_name_is_called_as_before(settings: Settings) -> None:
    """By TLS, and with the token: without them what waits for its old name never leaves."""
    web = Destination("NEW", url="https://cloud.invalid/dicom-web", token=Path("token"))
    named = replace(CLOUD, ae_title="NEW", deidentify=False, tls=True, commitment=True), web
    deidentified.remember([CLOUD], settings.ledger_path)
    place = deidentified.left(CLOUD.names[0], settings.ledger_path, named)
    assert (place.names[0], place.tls, place.deidentify) == (CLOUD.names[0], True, CLOUD.options)
    old = f"OLD@{web.url}"
    assert deidentified.left(old, settings.ledger_path, named) == replace(web, ae_title="OLD")
    assert deidentified.left(PACS.names[0], settings.ledger_path, named).tls is False


@pytest.mark.parametrize("away", [True, False])
def test_what_waits_goes_where_a_destination_moved_to(away: bool, store: Store, settings: Settings) -> None:
    """But not one that got de-identified copies, and gets no others now."""
    deidentified.remember(settings.destinations, settings.ledger_path)
    new = replace(CLOUD, host="new.invalid", deidentify=away, documents=()), replace(PACS, host="new.invalid")
    runner = Runner(store, replace(settings, destinations=new), deliver=Cloud())
    runner.start()
    runner.stop()
    with store._index.reading() as connection:
        ways = set(connection.scalars(select(outbox.c.destination)))
    assert ways == {new[1].names[0], new[0].names[0] if away else CLOUD.names[0]}


def test_a_destination_that_moved_commits_itself_where_it_is(store: Store, settings: Settings) -> None:
    peer, asked = Cloud(), replace(PACS, commitment=True)
    Outbox(PACS.names[0], asked, store, peer, settings, Watch()).step()
    assert len(store.commitments.due(PACS.names[0], frozenset(), 9)) == len(peer.got)
    new = replace(asked, host="new.invalid")
    runner = Runner(store, replace(settings, destinations=(new,)), deliver=Cloud())
    runner._follow({new.names[0]: new})
    assert len(store.commitments.due(new.names[0], frozenset(), 9)) == len(peer.got)


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ([replace(PACS, host="new.invalid")], 0),
        ([replace(PACS, ae_title="NEW", port=105), replace(PACS, ae_title="NEW")], 1),
        ([Destination("PACS", url="https://new.invalid/dicom-web")], 0),
        ([Destination("PACS", url="mllp://pacs.invalid:2575")], None),
        ([replace(PACS, port=105), replace(PACS, port=106)], None),
        ([replace(PACS, ae_title="NEW", host="new.invalid")], None),
    ],
)
def test_what_took_the_place_of_a_destination(named: list[Destination], found: int | None) -> None:
    assert moved(PACS.names[0], named) == (None if found is None else named[found])


def test_a_destination_that_is_gone_gets_what_it_was_to_get_last(settings: Settings) -> None:
    for kept in (("dates", "institution"), ("patient",)):
        deidentified.remember([replace(CLOUD, deidentify=kept)], settings.ledger_path)
    assert deidentified.left(CLOUD.names[0], settings.ledger_path).options == ("patient",)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"deidentify": ("everything",)}, "expected true, or a list"),
        ({"deidentify": "true"}, "expected true, or a list"),
        ({"deidentify": ("uids",)}, "expected true, or a list"),
        ({"deidentify": ()}, "expected true, or a list"),
        ({"deidentify": ("dates", "shifted-dates")}, "got both"),
        ({"deidentify": True, "commitment": True}, "other UIDs"),
        ({"deidentify": True, "documents": ("SR", "PDF")}, "got PDF"),
        ({"deidentify": True, "host": "", "port": 0, "url": "mllp://host:1"}, "a named patient"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        Destination(**{"ae_title": "CLOUD", "host": "h", "port": 1, **changes})  # type: ignore[arg-type]


def test_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "wetread.toml"
    lines = 'ae_title = "CLOUD"\nurl = "https://cloud.example/dicom-web"\ndeidentify = ["dates"]\n'
    path.write_text(f"[[destinations]]\n{lines}")
    (place,) = load(path, {}).destinations
    assert (place.deidentify, place.options, place.documents) == (("dates",), ("dates",), ("SR", "SEG", "PM"))


# ---- the way back -----------------------------------------------------------------------------


def test_a_result_comes_home_and_goes_on_to_the_pacs(settings: Settings, documents: list[Document]) -> None:
    """Once, under its patient, only if its study is known and here."""
    source, study = phantom.header("spacing"), phantom.header("spacing").StudyInstanceUID
    cloud, pacs = Cloud(), Cloud()
    with closing(Store(settings.state_dir)) as store:
        receive(store, study, source.SOPInstanceUID)
        job = store.studies.take()
        assert job is not None
        store.studies.finish(job.id, [(documents[0], {one.names[0]: one.documents for one in (CLOUD, PACS)})], "")
        Outbox(CLOUD.names[0], CLOUD, store, cloud, settings, Watch()).step()
        theirs = dcmread(io.BytesIO(cloud.got[0]))
        runner = Runner(store, settings)
        other = Received(SR, "1.2.97", "1.2.98", EXPLICIT_LITTLE, b"", "OTHER", 1)  # a study like any other
        assert Returned(store, settings, lambda: None).take(other) is None

        def back(calling_ae: str = "CLOUD", **changes: str) -> int:
            sent = dcmread(io.BytesIO(next(one.data for one in documents if one.kind == "SR")))
            for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate"):
                setattr(sent, keyword, theirs[keyword].value)
            sent.SOPInstanceUID = sent.file_meta.MediaStorageSOPInstanceUID = UID("2.25.99")
            for keyword, value in changes.items():
                setattr(sent, keyword, value)
            out = io.BytesIO()
            sent.save_as(out)
            head = (str(sent.SOPClassUID), "2.25.99", str(sent.StudyInstanceUID), EXPLICIT_LITTLE)
            return runner.receive(Received(*head, out.getvalue(), calling_ae, 1))

        assert back(StudyInstanceUID="2.25.98") == 0xA900
        assert back(StudyInstanceUID="1.2.98") == 0xA900
        assert back(SOPClassUID="1.2.840.10008.5.1.4.1.1.2") == 0x0122
        assert back() == back(calling_ae="OTHER") == 0
        assert back(SeriesDescription="other bytes") == 0xB000
        Outbox(PACS.names[0], PACS, store, pacs, settings, Watch()).step()
        Outbox(CLOUD.names[0], CLOUD, store, cloud, settings, Watch()).step()
    assert len(pacs.got) == 1
    assert len(cloud.got) == 1
    home = dcmread(io.BytesIO(pacs.got[0]))
    assert home.SOPInstanceUID == "2.25.99"
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate", "AccessionNumber"):
        assert home[keyword].value == source[keyword].value
