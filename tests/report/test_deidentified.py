"""Results go out de-identified: sound documents that agree with the copies of their images, and nobody's words."""

from __future__ import annotations

import copy
import io
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword

from tests import phantoms
from tests.peers import require
from tests.report import phantom, series
from tests.report.conftest import HEADERS, WANTED
from tests.report.test_peers import ALLOWED, UNKNOWN, source_files
from tests.report.test_redrawn import NAME, corrected
from wetread import report
from wetread.acquire.deidentify import Ledger, Profile, deidentify, deidentify_result, reidentify
from wetread.errors import BadInput
from wetread.records import Document, Result
from wetread.report.identity import OPTIONAL, REQUIRED
from wetread.report.reviewed import Review, verified

Documents = Callable[[str], dict[str, Document]]
KINDS = ("SR", "SEG", "PM", "KOS", "GSPS", "LABELMAP")
CASES = (*HEADERS, "refused", "partial", "late", "followed", *series.KINDS)
PROFILES = (Profile(), Profile(frozenset({"device"})), Profile(frozenset({"dates", "institution"})))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger") as made:
        yield made


def read(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


def copies(documents: dict[str, Document], ledger: Ledger, profile: Profile = PROFILES[0]) -> dict[str, bytes]:
    return {kind: deidentify_result(one.data, profile, ledger).data for kind, one in documents.items() if kind in KINDS}


def planted(kind: str) -> tuple[Dataset, list[str]]:
    """A header with a canary in every text that our documents take over, and in codes and requests."""
    header, found = phantom.header(kind), []
    for number, keyword in enumerate((*REQUIRED, *OPTIONAL)):
        vr = dictionary_VR(tag_for_keyword(keyword) or 0)
        if vr in ("LO", "SH", "PN", "LT", "ST", "UT") and not keyword.startswith("Deidentification"):
            canary = f"Canary{number:04d}"
            header.add(DataElement(tag_for_keyword(keyword) or 0, vr, canary))
            found.append(canary)
    code, request = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "Canary 9001", "SCT", "Canary9002"
    header.ProcedureCodeSequence, header.PatientSpeciesCodeSequence = [code], [copy.deepcopy(code)]
    registration = Dataset()
    registration.BreedRegistrationNumber, registration.BreedRegistryCodeSequence = "Canary9008", [copy.deepcopy(code)]
    header.PatientBreedCodeSequence, header.BreedRegistrationSequence = [copy.deepcopy(code)], [registration]
    request.RequestedProcedureID, request.RequestedProcedureDescription = "Canary9003", "Canary9004"
    header.RequestAttributesSequence = [request]
    header.StudyDate, header.ContentDate = "20240407", "20240408"
    return header, [*found, *(f"Canary{mark}9{number:03d}" for number in range(1, 9) for mark in ("", " "))]


def with_canaries() -> tuple[list[dict[str, Document]], list[str]]:
    """Documents of a result that was read, beside a prior; of one that was refused; of one that a person reviewed."""
    header, canaries = planted("spacing")
    header.PatientID, header.IssuerOfPatientID = "9RG1", ""
    now = phantom.result("real")
    assert now.image is not None
    now = replace(now, header=header, study_uid=header.StudyInstanceUID, image=replace(now.image, header=header))
    before = tuple(report.reported(phantom.reports(phantom.earlier(header={"StudyDate": "20240107"}))))
    before = tuple(
        replace(
            one, prior=replace(one.prior, groups=tuple(replace(g, tracking_id="Canary9005") for g in one.prior.groups))
        )
        for one in before
    )
    now = replace(now, priors=report.priors(now, before, 1))
    assert now.priors
    refusal = phantom.refused().refusal
    assert refusal is not None
    refused = replace(now, findings=(), regions=(), explanations=(), pictures=(), models=(), priors=(), image=None)
    refused = replace(refused, refusal=replace(refusal, detail="expected CHEST, got Canary9006"))
    made = [{one.kind: one for one in report.documents(one, "Canary9007 Hospital", WANTED)} for one in (now, refused)]
    person = Review(
        "correct", "Canary9001^Jane", "Canary9005", "urn:oid:1", "Canary9003", "2024-04-09T10:10:10Z", text="Canary9004"
    )
    return [*made, {"SR": verified(made[0]["SR"].data, person)}], canaries


@pytest.mark.parametrize("profile", PROFILES)
def test_no_canary_survives_in_a_result(ledger: Ledger, profile: Profile) -> None:
    sets, canaries = with_canaries()
    before = b"".join(one.data for made in sets for kind, one in made.items() if kind in KINDS)
    there = [canary for canary in canaries if canary.encode() in before]
    assert len(there) > 25
    header, _ = planted("spacing")
    there += [str(header[name].value) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    there += [] if "dates" in profile.options else ["20240407", "20240408", "20240409", "20240107", "2024-01-07"]
    if "institution" in profile.options:  # by which the table keeps these
        kept = {"Canary9007", *(header[name].value for name in ("ClinicalTrialSiteID", "ClinicalTrialSiteName"))}
        there = [one for one in there if one not in kept]
    for made in sets:
        for kind, data in copies(made, ledger, profile).items():
            assert [canary for canary in there if canary.encode() in data] == [], kind


@pytest.mark.parametrize("by", ["MANUAL", "SEMIAUTOMATIC"])
def test_nobody_learns_who_corrected_a_mask(ledger: Ledger, by: str) -> None:
    """Nor what that person's program was called; the model's name stays."""
    data = corrected("ct", "BINARY", by).document.data
    assert NAME.encode() in data
    made = copies({"SEG": Document("SEG", "", data)}, ledger)["SEG"]
    assert report.check(made) == ()
    assert not [one for one in (NAME, "Grow from seeds") if one.encode() in made]
    assert [one.get("SegmentAlgorithmType") for one in read(made).SegmentSequence] == [by, "AUTOMATIC"]
    assert read(made).SegmentSequence[1].SegmentAlgorithmName == read(data).SegmentSequence[1].SegmentAlgorithmName


@pytest.mark.parametrize("kind", CASES)
def test_copies_pass_our_checker(kind: str, documents_of: Documents, ledger: Ledger) -> None:
    made = copies(documents_of(kind), ledger)
    assert made
    for data in made.values():
        assert report.check(data) == ()


@pytest.mark.peer
@pytest.mark.parametrize("kind", CASES)
def test_dciodvfy_finds_no_error_in_copies(kind: str, documents_of: Documents, ledger: Ledger, tmp_path: Path) -> None:
    program = require("dciodvfy", "dicom3tools")
    known = {**ALLOWED, "Retired Person Name form": "a pseudonym is one word"}
    for name, data in copies(documents_of(kind), ledger).items():
        if name in UNKNOWN:
            continue
        (tmp_path / name).write_bytes(data)
        done = subprocess.run([program, str(tmp_path / name)], capture_output=True, text=True, timeout=30, check=False)
        said = [line for line in done.stderr.splitlines() if "Error" in line or "Warning" in line]
        assert [line for line in said if "Error" in line or not any(one in line for one in known)] == []


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["spacing", "ct"])
def test_dcentvfy_finds_copies_of_images_and_results_to_be_of_one_study(
    kind: str, documents_of: Documents, ledger: Ledger, tmp_path: Path
) -> None:
    program = require("dcentvfy", "dicom3tools")
    profile = replace(Profile(), pixels_clean=True)
    made = {one.name: deidentify(one.read_bytes(), profile, ledger).data for one in source_files(kind, tmp_path)}
    made |= {name: data for name, data in copies(documents_of(kind), ledger).items() if name not in UNKNOWN}
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in made]
    done = subprocess.run([program, *paths], capture_output=True, text=True, timeout=30, check=False)
    # An accession number is compared between study and series level, where it means two things.
    noise = "Element=<AccessionNumber> IE <Study> versus <Series>"
    assert [line for line in done.stderr.splitlines() if line.strip() and noise not in line] == []


def test_a_copy_is_always_the_same_and_agrees_with_those_of_its_images(
    documents_of: Documents, result_of: Callable[[str], Result], ledger: Ledger
) -> None:
    """Same UIDs, same patient, dates moved by the same days."""
    made = documents_of("real")
    film = phantoms.make_film(BurnedInAnnotation="NO")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID", "PatientName", "StudyDate"):
        setattr(film, keyword, result_of("real").header[keyword].value)
    image = read(deidentify(phantoms.to_bytes(film), Profile(), ledger).data)
    first = copies(made, ledger)
    assert first == copies(made, ledger)
    for data in first.values():
        document = read(data)
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "StudyDate"):
            assert document[keyword].value == image[keyword].value
        assert document.PatientIdentityRemoved == "YES"
    seg = read(first["SEG"])
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == image.SeriesInstanceUID
    assert (
        seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
    )
    evidence = read(first["SR"]).CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert seg.SOPInstanceUID in {one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in evidence}


@pytest.mark.parametrize("kind", ["SC", "PDF"])
def test_what_shows_the_image_never_goes(kind: str, documents_of: Documents, ledger: Ledger) -> None:
    with pytest.raises(BadInput, match="may show the patient"):
        deidentify_result(documents_of("real")[kind].data, Profile(), ledger)


def test_a_copy_comes_home_as_it_was(documents_of: Documents, ledger: Ledger) -> None:
    """All UIDs and the identity; dates of its own stay moved."""
    made = documents_of("real")["SEG"]
    back = read(reidentify(copies({"SEG": made}, ledger)["SEG"], ledger))
    whole = read(made.data)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "PatientName", "StudyDate"):
        assert back[keyword].value == whole[keyword].value
    assert "PatientIdentityRemoved" not in back
    assert "DeidentificationMethodCodeSequence" not in back
    assert "LongitudinalTemporalInformationModified" not in back
