"""What is held is found by its headers, on both databases; what an index of an earlier release knows, too."""

from __future__ import annotations

from tests.jobs.test_store import admit, arrive, sr, store, take
from tests.wire.objects import SR, film
from wetread.jobs.store import Store
from wetread.wire import qido
from wetread.wire.queryable import KEYS, Level

__all__ = ["store"]


def found(store: Store, level: Level, **match: str) -> list[str]:
    asked = qido.asked(level, match.items(), {})
    return [row[KEYS[level]] for row in store.held.search(asked, 10)]


def test_objects_and_documents_are_found(store: Store) -> None:
    admit(store, *(arrive(store, f"1.{n}.1", f"1.{n}") for n in (3, 1, 2)))
    assert found(store, Level.STUDY) == ["1.1", "1.2", "1.3"]
    admit(store, arrive(store, "1.2.2", "1.2"))
    assert found(store, Level.INSTANCE, StudyInstanceUID="1.2") == ["1.2.1", "1.2.2"]
    store.studies.complete("1.1")
    store.studies.finish(take(store), [(sr("1.9.1", film("1.1", "1.9.1", 32, SR)), {})], "")
    assert found(store, Level.INSTANCE, StudyInstanceUID="1.1", SOPClassUID=SR) == ["1.9.1"]
    (blob,) = store.held.blobs({"SOPInstanceUID": "1.9.1"})
    assert not blob.received
    assert store.held.get(blob) == film("1.1", "1.9.1", 32, SR)


def test_matching_is_the_same_on_both_databases(store: Store) -> None:
    admit(store, arrive(store))
    for given, hit in (
        ({"PatientName": "CANARY^patient"}, True),
        ({"PatientName": "Canary"}, False),
        ({"PatientName": "Can?ry*"}, True),
        ({"PatientID": "CANARY-ID-77"}, True),
        ({"PatientID": "canary-id-77"}, False),
        ({"PatientID": "*-id-7?"}, True),
        ({"PatientID": "CANARY\\*"}, False),
        ({"Modality": "CR"}, True),
        ({"ModalitiesInStudy": "CT\\CR"}, True),
        ({"ModalitiesInStudy": "CT"}, False),
        ({"StudyDate": "20200101-"}, False),
        ({"SeriesInstanceUID": "1.2.3.1,1.2.4"}, True),
    ):
        assert bool(found(store, Level.STUDY, **given)) is hit, given


def test_a_blob_that_is_gone_hides_nothing_else(store: Store) -> None:
    gone = arrive(store, "1.1.1", "1.1")
    admit(store, gone, arrive(store, "1.2.1", "1.2"))
    store.spool.remove(gone.digest)
    assert found(store, Level.STUDY) == ["1.2"]
    assert found(store, Level.STUDY) == ["1.2"]


def test_what_is_deleted_is_described_no_more(store: Store) -> None:
    admit(store, arrive(store, "1.1.1", "1.1"), arrive(store, "1.2.1", "1.2"))
    assert found(store, Level.STUDY) == ["1.1", "1.2"]
    store.studies.complete("1.1")
    job = take(store)
    store.studies.finish(job, [(sr("1.9.1", film("1.1", "1.9.1", 32, SR)), {"PACS@127.0.0.1:104": ("SR",)})], "")
    assert len(found(store, Level.INSTANCE)) == 3
    (parcel,) = store.parcels.waiting("PACS@127.0.0.1:104", frozenset(), 9)
    store.parcels.delivered(parcel)
    assert store.removals.remove(job, "age") == 2
    assert found(store, Level.INSTANCE) == ["1.2.1"]
    with store._index.reading() as connection:
        rows = connection.exec_driver_sql('SELECT "PatientName", "SOPInstanceUID" FROM described').all()
    assert [tuple(row) for row in rows] == [("Canary^Patient", "1.2.1")]
