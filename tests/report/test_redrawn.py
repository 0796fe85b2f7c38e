"""Masks that a person drew with another program: they replace ours, wherever our documents tell of them."""

from __future__ import annotations

import io
import json
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import RLELossless

from tests import slices
from tests.acquire.test_hostile import mutated
from tests.peers import require
from tests.report import drawn as by_hand
from tests.report import phantom, series
from tests.report.others import dcmqi, of_dcmqi
from tests.report.test_priors import ct, one_of_both
from tests.report.test_reviewed import FILED, container, review
from wetread import report
from wetread.acquire import decode
from wetread.contain.viewer import Viewer
from wetread.errors import BadInput, DecoderDied, NotRead
from wetread.infer.regions import measure
from wetread.records import Code, Mask, Result, SegmentFrame
from wetread.report import codes
from wetread.report.fhir.signed import signed as bundle_of
from wetread.report.fhir.site import Site
from wetread.report.previous import said
from wetread.report.redrawn import Redrawn, redrawn
from wetread.report.reviewed import verdicts, verified
from wetread.report.signed import signed as message_of
from wetread.report.words import decimal
from wetread.settings import Settings
from wetread.wire.hl7 import parse

NAME, DIGEST = "Doe^Jane", "ab" * 32
REVIEW = review("correct", segmentation="1.2.3")
#: Order of the slices of the images in what a viewer makes of them.
ORDERS = {"ct": [4, 0, 8, 1, 7, 2, 6, 3, 5], "mr-enhanced": [8, 0, 7, 1, 6, 2, 5, 3, 4], "slice": [0]}


@lru_cache(maxsize=8)
def result(kind: str) -> Result:
    made = series.result(kind) if kind in series.KINDS else phantom.result(kind)
    return replace(made, read_at="2026-11-29T00:00:00Z")


@lru_cache(maxsize=8)
def made(kind: str) -> dict[str, bytes]:
    site = Site("R4", {"PATIENT": "urn:oid:1.2.3"})
    return {one.kind: one.data for one in report.documents(result(kind), "", ("FHIR", "ORU"), site=site)}


def masks(kind: str) -> list[Mask]:
    """The first region is larger than the model has it, the second one as it was."""
    first, second = result(kind).regions
    return [by_hand.grown(first.mask) & ~second.mask, second.mask]


def images(kind: str) -> list[Dataset]:
    found = series.sources(kind)
    return [found[one] for one in ORDERS[kind]] if len(found) > 1 else found


@lru_cache(maxsize=8)
def drawn(kind: str, how: str = "BINARY", by: str = "MANUAL", tracked: bool = True) -> bytes:
    described = [by_hand.description(one, n, by, tracked) for n, one in enumerate(result(kind).regions, 1)]
    return by_hand.drawn(images(kind), [one[ORDERS[kind]] for one in masks(kind)], described, how)


def corrected(kind: str, *given: Any) -> Redrawn:
    return redrawn(made(kind)["SEG"], by_hand.read(drawn(kind, *given)), NAME, DIGEST)


def read(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


@pytest.mark.parametrize("how", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("kind", series.KINDS)
def test_masks_of_a_person_stand_where_they_were_drawn(kind: str, how: str) -> None:
    seg = pytest.importorskip("highdicom.seg")
    after = corrected(kind, how)
    here = result(kind)
    (told,) = after.sizes.items()
    size = measure(masks(kind)[0], image_of(kind), here.regions[0].type, None)
    assert (told[0], told[1].value, told[1].unit) == (
        here.regions[0].tracking_uid,
        decimal(size.value),
        size.unit.value,
    )
    assert told[1].value != decimal(here.regions[0].measurements[0].value)
    read_ = seg.segread(io.BytesIO(after.document.data))
    if kind == "mr-enhanced":
        frames = [place + 1 for place in np.argsort(ORDERS[kind])]
        found = read_.get_pixels_by_source_frame(
            series.sources(kind)[0].SOPInstanceUID, frames, assert_missing_frames_are_empty=True
        )
    else:
        found = read_.get_pixels_by_source_instance(series.uids(kind), assert_missing_frames_are_empty=True)
    for number, mask in enumerate(masks(kind)):
        assert np.array_equal(found[..., number] > 0, mask)


def image_of(kind: str) -> Any:
    return result(kind).image


def test_what_was_drawn_is_the_persons_and_the_rest_is_not() -> None:
    before, after = read(made("ct")["SEG"]), read(corrected("ct").document.data)
    assert report.check(after) == ()
    first, second = after.SegmentSequence
    assert first.SegmentAlgorithmType == "MANUAL"
    assert not {"SegmentAlgorithmName", "SegmentationAlgorithmIdentificationSequence"} & set(first.dir())
    assert (first.TrackingUID, first.TrackingID) == (before.SegmentSequence[0].TrackingUID, "Liver")
    assert second == before.SegmentSequence[1]
    assert (after.ContentCreatorName, after.InstanceNumber) == (NAME, 2)
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID != after.SOPInstanceUID
    assert after.SeriesInstanceUID == before.SeriesInstanceUID
    assert corrected("ct") == corrected("ct")


def test_a_program_that_helped_is_named() -> None:
    first = read(corrected("ct", "BINARY", "SEMIAUTOMATIC").document.data).SegmentSequence[0]
    assert (first.SegmentAlgorithmType, first.SegmentAlgorithmName) == ("SEMIAUTOMATIC", "Grow from seeds")
    assert "SegmentationAlgorithmIdentificationSequence" not in first


def test_segments_are_told_by_type_or_label_too() -> None:
    here, size = result("ct"), corrected("ct").sizes
    assert corrected("ct", "BINARY", "MANUAL", False).sizes == size
    tissue = Code("85756007", "SCT", "Tissue")
    described = [by_hand.description(one, n, tracked=False, type=tissue) for n, one in enumerate(here.regions, 1)]
    data = by_hand.drawn(series.sources("ct"), masks("ct"), described)
    assert redrawn(made("ct")["SEG"], by_hand.read(data), NAME, DIGEST).sizes == size


def test_a_region_that_was_not_drawn_stays_as_it_was() -> None:
    here = result("ct")
    data = by_hand.drawn(series.sources("ct"), [masks("ct")[0]], [by_hand.description(here.regions[0], 1)])
    assert redrawn(made("ct")["SEG"], by_hand.read(data), NAME, DIGEST).document.data == corrected("ct").document.data


def test_masks_on_uneven_slices_lie_where_those_of_ours_do() -> None:
    """A series that is read may leave its even places by more than a mask may lie beside its image."""
    sources = series.sources("ct")
    up = np.cross(series.FRAME.across, series.FRAME.down)
    for one, off_mm in zip(sources, (0, 0, 0.15, 0.3, 0.3, 0.3, 0.15, 0, 0), strict=True):
        place = np.array(one.ImagePositionPatient, float) + off_mm * up
        one.ImagePositionPatient = [f"{value:.6f}" for value in place]
    ((image,),) = [study.images for study in decode(slices.blobs(sources), Settings())]
    here = replace(result("ct"), image=image, header=image.header, digest=image.digest)
    (ours,) = [one.data for one in report.documents(here) if one.kind == "SEG"]
    described = [by_hand.description(one, number) for number, one in enumerate(here.regions, 1)]
    told = by_hand.read(by_hand.drawn(sources, masks("ct"), described))
    size = measure(masks("ct")[0], image, here.regions[0].type, None)
    assert [one.value for one in redrawn(ours, told, NAME, DIGEST).sizes.values()] == [decimal(size.value)]


def frames(**changes: Any) -> Callable[[SegmentFrame], SegmentFrame]:
    return lambda frame: replace(frame, **changes)


def misfits() -> Iterator[tuple[str, Any, str]]:
    told = by_hand.read(drawn("ct"))
    there = told.frames[0].position_mm

    def every(change: Callable[[SegmentFrame], SegmentFrame]) -> Any:
        return replace(told, frames=tuple(map(change, told.frames)))

    yield "another study", replace(told, study_uid="1.2.3"), "one of this study"
    yield "another frame of reference", replace(told, frame_of_reference="1.2.3"), "frame of reference"
    yield "fewer rows", replace(told, pixels=told.pixels[:, 1:]), "44 rows"
    yield "turned", replace(told, directions=(0.0, 1.0, 0.0, 1.0, 0.0, 0.0)), "turned or mirrored"
    yield "other pixels", replace(told, spacing_mm=(0.7, 0.8)), "0.75 x 0.8 mm"
    yield "another image", every(frames(sop_uid="1.2.3")), "another image"
    yield "nowhere", every(frames(sop_uid="", position_mm=())), "names none"
    yield "two places", every(frames(position_mm=there)), "two that differ"
    yield "between slices", every(frames(sop_uid="", position_mm=(there[0], there[1], there[2] + 1.0))), "beside"
    yield "far away", every(frames(sop_uid="", position_mm=(1e300, 0.0, 0.0))), "beside"
    yield "no such segment", every(frames(segment=7)), "segments that it describes"
    yield "empty", replace(told, pixels=told.pixels * 0), "something in each segment"
    other = tuple(
        replace(one, tracking_uid="", label="Spleen", type=Code("1", "SCT", "Spleen")) for one in told.segments
    )
    yield "no region of ours", replace(told, segments=other), r"Liver \(2.25.3000\), Tumor"
    twice = (told.segments[0], replace(told.segments[0], number=2))
    yield "one region twice", replace(told, segments=twice), "each another"


@pytest.mark.parametrize("name", [name for name, _, _ in misfits()])
def test_what_does_not_fit_is_refused(name: str) -> None:
    given, words = next((given, words) for one, given, words in misfits() if one == name)
    with pytest.raises(BadInput, match=words):
        redrawn(made("ct")["SEG"], given, NAME, DIGEST)


def test_the_same_mask_corrects_nothing() -> None:
    with pytest.raises(BadInput, match="differs"):
        redrawn(made("ct")["SEG"], by_hand.read(made("ct")["SEG"]), NAME, DIGEST)


def test_a_film_is_drawn_on_too() -> None:
    """Our own stands for that of a viewer: highdicom makes none of an image without a frame of reference."""
    told = by_hand.read(made("spacing")["SEG"])
    pixels = told.pixels.copy()
    pixels[0, :50] = 1
    after = redrawn(made("spacing")["SEG"], replace(told, pixels=pixels), NAME, DIGEST)
    size = measure(pixels[:1] > 0, image_of("spacing"), phantom.LUNG, None)
    assert [(one.value, one.unit) for one in after.sizes.values()] == [(decimal(size.value), "cm2")]
    assert report.check(read(after.document.data)) == ()


@pytest.mark.parametrize("kind", ["ct", "mr-enhanced"])
def test_report_message_and_bundle_say_the_persons_size(kind: str) -> None:
    documents, after = made(kind), corrected(kind)
    ((uid, size),) = after.sizes.items()
    judged = verdicts(documents["SR"], REVIEW)
    structured = read(verified(documents["SR"], REVIEW, "", after).data)
    assert report.check(structured) == ()
    group = next(one for one in container(structured, "126010").ContentSequence if uid in str(one))
    told = {one.ConceptNameCodeSequence[0].CodeValue: one for one in group.ContentSequence}
    (number,) = [one for one in group.ContentSequence if one.ValueType == "NUM"]
    assert str(number.MeasuredValueSequence[0].NumericValue) == size.value
    assert (told["121005"].ConceptCodeSequence[0].CodeValue, str(told["121008"].PersonName)) == ("121006", NAME)
    assert not {"111001", "111003"} & set(told)
    assert after.before not in str(structured)
    assert after.document.sop_instance_uid in str(structured.CurrentRequestedProcedureEvidenceSequence)

    message = parse(message_of(documents["ORU"], REVIEW, judged, FILED, False, after))
    lines = message.all("OBX")
    (place,) = {one.text(4) for one in lines if one.text(5) == uid}
    inside = [one for one in lines if one.text(4) == place]
    (value,) = [one for one in inside if one.text(2) == "NM"]
    assert (value.text(5), value.text(11), value.text(16)) == (size.value, "F", "1234567")
    assert not any(one.text(17) or one.text(18) for one in inside)
    assert [one.text(5) for one in lines if one.text(3) == "121191"] == [after.document.sop_instance_uid] * 2
    text = next(one for one in lines if one.text(2) == "TX")
    assert any(f"Liver: {size.value} ml, outlined by a person" in field for field in text.fields)

    bundle = json.loads(bundle_of(documents["FHIR"], REVIEW, judged, "2.25.7", False, after))
    found = [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "Observation"]
    theirs = [one for one in found if one.get("method", {}).get("text") == "Outlined by a person"]
    assert [one["valueQuantity"]["value"] for one in theirs if "valueQuantity" in one] == [float(size.value)]
    assert all("device" not in one and one["status"] == "corrected" for one in theirs)
    assert len([one for one in found if "device" in one]) == len(found) - len(theirs)


def test_a_persons_size_is_a_prior_that_is_compared_with_none() -> None:
    before, now = ct("2.25.9", "20040801"), ct("2.25.10", "20040901")
    documents = {one.kind: one.data for one in report.documents(before)}
    told = replace(by_hand.read(drawn("ct")), study_uid=before.study_uid)
    after = redrawn(documents["SEG"], told, NAME, DIGEST)
    known = report.reported([documents["SR"], verified(documents["SR"], REVIEW, "", after).data])
    (prior,) = report.priors(now, tuple(known), 1)
    (group,) = [one for one in prior.groups if one.tracking_uid in after.sizes]
    assert [decimal(one.value) for one in group.values] == [one.value for one in after.sizes.values()]
    with_prior = replace(now, priors=(prior,))
    region = next(one for one in now.regions if one.tracking_uid == group.tracking_uid)
    assert said(with_prior, region) == ["Prior 2004-08-01: 2.928 ml, by a person: not comparable"]
    (sr,) = phantom.reports(with_prior)
    assert report.check(sr, now.header) == ()
    assert b"Read by a person" in sr


def test_a_tumour_that_was_found_and_outlined_keeps_its_probability_from_the_algorithm() -> None:
    """Finding and region have one tracking identifier; the person drew, and found nothing."""
    found = replace(one_of_both("2.25.9", "20040801", 80), read_at="2026-11-29T00:00:00Z")
    before = one_of_both("2.25.8", "20030801", 70)
    found = replace(found, priors=report.priors(found, tuple(report.reported(phantom.reports(before))), 1))
    site = Site("R4", {"PATIENT": "urn:oid:1.2.3"})
    documents = {one.kind: one.data for one in report.documents(found, "", ("FHIR", "ORU"), site=site)}
    (region,) = found.regions
    told = by_hand.drawn(images("ct"), [by_hand.grown(region.mask)[ORDERS["ct"]]], [by_hand.description(region, 1)])
    after = redrawn(documents["SEG"], replace(by_hand.read(told), study_uid=found.study_uid), NAME, DIGEST)
    ((uid, size),) = after.sizes.items()
    assert uid == found.findings[0].tracking_uid
    judged = verdicts(documents["SR"], REVIEW)
    structured = read(verified(documents["SR"], REVIEW, "", after).data)
    assert report.check(structured) == ()
    probable, outlined = container(structured, "126010").ContentSequence
    names = [
        {one.ConceptNameCodeSequence[0].CodeValue for one in each.ContentSequence} for each in (probable, outlined)
    ]
    assert {"122157", "THRESHOLD", "111001"} <= names[0]
    assert "121008" not in names[0]
    assert "121008" in names[1]
    earlier = container(structured, "121068").ContentSequence
    differ = [any(codes.DIFFERENCE.value in str(one) for one in each.ContentSequence) for each in earlier]
    assert differ == [True, False]  # the probability is compared as before, the person's mask with nothing

    lines = parse(message_of(documents["ORU"], REVIEW, judged, FILED, False, after)).all("OBX")
    (probability,) = [one for one in lines if one.text(3) == "122157"]
    (volume,) = [one for one in lines if one.text(3) == "118565006"]
    assert (probability.text(16), bool(probability.text(17))) == ("", True)
    assert (volume.text(5), volume.text(16), volume.text(17)) == (size.value, "1234567", "")

    bundle = json.loads(bundle_of(documents["FHIR"], REVIEW, judged, "2.25.7", False, after))
    found_ = [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == "Observation"]
    (verdict,) = [one for one in found_ if "valueCodeableConcept" in one]
    assert verdict["method"]["text"] != "Outlined by a person"
    assert (verdict["status"], "device" in verdict) == ("final", True)
    sizes = [one["valueQuantity"]["value"] for one in found_ if "valueQuantity" in one]
    assert sizes == [float(size.value)]


@pytest.mark.parametrize("part", ["ABDOMEN", "SKIN"])
def test_a_tumour_is_not_its_own_place(part: str) -> None:
    found = replace(one_of_both("2.25.9", "20040801", 80), read_at="2026-11-29T00:00:00Z")
    found.header.BodyPartExamined = part
    site = Site("R4", {"PATIENT": "urn:oid:1.2.3"})
    documents = {one.kind: one.data for one in report.documents(found, "", ("FHIR", "ORU"), site=site)}
    places = ["818981001"] if part == "ABDOMEN" else []
    _, outlined = container(read(documents["SR"]), "126010").ContentSequence
    volume = next(one for one in outlined.ContentSequence if one.ValueType == "NUM")
    for node in (outlined, volume):
        inner = [
            one for one in node.get("ContentSequence", []) if one.ConceptNameCodeSequence[0].CodeValue == "363698007"
        ]
        assert [one.ConceptCodeSequence[0].CodeValue for one in inner] == places
    lines = parse(documents["ORU"]).all("OBX")
    assert [one.text(5) for one in lines if one.text(3) == "363698007"] == places * 2
    entries = [one["resource"] for one in json.loads(documents["FHIR"])["entry"]]
    bodies = [one for one in entries if one["resourceType"] == "BodyStructure"]
    assert {tuple(place["code"] for place in one.get("location", {}).get("coding", ())) for one in bodies} == {
        tuple(places)
    }


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["ct", "mr-enhanced"])
def test_other_programs_accept_what_is_made(kind: str, tmp_path: Path) -> None:
    program = require("dciodvfy", "dicom3tools")
    after = corrected(kind)
    files = {"seg": after.document.data, "sr": verified(made(kind)["SR"], REVIEW, "", after).data}
    for name, data in files.items():
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(data)
        done = subprocess.run([program, str(path)], capture_output=True, text=True, timeout=60, check=False)
        assert not [line for line in done.stderr.splitlines() if line.startswith("Error")], done.stderr
    dcmqi("segimage2itkimage", "--inputDICOM", tmp_path / "seg.dcm", "--outputDirectory", tmp_path)


@pytest.mark.peer
def test_what_dcmqi_writes_lies_on_the_same_voxels(tmp_path: Path) -> None:
    """3D Slicer writes with it.  It draws just what our phantom's model did."""
    theirs = of_dcmqi(tmp_path)
    for kind in ("binary", "labelmap"):
        told = by_hand.read(theirs[f"SEG {kind}"])
        with pytest.raises(BadInput, match="differs"):
            redrawn(made("ct")["SEG"], told, NAME, DIGEST)
        pixels = told.pixels.copy()
        pixels[0, 0, 0] = 1
        after = redrawn(made("ct")["SEG"], replace(told, pixels=pixels), NAME, DIGEST)
        liver = result("ct").regions[0]
        more = measure(np.append(liver.mask.ravel(), True).reshape(-1, 1, 1), image_of("ct"), liver.type, None)
        assert [one.value for one in after.sizes.values()] == [decimal(more.value)]


def test_compressed_frames_are_read() -> None:
    described = [by_hand.description(one, n) for n, one in enumerate(result("ct").regions, 1)]
    data = by_hand.drawn(series.sources("ct"), masks("ct"), described, "LABELMAP", transfer_syntax_uid=RLELossless)
    assert redrawn(made("ct")["SEG"], by_hand.read(data), NAME, DIGEST).sizes == corrected("ct").sizes


def test_damaged_segmentations_hurt_nobody() -> None:
    chance = random.Random(7)
    answers = set()
    viewer = Viewer(Settings(decoder_cpu_s=5.0))
    try:
        for data in (drawn("ct"), drawn("ct", "LABELMAP")):
            for _ in range(60):
                try:
                    redrawn(made("ct")["SEG"], viewer.segmentation(mutated(data, chance)), NAME, DIGEST)
                    answers.add("drawn")
                except (NotRead, BadInput, DecoderDied) as error:
                    answers.add(error.why if isinstance(error, DecoderDied) else type(error).__name__)
    finally:
        viewer.close()
    assert {"drawn", "NotRead", "BadInput"} <= answers
    assert not {"LIE", "ERROR"} & answers


@pytest.mark.parametrize("keyword", ["SegmentationType", "PerFrameFunctionalGroupsSequence", "SegmentSequence", "Rows"])
def test_what_is_no_segmentation_is_not_read(keyword: str) -> None:
    data = read(drawn("ct"))
    delattr(data, keyword)
    file = io.BytesIO()
    data.save_as(file)
    with pytest.raises((NotRead, BadInput)):
        redrawn(made("ct")["SEG"], by_hand.read(file.getvalue()), NAME, DIGEST)
