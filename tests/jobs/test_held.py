"""What is held is found by its headers, on both databases; what an index of an earlier release knows, too."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import BinaryIO, NoReturn

import pytest

from tests.jobs.test_store import admit, arrive, sr, store, take
from tests.wire.objects import CR, SR, data_set, element, film
from wetread.errors import StoreError
from wetread.jobs.held import REPORT
from wetread.jobs.instances import Arrival
from wetread.jobs.resources import Wanted
from wetread.jobs.spool import UnreadableBlob
from wetread.jobs.store import Store
from wetread.records import Document
from wetread.wire import qido
from wetread.wire.part10 import BEGINNING, EXPLICIT_LITTLE, Meta, beginning, header
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


def test_of_a_study_all_reports_are_given_or_none(store: Store) -> None:
    for study, uids in (("1.1", ("1.9.1", "1.9.2")), ("1.2", ("1.9.3",))):
        admit(store, arrive(store, f"{study}.1", study))
        store.studies.complete(study)
        store.studies.finish(take(store), [(sr(uid, film(study, uid, 32, REPORT)), {}) for uid in uids], "")
    about = {"PatientID": "CANARY-ID-77", "IssuerOfPatientID": "", "StudyInstanceUID": "1.9", "StudyDate": "99991231"}
    given = [sorted(store.held.reports(about, most).values()) for most in (1, 2, 3)]
    assert given == [[], ["1.1", "1.1"], ["1.1", "1.1", "1.2"]]


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
        ({"ModalitiesInStudy": "CT,c*"}, True),
        ({"ModalitiesInStudy": "?R"}, True),
        ({"ModalitiesInStudy": "*T"}, False),
        ({"StudyDate": "20200101-"}, False),
        ({"SeriesInstanceUID": "1.2.3.1,1.2.4"}, True),
    ):
        assert bool(found(store, Level.STUDY, **given)) is hit, given


@pytest.mark.parametrize(
    ("time", "hits", "misses"),
    [
        (
            b"101500",
            ("101500.000-110000", "101500.000000-", "-101500", "-1015", "10-11"),
            ("101501-", "-101459.999999"),
        ),
        (b"1015", ("101530-11", "-101500.5", "1015-"), ("1016-", "-101459")),
        (b"101500.25", ("101500.25-", "101500-101500", "-101500.250000"), ("101500.3-", "-101500.1")),
    ],
)
def test_ranges_are_as_precise_as_what_is_known(
    store: Store, time: bytes, hits: tuple[str, ...], misses: tuple[str, ...]
) -> None:
    data = header(CR, "1.1.1", EXPLICIT_LITTLE) + element(0x00080030, "TM", time) + data_set("1.1", "1.1.1")
    admit(store, Arrival(CR, "1.1.1", "1.1", EXPLICIT_LITTLE, "T", store.spool.put(data), len(data)))
    for asked in (*hits, *misses):
        assert bool(found(store, Level.STUDY, StudyTime=asked)) is (asked in hits), asked


def test_a_blob_that_is_gone_hides_nothing_else(store: Store) -> None:
    gone = arrive(store, "1.1.1", "1.1")
    admit(store, gone, arrive(store, "1.2.1", "1.2"))
    store.spool.remove(gone.digest)
    assert found(store, Level.STUDY) == ["1.2"]
    assert found(store, Level.STUDY) == ["1.2"]


def test_a_blob_that_the_disk_does_not_give_hides_nothing_else_and_is_found_when_it_does(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wetread.jobs.held.BATCH", 1)
    bad = {arrive(store, f"1.{n}.1", f"1.{n}").digest for n in (1, 2)}
    admit(store, *(arrive(store, f"1.{n}.1", f"1.{n}") for n in (1, 2, 3, 4)))
    with monkeypatch.context() as patch:
        for error in (errno.EIO, errno.ESTALE):

            def failing(file: BinaryIO, last: int, error: int = error) -> tuple[memoryview, Meta]:
                if Path(file.name).name in bad:
                    raise OSError(error, os.strerror(error))
                return beginning(file, last)

            patch.setattr("wetread.jobs.spool.beginning", failing)
            assert found(store, Level.STUDY) == ["1.3", "1.4"]
    assert found(store, Level.STUDY) == ["1.1", "1.2", "1.3", "1.4"]


def test_a_bundle_that_the_disk_does_not_give_hides_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wetread.jobs.resources.BATCH", 1)
    admit(store, arrive(store))
    store.studies.complete("1.2.3")
    entries = [{"fullUrl": f"urn:uuid:{n}", "resource": {"resourceType": "Device"}} for n in (1, 2, 3)]
    bundles = [json.dumps({"entry": [one]}).encode() for one in entries]
    store.studies.finish(take(store), [(Document("FHIR", "fhir.json", one), {}) for one in bundles], "")
    get, bad = store.made.get, {hashlib.sha256(one).hexdigest() for one in bundles[:2]}

    def failing(digest: str) -> bytes:
        if digest in bad:
            raise UnreadableBlob("spool: blob cannot be read: Input/output error")
        return get(digest)

    def devices() -> list[str]:
        return sorted(one["id"] for one in store.resources.search(Wanted("Device"), 10)[0])

    with monkeypatch.context() as patch:
        patch.setattr(store.made, "get", failing)
        assert devices() == ["3"]
    assert devices() == ["1", "2", "3"]
    monkeypatch.setattr(store.made, "get", failing)
    assert devices() == ["3"]


def test_a_search_fails_where_no_blob_can_be_opened_for_want_of_handles(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit(store, arrive(store))

    def failing(file: BinaryIO, last: int) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("wetread.jobs.spool.beginning", failing)
    with pytest.raises(StoreError, match="cannot be read"):
        found(store, Level.STUDY)


def test_what_stands_behind_the_first_megabyte_of_a_header_is_found(store: Store) -> None:
    head = header(CR, "1.1.1", EXPLICIT_LITTLE)
    long = element(0x00081111, "UN", bytes(2 * BEGINNING))
    data = head + long + data_set("1.1", "1.1.1")
    made = Arrival(CR, "1.1.1", "1.1", EXPLICIT_LITTLE, "T", store.spool.put(data), len(data))
    admit(store, made)
    assert found(store, Level.STUDY, PatientID="CANARY-ID-77") == ["1.1"]


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
