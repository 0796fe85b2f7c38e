"""CT and MR series through the whole row: what is outlined and found lies where it lies in the patient."""

from __future__ import annotations

import hashlib
import html
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from tests import phantoms, slices, toy
from tests.infer.faulty import Faulty
from wetread import acquire, pipeline
from wetread.acquire.series import loose
from wetread.acquire.studies import read_each
from wetread.errors import NotRead
from wetread.infer import foreseen
from wetread.infer.gate import Gate
from wetread.infer.host import Rest
from wetread.infer.model import Series
from wetread.infer.regions import regions
from wetread.records import Circumstances, Image, Reading, Result
from wetread.routes import Route
from wetread.settings import Settings

SHAPE = (12, 48, 44)
#: 6, 5 and 4 mm off the middle of the volume to the left, back and head.
CENTRE = np.array([-30 + 22 + 6, -40 + 24 + 5, 10 + 18 + 4.0])
FLAIR: dict[str, Any] = {"SeriesDescription": "Ax FLAIR", "BodyPartExamined": "BRAIN"}
T1: dict[str, Any] = {"SeriesDescription": "t1_mprage", "BodyPartExamined": None}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Reader:
    folder = tmp_path_factory.mktemp("toy")
    return pipeline.open_reader(Settings(models=toy.make_series_models(folder / "models"), state=folder / "state"))


def ball(frame: slices.Frame = slices.AXIAL, radius: float = 9.0, shape: tuple[int, int, int] = SHAPE) -> slices.Ints:
    return textured(slices.balls(frame, shape, CENTRE[None], (radius,), (800,)))


def textured(volume: slices.Ints) -> slices.Ints:
    """The volume with a grain that no model sees: air is no single value."""
    grain = np.random.default_rng(0).integers(0, 60, volume.shape).astype(np.int16)
    return np.where(volume == -1000, volume + grain, volume)


def cine(body_part: str) -> Dataset:
    """Frames in a class of which nobody knows that they are slices."""
    return phantoms.make_film(
        ball().astype(np.int64) + 1024,
        bits=(16, 16, 15),
        modality="CT",
        SOPClassUID=uid.UltrasoundMultiFrameImageStorage,
        BodyPartExamined=body_part,
    )


def overlap(mask: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """Dice; the outline of a voxel more or less is the grid's own."""
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def read(reader: pipeline.Reader, parts: Sequence[Dataset]) -> Reading:
    (reading,) = reader.read_blobs(slices.blobs(parts))
    return reading


def counting(reader: pipeline.Reader) -> tuple[pipeline.Reader, Faulty]:
    """The reader with an engine below the hearts in CT that counts."""
    (one,) = [item for item in reader.models if item.model.id == "ct-heart"]
    engine = Faulty(one.engine, "")
    return replace(reader, models=(replace(one, engine=engine),)), engine


@pytest.mark.parametrize(
    "frame", [slices.AXIAL, slices.random_frame(np.random.default_rng(3))], ids=["axial", "oblique"]
)
def test_slices_that_were_looked_at_are_not_asked_again(reader: pipeline.Reader, frame: slices.Frame) -> None:
    """In whatever order they came, and the documents are the same."""
    reader, engine = counting(reader)
    parts = slices.series(ball(frame), frame)
    expected = read(reader, parts)
    coming = np.random.default_rng(1).permutation(len(parts))
    for some in np.array_split(coming, 4):
        given = ((name, "", data) for name, data in slices.blobs([parts[number] for number in some]))
        reader.foresee(loose(list(read_each(given, reader.settings, acquire.Assumption()))))
    assert engine.calls > 1
    asked = engine.calls
    found = read(reader, parts)
    assert engine.calls == asked
    for one, other in zip(found.result.regions, expected.result.regions, strict=True):
        assert np.array_equal(one.mask, other.mask)
    assert [one.kind for one in found.documents] == [one.kind for one in expected.documents]
    assert (expected.foreseen, found.foreseen) == (0, len(parts))
    assert read(reader, parts).foreseen == 0
    assert engine.calls == asked + 1  # nothing is kept for a second reading


def test_what_no_model_reads_is_not_looked_at(reader: pipeline.Reader) -> None:
    reader, engine = counting(reader)
    study = acquire.decode(slices.blobs(slices.series(ball(), modality="MR")), reader.settings)[0]
    reader.foresee(study.images)
    ct = acquire.decode(slices.blobs(slices.series(ball())), reader.settings)[0]
    with reader.turns.first():
        reader.foresee(ct.images)  # somebody is in a hurry
    assert not engine.calls
    broken = Faulty(engine, "lost", after=0)
    replace(reader, models=(replace(reader.models[0], engine=broken),)).foresee(ct.images)
    assert broken.calls == 1


def test_an_engine_that_failed_is_left_alone_by_early_slices(reader: pipeline.Reader) -> None:
    reader, engine = counting(reader)
    (model,) = reader.models
    (image,) = acquire.decode(slices.blobs(slices.series(ball())), reader.settings)[0].images
    rest = Rest()
    rest.begin("ENGINE-FAILED")
    replace(reader, models=(replace(model, rest=rest),)).foresee([image])
    assert not engine.calls
    reader.foresee([image])
    assert engine.calls


def test_models_that_a_rule_forbids_are_not_asked_early(reader: pipeline.Reader) -> None:
    reader, engine = counting(reader)
    (image,) = acquire.decode(slices.blobs(slices.series(ball())), reader.settings)[0].images
    for rule in (Route(modality=("CT",), models=()), Route(modality=("CT",), models_not=("ct-heart",))):
        replace(reader, settings=replace(reader.settings, routes=(rule,))).foresee([image])
    assert not engine.calls
    rules = (Route(modality=("MR",), models=()), Route(calling_ae=("ED",), models=()))
    replace(reader, settings=replace(reader.settings, routes=rules)).foresee([image])
    assert engine.calls


def test_nothing_is_asked_early_of_which_the_answer_would_be_lost(
    reader: pipeline.Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreseen, "MOST_BYTES", 1)
    reader, engine = counting(replace(reader, foreseen=foreseen.Foreseen()))
    (image,) = acquire.decode(slices.blobs(slices.series(ball())), reader.settings)[0].images
    reader.foresee([image])
    asked = engine.calls
    reader.foresee([image])
    assert engine.calls == asked > 0
    reader.foresee([replace(image, study_uid="1.2.3")])
    assert engine.calls == 2 * asked


def test_a_longer_series_gets_documents_of_its_own(reader: pipeline.Reader) -> None:
    """A slice that came late: the new documents stand beside the old ones, name them, and replace no bytes."""
    parts = slices.series(ball())
    first = read(reader, parts[:-1])
    earlier = Circumstances(tuple(one.data for one in first.documents if one.sop_class_uid))
    (second,) = reader.read_blobs(slices.blobs(parts), earlier)
    before, after = (
        {one.kind: one.sop_instance_uid for one in reading.documents if one.sop_class_uid}
        for reading in (first, second)
    )
    assert set(before) == set(after) >= {"SR", "SEG"}
    assert not set(before.values()) & set(after.values())
    assert second.result.revision is not None
    assert second.result.revision.late == 1
    assert [one.sop_instance_uid for one in second.result.revision.replaced] == [before["SR"]]
    (again,) = reader.read_blobs(slices.blobs(parts[:-1]), earlier)  # nothing was added to this part
    assert [one.data for one in again.documents if one.kind == "SR"] == list(earlier.earlier[1:2])


def test_slices_that_were_deleted_are_missing(reader: pipeline.Reader) -> None:
    parts = slices.series(ball())
    uid = str(parts[0].SeriesInstanceUID)
    (reading,) = reader.read_blobs(slices.blobs(parts), Circumstances(lost=frozenset((uid,))))
    assert reading.result.refusal is not None
    assert reading.result.refusal.code == "MISSING-SLICES"
    (other,) = reader.read_blobs(slices.blobs(parts), Circumstances(lost=frozenset((f"{uid}.1",))))
    assert other.result.refusal is None


def test_a_study_that_crashed_at_last_names_what_was_read_before(reader: pipeline.Reader) -> None:
    parts = slices.series(ball())
    first = read(reader, parts[:-1])
    earlier = Circumstances(tuple(one.data for one in first.documents if one.sop_class_uid))
    files = [(name, hashlib.sha256(data).hexdigest(), data) for name, data in slices.blobs(parts)]
    (aside,) = reader.set_aside(first.result.study_uid, files, "Read in vain 3 times.", earlier)
    sr = pydicom.dcmread(io.BytesIO(aside.documents[0].data))
    (named,) = sr.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID in {one.sop_instance_uid for one in first.documents if one.kind == "SR"}


def result_of(reader: pipeline.Reader, volume: slices.Ints, modality: str = "CT", **attributes: Any) -> Result:
    result = read(reader, slices.series(volume, modality=modality, **attributes)).result
    assert result.refusal is None, result.refusal
    return result


def code_of(reader: pipeline.Reader, parts: Sequence[Dataset]) -> str:
    reading = read(reader, parts)
    assert reading.result.refusal is not None
    assert not reading.result.findings
    assert not reading.result.regions
    assert {document.kind for document in reading.documents} == {"SR", "HTML", "JSON"}
    sr = pydicom.dcmread(io.BytesIO(reading.documents[0].data))
    evidence = sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert {one.ReferencedSOPInstanceUID for one in evidence} == {part.SOPInstanceUID for part in parts}
    return reading.result.refusal.code


def centroid(image: Image, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """In the patient, (x, y, z) mm."""
    assert image.spacing_mm is not None
    assert image.directions is not None
    centre = np.array([axis.mean() for axis in np.nonzero(mask)])
    return np.asarray(np.array(image.positions_mm[0]) + (centre * image.spacing_mm) @ np.array(image.directions))


def test_slice_wise_outline_of_a_series(reader: pipeline.Reader) -> None:
    volume = ball()
    result = result_of(reader, volume)
    (region,) = result.regions
    assert region.label == "Heart"
    assert overlap(region.mask, volume == 800) > 0.95
    (size,) = region.measurements
    assert (size.code.value, size.unit.value) == ("118565006", "ml")
    assert size.value == pytest.approx(region.mask.sum() * 3.0 / 1000)
    assert size.value == pytest.approx(4 / 3 * np.pi * 0.9**3, rel=0.1)
    assert [model.id for model in result.models] == ["ct-heart"]


def test_a_follow_up_keeps_its_tracking_identifier_and_another_person_has_another(reader: pipeline.Reader) -> None:
    first = result_of(reader, ball(), PatientID="P1").regions[0]
    later = result_of(reader, ball(radius=8.0), PatientID="P1", StudyInstanceUID="1.2.3.4").regions[0]
    other = result_of(reader, ball(), PatientID="P2").regions[0]
    nobody = [result_of(reader, ball(), PatientID="").regions[0].tracking_uid for _ in range(2)]
    assert first.tracking_uid == later.tracking_uid
    assert first.tracking_id == later.tracking_id
    assert first.measurements != later.measurements
    assert other.tracking_uid != first.tracking_uid
    assert nobody[0] == nobody[1] != first.tracking_uid
    assert "P1" not in first.tracking_uid + first.tracking_id


def test_only_the_largest_part_stays(reader: pipeline.Reader) -> None:
    volume = ball()
    volume[1, 2:5, 2:5] = 900
    (region,) = result_of(reader, volume).regions
    assert not region.mask[1, 2:5, 2:5].any()
    assert overlap(region.mask, volume == 800) > 0.95


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_outline_lies_where_the_ball_lies_in_any_geometry(reader: pipeline.Reader, modality: str, seed: int) -> None:
    """Slice by slice, and as a volume that the model wants upright."""
    rng = np.random.default_rng(seed)
    turned = slices.random_frame(rng)
    frame = slices.Frame(turned.origin, turned.across, turned.down, (2.5, 1.1, 0.9))
    shape = (14, 40, 44)
    middle = frame.places(shape).reshape(-1, 3).mean(0) + rng.uniform(-2, 2, 3)
    volume = slices.balls(frame, shape, middle[None], (11.0,), (800,))
    parts = slices.series(volume, frame, modality, **(T1 if modality == "MR" else {}))
    result = read(reader, [parts[index] for index in rng.permutation(len(parts))]).result
    assert result.refusal is None
    assert result.image is not None
    (region,) = result.regions
    away = centroid(result.image, region.mask) - centroid(result.image, volume == 800)
    axes = np.stack([frame.normal, frame.down, frame.across])
    assert np.abs(axes @ away / frame.spacing).max() <= 0.5
    assert region.measurements[0].value == pytest.approx(4 / 3 * np.pi * 1.1**3, rel=0.12)


def test_findings_of_a_series_and_the_slices_that_show_them(reader: pipeline.Reader) -> None:
    volume = ball()
    result = result_of(reader, volume, BodyPartExamined="HEAD")
    (finding,) = result.findings
    share = (volume == 800).mean((1, 2))
    positive = np.flatnonzero(share > 0.017)
    assert finding.present
    assert finding.slices == tuple(positive)
    assert finding.peak == share.argmax()
    (explanation,) = result.explanations
    assert explanation.slice == finding.peak
    assert explanation.organ == "body"
    assert explanation.map.shape == SHAPE[1:]
    centre = np.array([axis.mean() for axis in np.nonzero(volume[finding.peak] == 800)])
    hottest = np.array([axis.mean() for axis in np.nonzero(explanation.map > 0.9 * explanation.map.max())])
    assert np.abs(hottest - centre).max() < 5
    assert result.regions == ()


def test_a_classifier_without_a_map_is_read_without_an_explanation(tmp_path: Path) -> None:
    graph = onnx.load_model_from_string(toy.bleed_graph())
    del graph.graph.output[1]
    folder = tmp_path / "models" / "ct-bleed"
    head = {"body_part": ["HEAD"]}
    toy.make_series_model(folder, "classification", graph.SerializeToString(), toy.BLEED, toy.CT_WINDOW, **head)
    reader = pipeline.open_reader(Settings(models=tmp_path / "models", state=tmp_path / "state"))
    result = result_of(reader, ball(), BodyPartExamined="HEAD")
    assert result.findings[0].present
    assert result.explanations == ()


def test_series_without_a_positive_slice(reader: pipeline.Reader) -> None:
    volume = ball()
    volume[volume == 800] = -300
    (finding,) = result_of(reader, volume, BodyPartExamined="HEAD").findings
    assert not finding.present
    assert finding.slices == ()


def test_joint_model_gives_finding_and_outline(reader: pipeline.Reader) -> None:
    volume = ball()
    result = result_of(reader, volume, "MR", **FLAIR)
    (finding,), (region,) = result.findings, result.regions
    assert finding.present
    assert region.category.meaning == "Morphologically Altered Structure"
    assert overlap(region.mask, volume == 800) > 0.95
    assert result.explanations[0].slice == finding.peak


def test_joint_model_outlines_nothing_where_it_finds_nothing(reader: pipeline.Reader) -> None:
    volume = ball(radius=3.5)
    result = result_of(reader, volume, "MR", **FLAIR)
    assert not result.findings[0].present
    assert result.regions == ()


def test_mean_of_the_three_highest_slices(reader: pipeline.Reader) -> None:
    """One bright slice alone does not carry a series whose model pools three, and is not named as if it did."""
    volume = textured(np.full(SHAPE, -1000, np.int16))
    volume[5, 10:40, 10:40] = 800
    (finding,) = result_of(reader, volume, "MR", **FLAIR).findings
    assert (finding.slices, finding.peak) == ((), 5)
    assert finding.probability == pytest.approx(1 / 3, abs=0.01)
    assert not finding.present


def test_single_slice_for_a_slice_wise_model(reader: pipeline.Reader) -> None:
    volume = ball()[7:8]
    (region,) = result_of(reader, volume).regions
    assert region.measurements[0].unit.value == "cm2"
    assert region.measurements[0].value == pytest.approx((volume == 800).sum() / 100, rel=0.1)
    (finding,) = result_of(reader, volume, BodyPartExamined="HEAD").findings
    assert finding.present
    assert finding.slices == ()


@pytest.mark.parametrize("kept", [True, False])
def test_slices_are_named_as_the_pacs_counts_them(reader: pipeline.Reader, kept: bool) -> None:
    """Scanned from the head: the first image is the topmost; without numbers it is said from where we count."""
    parts = slices.series(ball(), modality="MR", **FLAIR)
    for number, part in zip(range(len(parts), 0, -1), parts, strict=True):
        part.InstanceNumber = number if kept else None
    reading = read(reader, parts)
    page, told = (next(one.data for one in reading.documents if one.kind == kind) for kind in ("HTML", "JSON"))
    (finding,) = reading.result.findings
    assert finding.slices == (5, 6, 7, 8, 9, 10)  # counted from the feet, from 0
    captions = [picture.caption for picture in reading.result.pictures]
    image = json.loads(told)["image"]
    if kept:
        assert b"On images 2 to 7<" in page
        assert captions[0] == "Image 5, stretched for display. The picture's right is the patient's left"
        assert captions[-1] == "Images 7, 6, 5, 4, 3, 2"
        assert image["instance_numbers"] == list(range(12, 0, -1))
    else:
        assert b"On slices 6 to 11 of 12, counted from the feet<" in page
        told_at = "Slice 8 of 12, counted from the feet, stretched for display."
        assert captions[0] == f"{told_at} The picture's right is the patient's left"
        assert captions[-1] == "Slices 6, 7, 8, 9, 10, 11 of 12, counted from the feet"
        assert "instance_numbers" not in image


@pytest.mark.parametrize(
    ("across", "down", "side", "letters"),
    [
        ((1, 0, 0), (0, 1, 0), "left", ["L", "P"]),
        ((-1, 0, 0), (0, -1, 0), "right", ["R", "A"]),  # scanned prone
        ((-1, 0, 0), (0, 0.8, -0.6), "right", ["R", "PF"]),
    ],
)
def test_pictures_of_slices_say_which_side_is_where(
    reader: pipeline.Reader, across: Any, down: Any, side: str, letters: list[str]
) -> None:
    """A viewer marks the sides of the SC by Patient Orientation; the page has no such marks."""
    frame = replace(slices.AXIAL, across=np.array(across, float), down=np.array(down, float))
    reading = read(reader, slices.series(ball(), frame))
    made = {one.kind: one.data for one in reading.documents}
    assert f"The picture's right is the patient's {side}" in html.unescape(made["HTML"].decode())
    assert pydicom.dcmread(io.BytesIO(made["SC"])).PatientOrientation == letters


def test_enhanced_object_gives_the_same_outline(reader: pipeline.Reader) -> None:
    volume = ball()
    order = [*range(0, 12, 2), *range(1, 12, 2)]
    result = read(reader, [slices.enhanced(volume, order=order)]).result
    assert result.refusal is None
    assert overlap(result.regions[0].mask, volume == 800) > 0.95


CORONAL = slices.Frame(np.array([-30.0, -40, 60]), np.array([1.0, 0, 0]), np.array([0, 0, -1.0]), (3.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        (slices.series(ball(), modality="MR", Modality="NM"), "WRONG-MODALITY"),
        (slices.series(ball(), BodyPartExamined="KNEE"), "WRONG-BODY-PART"),
        (slices.series(ball(), modality="MR", SeriesDescription="T2 tse"), "WRONG-SERIES"),
        (slices.series(ball(), modality="MR", **{**FLAIR, "SeriesDescription": "flair scout"}), "WRONG-SERIES"),
        (slices.series(ball(), CORONAL, "MR", **FLAIR), "WRONG-PLANE"),
        (slices.series(ball()[6:9], modality="MR", **T1), "TOO-FEW-SLICES"),
        (slices.series(ball(), modality="CT", ImageType=["DERIVED", "SECONDARY", "MPR"]), "SECONDARY-IMAGE"),
        (slices.series(np.minimum(ball(), 0)), "IMPLAUSIBLE-MASK"),
        (
            slices.series(np.maximum(ball(), 500) + slices.AXIAL.places(SHAPE)[..., 0].astype(np.int16)),
            "IMPLAUSIBLE-MASK",
        ),
        (slices.series(ball(radius=4.0), modality="MR", **T1), "IMPLAUSIBLE-MASK"),
        (slices.series(ball(), BodyPartExamined=None)[:3] + slices.series(ball())[4:], "MISSING-SLICES"),
        ([cine("CHEST")], "MULTI-FRAME"),
        ([cine("HEAD")], "MULTI-FRAME"),
    ],
)
def test_what_no_model_reads_is_refused_with_a_code(reader: pipeline.Reader, parts: list[Dataset], code: str) -> None:
    assert code_of(reader, parts) == code


def test_an_empty_mask_has_no_volume_whatever_a_voxel_has(reader: pipeline.Reader) -> None:
    loaded = next(one for one in reader.models if one.model.id == "mr-heart")
    image = read(reader, slices.series(ball(), modality="MR", **T1)).result.image
    assert image is not None
    image = replace(image, spacing_mm=None)
    with pytest.raises(NotRead, match=r"expected 0\.5 to 500 ml, got 0 ml"):
        regions(loaded, image, [np.zeros(image.pixels.shape, np.bool_)])


def test_absent_body_part_reaches_only_models_that_judge_by_the_pixels(reader: pipeline.Reader) -> None:
    result = result_of(reader, ball(), BodyPartExamined=None)
    assert [model.id for model in result.models] == ["ct-heart"]
    assert [(one.model.id, one.refusal.code) for one in result.not_read] == [("ct-bleed", "MISSING-TAG")]


def test_what_one_model_cannot_answer_leaves_the_other_its_answer(reader: pipeline.Reader) -> None:
    """Nothing that can be a heart, and no bleed: the second stands, the first is named."""
    here = replace(reader.models[0].model, body_part=("CHEST",), series=Series())
    assert here.id == "ct-bleed"
    models = (replace(reader.models[0], model=here), *reader.models[1:])
    result = read(pipeline.Reader(models, reader.settings), slices.series(np.minimum(ball(), -300))).result
    assert [finding.present for finding in result.findings] == [False]
    assert [(one.model.id, one.refusal.code) for one in result.not_read] == [("ct-heart", "IMPLAUSIBLE-MASK")]
    assert [model.id for model in result.models] == ["ct-bleed"]


@pytest.mark.parametrize(("gate", "code"), [(Gate(), "IMPLAUSIBLE-MASK"), (Gate(certain=1.0), "UNCERTAIN")])
def test_a_refusal_names_who_answered_where_another_engine_stood_in(
    reader: pipeline.Reader, gate: Gate, code: str
) -> None:
    bleed, heart = reader.models[:2]
    spare = replace(heart, model=replace(heart.model, gate=gate))
    gpu = replace(heart.identity, engine="cuda", device="GPU")
    lost = replace(spare, engine=Faulty(spare.engine, "lost", 0), identity=gpu, spare=spare, rest=Rest())
    here = replace(bleed, model=replace(bleed.model, body_part=("CHEST",), series=Series()))
    parts = slices.series(np.minimum(ball(), -300))
    (unread,) = read(pipeline.Reader((here, lost), reader.settings), parts).result.not_read
    assert (unread.model.id, unread.refusal.code) == ("ct-heart", code)
    assert unread.model == replace(heart.identity, instead_of="cuda ENGINE-FAILED")


def test_model_of_the_head_finds_it_without_another_model(reader: pipeline.Reader) -> None:
    """All that it sees is the ball, so even the slices at its ends show much of what is bright."""
    model = reader.models[0].model
    here = replace(model, recipe=replace(model.recipe, region="head"), body_part=("CHEST",), series=Series())
    result = read(
        pipeline.Reader((replace(reader.models[0], model=here),), reader.settings), slices.series(ball())
    ).result
    assert [one.id for one in result.models] == ["ct-bleed"]
    assert np.isin(np.flatnonzero((ball() == 800).any((1, 2))), result.findings[0].slices).all()


def test_reformat_is_read_where_the_model_takes_it(reader: pipeline.Reader) -> None:
    parts = slices.series(ball(), modality="MR", ImageType=["DERIVED", "SECONDARY", "AXIAL"], **T1)
    assert read(reader, parts).result.refusal is None
