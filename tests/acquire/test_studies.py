"""Grouping: one study a UID, duplicates, mixed patients, order."""

from __future__ import annotations

import hashlib
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from pydicom import uid

from tests import phantoms, slices
from wetread.acquire import decode, given_up
from wetread.errors import NotRead
from wetread.records import Study
from wetread.settings import Settings


def film(number: int = 1, **attributes: Any) -> tuple[str, bytes]:
    """Make the film with this instance number."""
    made = phantoms.make_film(
        **{"SOPInstanceUID": f"{phantoms.INSTANCE}.{number}", "InstanceNumber": number, **attributes}
    )
    return f"{number}.dcm", phantoms.to_bytes(made)


def read(*blobs: tuple[str, bytes]) -> tuple[Study, ...]:
    return decode(blobs, Settings())


def codes(study: Study) -> list[str]:
    return [rejected.refusal.code for rejected in study.rejected]


def test_one_study_for_each_study_instance_uid() -> None:
    studies = read(film(1), film(2, StudyInstanceUID=f"{phantoms.ROOT}.2"), film(3))
    assert [study.study_uid for study in studies] == [phantoms.STUDY, f"{phantoms.ROOT}.2"]
    assert [len(study.images) for study in studies] == [2, 1]


def test_the_order_does_not_depend_on_arrival() -> None:
    films = [film(number) for number in (1, 2, 3, 10)]
    (forth,), (back,) = read(*films), read(*reversed(films))
    assert [image.source for image in forth.images] == ["1.dcm", "2.dcm", "3.dcm", "10.dcm"]
    assert [image.sop_uids for image in forth.images] == [image.sop_uids for image in back.images]


def test_identical_bytes_count_once() -> None:
    (study,) = read(film(1), film(1), ("copy.dcm", film(1)[1]))
    assert (len(study.images), study.rejected) == (1, ())


def test_one_uid_for_two_contents_is_refused_twice() -> None:
    (study,) = read(film(1), film(1, ViewPosition="AP"), film(2))
    assert codes(study) == ["DUPLICATE-UID", "DUPLICATE-UID"]
    assert [image.source for image in study.images] == ["2.dcm"]


def test_a_duplicate_in_another_study_is_refused_too() -> None:
    studies = read(film(1), film(1, StudyInstanceUID=f"{phantoms.ROOT}.2"))
    assert [codes(study) for study in studies] == [["DUPLICATE-UID"], ["DUPLICATE-UID"]]


def test_two_patients_in_one_study_refuse_all_of_it() -> None:
    for other in ({"PatientID": "SOMEONE-ELSE"}, {"IssuerOfPatientID": "ELSEWHERE"}, {"PatientID": ""}):
        (study,) = read(film(1), film(2, **other), film(3))
        assert codes(study) == ["MIXED-PATIENTS"] * 3
        assert study.images == ()
        assert all(rejected.header.StudyInstanceUID == phantoms.STUDY for rejected in study.rejected)
        text = " ".join(rejected.refusal.detail for rejected in study.rejected)
        assert not any(secret in text for secret in (*phantoms.SECRETS, "SOMEONE-ELSE", "ELSEWHERE"))


@pytest.mark.parametrize("crashed", [False, True])
def test_no_refusal_about_one_patient_names_the_slices_of_another(crashed: bool) -> None:
    slices_ = slices.series(np.zeros((6, 20, 20), np.int16))
    for number in (1, 4):
        slices_[number].PatientID = "SOMEONE-ELSE"
    files = [(name, hashlib.sha256(data).hexdigest(), data) for name, data in slices.blobs(slices_)]
    if crashed:
        rejected = given_up(files, NotRead("CRASHED", "in vain"), Settings())
    else:
        (rejected,) = [study.rejected for study in read(*((name, data) for name, _, data in files))]
    told = {one.header.PatientID: set(one.sop_uids) for one in rejected}
    assert len(rejected) == 2
    for one in slices_:
        assert one.SOPInstanceUID in told[one.PatientID]
    assert sum(map(len, told.values())) == len(slices_)


def test_without_patient_id_name_and_birth_date_tell_patients_apart() -> None:
    (study,) = read(film(1, PatientID=""), film(2, PatientID="", PatientName="Other^Person"))
    assert codes(study) == ["MIXED-PATIENTS"] * 2
    (study,) = read(film(1, PatientID=""), film(2, PatientID="", PatientName="CANARY^Patient^^"))
    assert study.rejected == ()


def test_a_patient_id_may_be_missing() -> None:
    (study,) = read(film(1, PatientID=None, PatientName=None))
    assert len(study.images) == 1


def test_a_refused_instance_of_another_patient_mixes_patients_too() -> None:
    (study,) = read(film(1), film(2, PatientID="SOMEONE-ELSE", photometric="RGB"))
    assert sorted(codes(study)) == ["COLOUR-IMAGE", "MIXED-PATIENTS"]


def test_files_of_no_study_stand_alone() -> None:
    studies = read(("a.txt", b"a" * 200), film(1), ("b.txt", b"b" * 200))
    assert [study.study_uid for study in studies] == ["", phantoms.STUDY, ""]


def test_an_image_knows_where_it_comes_from() -> None:
    (study,) = read(film(7))
    (image,) = study.images
    assert (image.modality, image.body_part, image.view) == ("CR", "CHEST", "PA")
    assert (image.study_uid, image.series_uid) == (phantoms.STUDY, phantoms.SERIES)
    assert image.sop_uids == (f"{phantoms.INSTANCE}.7",)
    assert image.source == "7.dcm"
    assert len(image.digest) == 64


def test_nothing_arrived() -> None:
    assert read() == ()


def test_threads_may_decode_at_once() -> None:
    blobs = [film(number, syntax=uid.JPEGLSLossless) for number in range(1, 5)]
    before, results = list(warnings.filters), []
    threads = [threading.Thread(target=lambda: results.append(read(*blobs))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(studies[0].images) for studies in results] == [4] * 4
    assert list(warnings.filters) == before
