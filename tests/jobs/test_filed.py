"""What a record gets: once, in order by patient, and never less than what a person signed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest

from tests.jobs.test_store import admit, arrive, store, take
from wetread.jobs.store import Store
from wetread.records import Document, Filed

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


def test_the_page_and_the_json_go_nowhere(store: Store) -> None:
    read(store, Document("HTML", "p.html", b"p"), Document("ORU", "x", b"not filed"))
    assert waiting(store) == []
