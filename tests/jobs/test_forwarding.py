"""Received objects go on: to a PACS as they came, outside without the patient, or not at all for a reason."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset

from tests import phantoms
from tests.acquire.deidentify.test_patients import aged
from tests.jobs import fake
from wetread.acquire.deidentify import Ledger
from wetread.errors import DecoderDied, SettingsError, StoreError
from wetread.jobs.commitments import Stored
from wetread.jobs.committing import Committing
from wetread.jobs.deidentified import Copies, left, remember
from wetread.jobs.delivery import MOST_DEATHS, Outbox
from wetread.jobs.desk import Desk
from wetread.jobs.instances import Arrival
from wetread.jobs.lanes import Lane
from wetread.jobs.parcels import Parcel
from wetread.jobs.returned import Returned
from wetread.jobs.states import Delivery, State
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker
from wetread.routes import BurnedIn, Route
from wetread.settings import Destination, Settings, parse_destination
from wetread.wire.dimse import Received
from wetread.wire.notices import Commitment
from wetread.wire.part10 import identify, meta

OUTSIDE = Destination("OUTSIDE", "outside.invalid", 104, ("IMAGE",), deidentify=True)
PACS = Destination("PACS", "pacs.invalid", 104, ("SR", "IMAGE"))
FILM = phantoms.to_bytes(phantoms.make_film(BurnedInAnnotation="NO"))
RLE = phantoms.to_bytes(
    phantoms.make_film(BurnedInAnnotation="NO", syntax=uid.RLELossless, SOPInstanceUID=f"{phantoms.ROOT}.1.1.2")
)
DOUBTFUL = phantoms.to_bytes(phantoms.make_film(SOPInstanceUID=f"{phantoms.ROOT}.1.1.3"))
NAME = OUTSIDE.names[0]


class Peer(Watch):
    """Remembers what it got, and what was told of it."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.outcomes: list[str] = []

    def __call__(self, destination: Destination, files: Sequence[bytes], on_status: Callable[[int, int], None]) -> None:
        for i, file in enumerate(files):
            self.got.append(file)
            on_status(i, 0)

    def sent(self, destination: str, outcome: str) -> None:
        self.outcomes.append(outcome)

    @property
    def datasets(self) -> list[Dataset]:
        return [dcmread(io.BytesIO(data)) for data in self.got]


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = request.getfixturevalue(request.param) if hasattr(request, "param") else ""
    with closing(Store(tmp_path / "state", url=url)) as made:
        yield made


@pytest.fixture
def child() -> None:
    """Copies are made in a child, as in service."""


@pytest.fixture(autouse=True)
def without_child(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere in this process, as on a system that has no such children: one of them takes a second to start."""
    if "child" not in request.fixturenames:
        monkeypatch.setattr("wetread.contain.copier.POSSIBLE", False)


def settings(tmp_path: Path, *destinations: Destination, **given: Any) -> Settings:
    return Settings(destinations=destinations, state=tmp_path / "state", retry_first_s=0.0, **given)


def bring(store: Store, *files: bytes, lane: Lane = Lane.ROUTINE, calling: str = "CT1") -> None:
    """Store objects and complete their study."""
    arrivals = []
    for data in files:
        head = meta(data)
        known = identify(memoryview(data)[head.offset :], head.transfer_syntax)
        digest = store.spool.put(data)
        uids = (known.sop_class_uid, known.sop_instance_uid, known.study_uid)
        arrivals.append(Arrival(*uids, head.transfer_syntax, calling, digest, len(data), lane))
    store.instances.admit(arrivals)
    store.studies.complete(phantoms.STUDY)


def read(store: Store, given: Settings) -> None:
    worker = Worker(store, fake.READER, given, Watch())
    while worker.step():
        pass


def deliver(store: Store, given: Settings, destination: Destination) -> Peer:
    peer = Peer()
    outbox = Outbox(destination.names[0], destination, store, peer, given, peer)
    with closing(outbox):
        while outbox.step() is not None:
            pass
    return peer


def waiting(store: Store, destination: Destination) -> list[Parcel]:
    return store.parcels.waiting(destination.names[0], frozenset(), 99)


def state(store: Store) -> State:
    return store.overview.versions(phantoms.STUDY)[-1].state


def test_a_pacs_gets_what_came_byte_for_byte_and_once(store: Store, tmp_path: Path) -> None:
    """Also where a study is completed twice, and where more of it comes late."""
    given = settings(tmp_path, PACS)
    bring(store, FILM, RLE)
    read(store, given)
    assert {data for data in deliver(store, given, PACS).got if data in (FILM, RLE)} == {FILM, RLE}
    assert state(store) is State.DELIVERED
    bring(store, FILM, DOUBTFUL)
    read(store, given)
    assert [data for data in deliver(store, given, PACS).got if data in (FILM, RLE, DOUBTFUL)] == [DOUBTFUL]


def test_nothing_goes_back_as_it_came(store: Store, tmp_path: Path) -> None:
    given = settings(tmp_path, OUTSIDE, PACS)
    bring(store, FILM, calling="PACS")
    bring(store, RLE, calling="OUTSIDE")
    read(store, given)
    assert [one.instance for one in waiting(store, PACS) if one.kind == "IMAGE"] == [f"{phantoms.ROOT}.1.1.2"]
    assert len(waiting(store, OUTSIDE)) == 2  # a copy is another object


def test_a_node_that_ends_blames_no_image(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wetread.contain.copier import Copier

    copies, parcel = Copies(settings(tmp_path, OUTSIDE)), Parcel(1, 1, "", 0, "IMAGE", "")

    def die(*_: object) -> bytes:
        copies.close()
        raise DecoderDied("SIGNAL")

    monkeypatch.setattr(Copier, "asked", die)
    with pytest.raises(StoreError):
        copies.made(OUTSIDE, parcel, FILM)


def test_whose_a_number_was_is_told_by_earlier_studies_alone(tmp_path: Path) -> None:
    """Not by that which is being copied: another patient's, who has the same number elsewhere."""
    given, parcel = settings(tmp_path, OUTSIDE), Parcel(1, 1, "", 0, "IMAGE", "")
    number = phantoms.SECRETS[1]
    old = aged(given.ledger_path, (number, "A"))[number]
    first = phantoms.make_film(BurnedInAnnotation="NO", IssuerOfPatientID="A", StudyInstanceUID=f"{phantoms.ROOT}.9")
    with closing(Copies(given)) as copies:
        made = [dcmread(io.BytesIO(copies.made(OUTSIDE, parcel, data))) for data in (FILM, phantoms.to_bytes(first))]
    assert [copy.PatientID == old for copy in made] == [False, True]


@pytest.mark.usefixtures("child")
def test_outside_gets_copies_that_belong_together(store: Store, tmp_path: Path) -> None:
    given = settings(tmp_path, OUTSIDE)
    bring(store, FILM, RLE)
    read(store, given)
    peer = deliver(store, given, OUTSIDE)
    assert peer.outcomes == ["stored", "stored"]
    assert not [secret for secret in phantoms.SECRETS for data in peer.got if secret.encode() in data]
    one, other = sorted(peer.datasets, key=lambda made: made.file_meta.TransferSyntaxUID)
    assert [made.file_meta.TransferSyntaxUID for made in (one, other)] == [uid.ExplicitVRLittleEndian, uid.RLELossless]
    assert one.PixelData == dcmread(io.BytesIO(FILM)).PixelData
    assert other.PixelData == dcmread(io.BytesIO(RLE)).PixelData
    assert one.StudyInstanceUID == other.StudyInstanceUID != phantoms.STUDY
    assert one.PatientID == other.PatientID
    with Ledger(given.ledger_path) as ledger:
        assert {ledger.original("uid", made.SOPInstanceUID) for made in (one, other)} == {
            phantoms.INSTANCE,
            f"{phantoms.ROOT}.1.1.2",
        }
        assert ledger.original("study", one.StudyInstanceUID) is not None
    assert state(store) is State.DELIVERED


@pytest.mark.parametrize("store", ["database"], indirect=True)
def test_it_is_the_same_where_nodes_share_an_index(store: Store, tmp_path: Path) -> None:
    given = settings(tmp_path, OUTSIDE, PACS)
    bring(store, FILM, DOUBTFUL)
    read(store, given)
    assert sorted(deliver(store, given, OUTSIDE).outcomes) == ["blocked", "stored"]
    assert {data for data in deliver(store, given, PACS).got if data in (FILM, DOUBTFUL)} == {FILM, DOUBTFUL}
    assert store.overview.blocked() == {(NAME, "BURNED-IN"): 1}
    assert state(store) is State.DELIVERED
    assert store.removals.due() is not None


def test_images_are_withheld_with_the_documents(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where an order is about another patient."""
    given = settings(tmp_path, OUTSIDE, PACS)
    monkeypatch.setattr(store.withholding, "check", lambda *_: True)
    bring(store, FILM)
    read(store, given)
    assert not store.parcels.destinations()
    assert set(store.overview.depths(Delivery.WITHHELD)) == {NAME, PACS.names[0]}


def test_what_others_make_of_the_images_comes_home(store: Store, tmp_path: Path) -> None:
    """Though no result of ours went there."""
    given = settings(tmp_path, OUTSIDE, PACS)
    bring(store, FILM)
    read(store, given)
    (copy,) = deliver(store, given, OUTSIDE).datasets
    deliver(store, given, PACS)
    theirs = phantoms.make_film(SOPInstanceUID="2.25.7", StudyInstanceUID=copy.StudyInstanceUID)
    theirs.SOPClassUID, theirs.PatientID, theirs.PatientName = uid.EnhancedSRStorage, copy.PatientID, copy.PatientName
    theirs.ReferencedImageSequence = [Dataset()]
    theirs.ReferencedImageSequence[0].ReferencedSOPInstanceUID = copy.SOPInstanceUID
    del theirs.PixelData
    back = Returned(store, given, lambda: None)
    uids = (uid.EnhancedSRStorage, "2.25.7", str(copy.StudyInstanceUID), uid.ExplicitVRLittleEndian)
    assert back.take(Received(*uids, phantoms.to_bytes(theirs), "OUTSIDE", 1)) == 0
    (home,) = deliver(store, given, PACS).datasets
    assert (home.PatientID, home.StudyInstanceUID) == (phantoms.SECRETS[1], phantoms.STUDY)
    assert home.ReferencedImageSequence[0].ReferencedSOPInstanceUID == phantoms.INSTANCE
    assert not deliver(store, given, OUTSIDE).got
    again = (phantoms.CR_CLASS, str(copy.SOPInstanceUID), *uids[2:])
    assert back.take(Received(*again, b"", "OUTSIDE", 1)) == 0x0122  # a copied image is no result


@pytest.mark.usefixtures("child")
def test_what_may_show_a_name_is_blocked_until_a_rule_says_where(store: Store, tmp_path: Path) -> None:
    """That fails no study; a person sees it, and may send it again."""
    given = settings(tmp_path, OUTSIDE)
    bring(store, FILM, DOUBTFUL)
    read(store, given)
    peer = deliver(store, given, OUTSIDE)
    assert sorted(peer.outcomes) == ["blocked", "stored"]
    assert state(store) is State.DELIVERED
    assert store.overview.blocked() == {(NAME, "BURNED-IN"): 1}
    assert [(event, detail) for event, _, detail in store.overview.audits()] == [
        ("not-deidentified", {"destination": NAME, "reason": "BURNED-IN"})
    ]
    with closing(Desk(given.state_dir)) as desk:
        (row,) = desk.jobs()
        assert (row["queued"], row["dead"], row["blocked"]) == (0, 0, 1)
        shown = {(one["state"], one["name"], one["reason"]) for one in desk.show(row["job"])["deliveries"]}
        assert shown == {("SENT", "1 images", ""), ("BLOCKED", "1 images", "BURNED-IN")}
        desk.retry(row["job"])
    ruled = replace(given, burned_in=(BurnedIn(((0, 0, 9, 9),), 96, 80),))
    (made,) = deliver(store, ruled, OUTSIDE).datasets
    assert made.BurnedInAnnotation == "NO"
    assert "113101" in {item.CodeValue for item in made.DeidentificationMethodCodeSequence}
    assert len({*made.pixel_array[:9, :9].flat}) == 1
    assert store.overview.blocked() == {}


def test_an_image_that_ends_its_child_is_blocked(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(*_: object) -> bytes:
        raise DecoderDied("MEMORY")

    monkeypatch.setattr(Copies, "_image", die)
    given = settings(tmp_path, OUTSIDE)
    bring(store, FILM)
    read(store, given)
    assert deliver(store, given, OUTSIDE).outcomes == [*["rejected"] * (MOST_DEATHS - 1), "blocked"]
    assert store.overview.blocked() == {(NAME, "NOT-READABLE"): 1}


def test_a_child_that_speaks_of_another_study_is_not_believed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wetread.contain.copier import Copier

    asked = Copier.asked
    monkeypatch.setattr(Copier, "asked", lambda *given: replace(asked(*given), study_uid="1.2.3"))
    given = settings(tmp_path, OUTSIDE)
    bring(store, FILM)
    read(store, given)
    assert deliver(store, given, OUTSIDE).got == []
    with Ledger(given.ledger_path) as ledger:
        assert ledger.original("study", ledger.uid("1.2.3")) is None


def test_rules_say_which_objects_go_on(store: Store, tmp_path: Path) -> None:
    ct = phantoms.make_film(modality="CT", SOPInstanceUID=f"{phantoms.ROOT}.1.2.1", BurnedInAnnotation="NO")
    rules = (
        Route(modality=("CT",), documents={"PACS": ("SR",)}),
        Route(calling_ae=("SECRET",), destinations=()),
    )
    given = settings(tmp_path, OUTSIDE, PACS, routes=rules)
    bring(store, FILM, phantoms.to_bytes(ct))
    read(store, given)
    assert len(deliver(store, given, OUTSIDE).got) == 2
    assert [data for data in deliver(store, given, PACS).got if data == FILM] == [FILM]
    bring(store, RLE, calling="SECRET")
    read(store, given)
    assert "IMAGE" not in {one.kind for place in (OUTSIDE, PACS) for one in waiting(store, place)}


def test_a_prior_that_the_node_pulled_goes_nowhere(store: Store, tmp_path: Path) -> None:
    given = settings(tmp_path, OUTSIDE, PACS)
    bring(store, FILM, lane=Lane.PRIOR)
    read(store, given)
    assert not store.parcels.destinations()


def test_a_destination_that_is_gone_gets_no_names(store: Store, tmp_path: Path) -> None:
    given = settings(tmp_path, OUTSIDE)
    bring(store, FILM)
    read(store, given)
    remember(given.destinations, given.ledger_path)
    peer = deliver(store, replace(given, destinations=()), left(NAME, given.ledger_path))
    assert len(peer.got) == 1
    assert phantoms.SECRETS[0].encode() not in peer.got[0]


def test_a_pacs_commits_itself_to_images(store: Store, tmp_path: Path) -> None:
    pacs = replace(PACS, documents=("IMAGE",), commitment=True)
    given = settings(tmp_path, pacs)
    bring(store, FILM)
    read(store, given)
    deliver(store, given, pacs)
    asked: list[tuple[str, dict[str, str]]] = []
    Committing(pacs, store, given, lambda _, transaction, named: asked.append((transaction, dict(named)))).step()
    ((transaction, named),) = asked
    assert named == {phantoms.INSTANCE: phantoms.CR_CLASS}
    assert store.removals.due(committing=[pacs.names[0]]) is None
    store.commitments.hear(Commitment(transaction, frozenset(), {phantoms.INSTANCE: 0x0112}))
    assert deliver(store, given, pacs).got == [FILM]
    (again,) = store.commitments.due(pacs.names[0], frozenset(), 9)
    assert isinstance(again, Stored)
    store.commitments.ask("1.5", [again])
    store.commitments.hear(Commitment("1.5", frozenset((phantoms.INSTANCE,))))
    assert store.removals.due(committing=[pacs.names[0]]) is not None


@pytest.mark.parametrize("place", ["mllp://host:1", "fhir+https://host/fhir"])
def test_images_go_by_dicom_only(place: str) -> None:
    with pytest.raises(SettingsError, match="got IMAGE"):
        Destination("EHR", url=place, documents=("IMAGE",))
    assert parse_destination("PACS@host:104/SR+IMAGE").documents == ("SR", "IMAGE")
    assert Settings(destinations=(OUTSIDE,)).kinds == {"SR", "SEG", "PM", "SC"}
    assert not Settings(destinations=(Destination("P", "h", 1),)).forwards
