"""What a record gets: once, in order by patient, and never less than what a person signed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from tests.jobs.test_flow import Clock
from tests.jobs.test_store import admit, arrive, store, take
from tests.wire.ehr import Ehr, ack, ehr
from wetread.errors import BadInput
from wetread.jobs.delivery import Outbox
from wetread.jobs.desk import Desk
from wetread.jobs.retry import Backoff
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.records import Document, Filed
from wetread.settings import Destination, Settings
from wetread.wire.hl7 import encode, parse
from wetread.wire.mllpstore import send

__all__ = ["store"]
_numbers = itertools.count(1)
EHR = "EHR@mllp://ehr.invalid:2575"


def oru(text: str, patient: str, about: str = "", signed: bool = False) -> Document:
    return Document("ORU", "x.hl7", text.encode(), filed=Filed(text, patient, about or text, signed))


def read(store: Store, *documents: Document, to: Sequence[str] = (EHR,)) -> None:
    study = f"1.2.{next(_numbers)}"
    admit(store, arrive(store, f"{study}.1", study))
    store.studies.complete(study)
    kinds = dict.fromkeys(to, ("ORU",))
    store.studies.finish(take(store), [(document, kinds) for document in documents], "")


def waiting(store: Store, to: str = EHR, limit: int = 9) -> list[str]:
    return [store.made.get(one.digest).decode() for one in store.parcels.waiting(to, frozenset(), limit)]


def deliver(store: Store) -> list[str]:
    (first, *_) = store.parcels.waiting(EHR, frozenset(), 9)
    store.parcels.delivered(first)
    return waiting(store)


def test_what_is_about_one_patient_goes_one_after_the_other(store: Store) -> None:
    read(store, oru("a1", "A"), oru("a2", "A"), oru("b1", "B"))
    read(store, oru("b2", "B"), oru("a3", "A"))
    assert waiting(store) == ["a1", "b1"]
    assert deliver(store) == ["a2", "b1"]
    assert deliver(store) == ["b1", "a3"]


def test_a_rejected_one_keeps_only_its_patient_back(store: Store) -> None:
    read(store, oru("a1", "A"), oru("a2", "A"), oru("b1", "B"))
    (first, *_) = store.parcels.waiting(EHR, frozenset(), 9)
    store.parcels.rejected(first, 0xC000)
    assert waiting(store) == ["b1", "a1"]
    store.parcels.rejected(first, 0xC000, dead=True)
    assert sorted(waiting(store)) == ["a2", "b1"]


def test_the_same_is_sent_once_to_each(store: Store) -> None:
    read(store, oru("a1", "A"))
    read(store, oru("a1", "A"), to=(EHR, "OTHER@mllp://o.invalid:1"))
    assert waiting(store) == ["a1"]
    assert waiting(store, "OTHER@mllp://o.invalid:1") == ["a1"]
    deliver(store)
    read(store, oru("a1", "A"))
    assert waiting(store) == []


@pytest.mark.parametrize("delivered", [True, False])
def test_what_is_signed_is_not_followed_by_what_is_not(store: Store, delivered: bool) -> None:
    read(store, oru("preliminary", "A", "film"))
    read(store, oru("final", "A", "film", signed=True))
    if delivered:
        assert deliver(store) == ["final"]
        assert deliver(store) == []
    read(store, oru("read again", "A", "film"), oru("other film", "A", "film 2"))
    read(store, oru("corrected", "A", "film", signed=True))
    sent = waiting(store, limit=1)
    while following := deliver(store):
        sent += following
    assert sent == [*([] if delivered else ["preliminary", "final"]), "other film", "corrected"]


@pytest.mark.parametrize("signed", [True, False])
def test_what_was_given_up_does_not_follow_what_is_newer(store: Store, tmp_path: Path, signed: bool) -> None:
    """Though a person tries it again."""
    read(store, oru("preliminary", "A", "film"), oru("other film", "A", "film 2"))
    for _ in range(2):
        (first, *_) = store.parcels.waiting(EHR, frozenset(), 9)
        store.parcels.rejected(first, 0xC000, dead=True)
    read(store, oru("newer", "A", "film", signed=signed))
    assert deliver(store) == []
    with closing(Desk(tmp_path / "state", str(store._index.engine.url) if store.shared else "")) as desk:
        assert desk.retry(1) is State.READ
        assert waiting(store) == ["other film"]
        assert deliver(store) == []
        assert desk.jobs(State.FAILED)[0]["dead"] == 1
        with pytest.raises(BadInput, match="got newer ones"):
            desk.retry(1)


def message(control: str, patient: str) -> Document:
    head = ("MSH", "WETREAD", "", "", "", "20261128", "", ("ORU", "R01", "ORU_R01"), control, "P", "2.5.1")
    data = encode([head, ("PID", "1", "", (patient,))])
    return Document("ORU", "x.hl7", data, filed=Filed(control, patient, control))


def by_mllp(to: Destination, items: Sequence[bytes], on_status: Callable[[int, int], None]) -> None:
    send(to, items, 5.0, on_status)


def moods(peer: Ehr, bad: set[str]) -> Callable[[bytes], bytes | None]:
    """An answer that is missing, wrong or a rejection the first time, for those who are told."""

    def answer(data: bytes) -> bytes | None:
        control = parse(data).header.text(10)
        if control not in bad:
            return ack(data)
        bad.remove(control)
        kind = int(control[1:]) % 4
        return (b"", ack(data, control="other"), ack(data, "AE"), ack(data, "AR"))[kind]

    return answer


def test_a_record_that_is_away_for_a_day_gets_everything_once_and_in_order(tmp_path: Path) -> None:
    """Sixty messages of twelve patients; then it is back, and in the mood for mistakes."""
    store, clock, random = Store(tmp_path), Clock(), Random(17)
    settings = Settings(retry_first_s=1.0, retry_most_s=300.0)
    sent = [(f"P{random.randrange(12)}", f"C{number}") for number in range(60)]
    with ehr() as peer:
        name, place = f"EHR@{peer.destination.url}", peer.destination
    backoff = Backoff(1.0, 300.0, Random(1))
    box = Outbox(name, place, store, by_mllp, settings, Watch(), clock, backoff)
    for at in range(0, len(sent), 10):
        read(store, *(message(control, patient) for patient, control in sent[at : at + 10]), to=(name,))
        end = clock.now + 4 * 3600
        while clock.now < end:
            clock.now += box.step() or 1.0
    back = Ehr(port=int(place.url.rpartition(":")[2]))
    try:
        back.answer = moods(back, {f"C{number}" for number in range(0, 60, 3)})
        end = clock.now + 600
        while clock.now < end and store.parcels.destinations():
            clock.now += box.step() or 1.0
    finally:
        back.close()
    assert store.parcels.destinations() == []
    took = [parse(one) for one in back.got]
    kept = dict.fromkeys(
        (one.all("PID")[0].text(3), one.header.text(10)) for one in took
    )  # by MSH-10, as a record does
    assert sorted(kept) == sorted(sent)
    for patient in {patient for patient, _ in sent}:
        assert [one for one in kept if one[0] == patient] == [one for one in sent if one[0] == patient]
    assert len(took) == len(sent) + 20  # nothing again but what was not acknowledged
    store.close()


def test_the_page_and_the_json_go_nowhere(store: Store) -> None:
    read(store, Document("HTML", "p.html", b"p"), Document("ORU", "x", b"not filed"))
    assert waiting(store) == []
