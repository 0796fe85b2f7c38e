"""The whole row on real and made films: whatever comes in, a result with its documents comes out."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file

from tests import toy
from tests.infer.faulty import Faulty
from wetread import acquire, explain, pipeline, report
from wetread.errors import DocumentError, EngineError, ModelError
from wetread.evidence.film import film_for_every_model, real_film
from wetread.infer.host import Rest
from wetread.records import Circumstances, Document, Reading, Result, Tensor
from wetread.settings import STEPS, Settings, load, parse_destination

KINDS = {"SEG", "SR", "PM", "SC", "HTML", "JSON"}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Reader:
    folder = tmp_path_factory.mktemp("toy")
    return pipeline.open_reader(Settings(models=toy.make_models(folder / "models"), state=folder / "state"))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> pipeline.Reader:
    return pipeline.open_reader(load(state=tmp_path_factory.mktemp("state"), environ={}))


def read_one(reader: pipeline.Reader, data: bytes) -> Reading:
    (reading,) = reader.read_blobs([("film.dcm", data)])
    return reading


def test_study_of_a_lost_graphics_processor_is_read_by_the_processor(reader: pipeline.Reader) -> None:
    """Every answer, and so every document, names who answered; nothing of it is lost."""
    lost = tuple(
        replace(
            one,
            engine=Faulty(one.engine, "lost", 0),
            identity=replace(one.identity, engine="cuda", device="GPU"),
            spare=one,
            rest=Rest(),
        )
        for one in reader.models
    )
    data = film_for_every_model()
    plain, fallen = read_one(reader, data), read_one(replace(reader, models=lost), data)
    assert {model.instead_of for model in fallen.result.models} == {"cuda ENGINE-FAILED"}
    assert {model.device for model in fallen.result.models} == {"CPU"}
    assert {finding.model.engine for finding in fallen.result.findings} == {reader.models[0].identity.engine}
    assert [(one.kind, one.name) for one in fallen.documents] == [(one.kind, one.name) for one in plain.documents]
    kinds = ("SR", "SEG", "PM", "SC")
    assert [d.data for d in fallen.documents if d.kind in kinds] == [d.data for d in plain.documents if d.kind in kinds]


def edited(**changes: object) -> bytes:
    """The real film with other attributes; None deletes one."""
    film = pydicom.dcmread(real_film())
    for name, value in changes.items():
        if value is None:
            delattr(film, name)
        else:
            setattr(film, name, value)
    out = io.BytesIO()
    film.save_as(out)
    return out.getvalue()


def test_only_the_models_for_the_images_are_loaded(shipped: pipeline.Reader) -> None:
    """What is said of an image does not depend on it: a refusal names what each model asks for."""
    leg = Path(str(get_testdata_file("RG3_UNCR.dcm"))).read_bytes()
    for data, models in ((film_for_every_model(), ["cxr-lungs", "cxr-pneumonia"]), (leg, [])):
        ((image,),) = [study.images for study in acquire.decode([("film.dcm", data)], shipped.settings)]
        few = pipeline.open_reader(shipped.settings, images=[image])
        assert [one.model.id for one in few.models] == models
        results = [read_one(reader, data).result for reader in (few, shipped)]
        assert results[0].refusal == results[1].refusal
        assert results[0].findings == results[1].findings


def test_real_film_through_the_shipped_models(shipped: pipeline.Reader) -> None:
    reading = read_one(shipped, film_for_every_model())
    result = reading.result
    assert result.refusal is None
    assert result.not_read == ()
    assert {d.kind for d in reading.documents} == KINDS
    assert [f.code.meaning for f in result.findings] == ["Pneumonia"]
    assert 0.0 <= result.findings[0].probability <= 1.0
    assert [r.label for r in result.regions] == ["Right lung", "Left lung"]
    right, left = (region.mask[0] for region in result.regions)
    assert right.shape == (1955, 1841)
    assert 0.08 < right.mean() < 0.3
    assert 0.08 < left.mean() < 0.3
    # Patient Orientation L\F: columns grow towards the patient's left, so the right lung is at the picture's left.
    assert right[:, :900].sum() > 0.9 * right.sum()
    assert left[:, 900:].sum() > 0.9 * left.sum()
    assert {"acquire", "prepare", "infer", "explain", "draw", "report"} == {t.stage for t in reading.timings}
    assert {m.id for m in result.models} == {"cxr-lungs", "cxr-pneumonia"}
    assert all(m.sha256 and m.device_uid and m.engine_version for m in result.models)


def test_an_adult_keeps_the_lungs_and_is_told_that_pneumonia_was_not_read(shipped: pipeline.Reader) -> None:
    reading = read_one(shipped, real_film().read_bytes())
    result = reading.result
    assert result.refusal is None
    assert [r.label for r in result.regions] == ["Right lung", "Left lung"]
    assert result.findings == ()
    assert [m.id for m in result.models] == ["cxr-lungs"]
    (unread,) = result.not_read
    assert (unread.model.id, unread.refusal.code) == ("cxr-pneumonia", "OUTSIDE-AGE")
    assert [code.meaning for code in unread.about] == ["Pneumonia"]
    assert {d.kind for d in reading.documents} == KINDS - {"PM"}
    for document in reading.documents:
        if document.kind in ("SR", "HTML", "JSON"):
            assert b"OUTSIDE-AGE" in document.data


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"PatientBirthDate": ""}, "MISSING-TAG"),
        ({"PatientBirthDate": None, "PatientAge": "000Y"}, "MISSING-TAG"),
        ({"PatientAge": "004Y"}, "OUTSIDE-AGE"),  # the birth date says 64
        ({"PatientBirthDate": "", "PatientAge": "006Y"}, "OUTSIDE-AGE"),
    ],
)
def test_an_age_that_is_not_known_or_contradicts_itself_is_not_guessed(
    shipped: pipeline.Reader, changes: dict[str, object], code: str
) -> None:
    result = read_one(shipped, edited(**changes)).result
    assert [unread.refusal.code for unread in result.not_read] == [code]
    assert result.findings == ()
    assert len(result.regions) == 2


def test_a_crop_of_a_ct_is_not_a_chest(shipped: pipeline.Reader) -> None:
    """128 pixels of 0.66 mm, cut out of a larger slice."""
    reading = read_one(shipped, Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())
    assert reading.result.refusal is not None
    assert reading.result.refusal.code == "SMALL-FIELD"
    assert "at least 200 mm a side, got 85 x 85 mm" in reading.result.refusal.detail


def test_leg_is_refused_by_its_header(shipped: pipeline.Reader) -> None:
    reading = read_one(shipped, Path(str(get_testdata_file("RG3_UNCR.dcm"))).read_bytes())
    assert reading.result.refusal is not None
    assert reading.result.refusal.code == "WRONG-BODY-PART"
    assert {d.kind for d in reading.documents} == {"SR", "HTML", "JSON"}


def test_leg_without_a_header_is_refused_by_its_pixels(shipped: pipeline.Reader) -> None:
    film = pydicom.dcmread(str(get_testdata_file("RG3_UNCR.dcm")))
    del film.BodyPartExamined, film.ViewPosition
    out = io.BytesIO()
    film.save_as(out)
    reading = read_one(shipped, out.getvalue())
    assert reading.result.refusal is not None
    assert reading.result.refusal.code == "NOT-A-CHEST"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Modality": "MG"}, "WRONG-MODALITY"),
        ({"BodyPartExamined": "SKULL"}, "WRONG-BODY-PART"),
        ({"ViewPosition": "LL"}, "WRONG-VIEW"),
        ({"ViewPosition": "", "PatientOrientation": ["A", "F"]}, "WRONG-VIEW"),
        ({"ViewPosition": "PA", "PatientOrientation": ["P", "F"]}, "WRONG-VIEW"),
        ({"PatientOrientation": ["L", "H"]}, "WRONG-VIEW"),
        ({"PatientOrientation": ["F", "R"]}, "WRONG-VIEW"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "FOR-PROCESSING"),
        ({"PhotometricInterpretation": None}, "MISSING-TAG"),
        ({"PixelData": b"\0" * 1000}, "TRUNCATED-PIXELS"),
        ({"PixelData": b"\0" * (1955 * 1841 * 2)}, "BLANK-IMAGE"),
    ],
)
def test_every_refusal_is_a_document_too(reader: pipeline.Reader, changes: dict[str, object], code: str) -> None:
    reading = read_one(reader, edited(**changes))
    assert reading.result.refusal is not None
    assert reading.result.refusal.code == code
    assert {d.kind for d in reading.documents} == {"SR", "HTML", "JSON"}
    sr = pydicom.dcmread(io.BytesIO(next(d.data for d in reading.documents if d.kind == "SR")))
    assert code in str(sr)
    assert not reading.result.findings
    assert not reading.result.regions


@pytest.mark.parametrize(("towards", "fits"), [("A", False), ("P", False), ("L", True), ("R", True)])
def test_a_film_without_a_view_is_lateral_where_its_rows_run_to_the_front_or_back(
    reader: pipeline.Reader, towards: str, fits: bool
) -> None:
    result = read_one(reader, edited(ViewPosition="", PatientOrientation=[towards, "F"])).result
    assert (result.refusal is None) == fits
    assert fits or (result.refusal is not None and "Patient Orientation (0020,0020)" in result.refusal.detail)


def test_absent_body_part_and_view_are_read(reader: pipeline.Reader) -> None:
    reading = read_one(reader, edited(BodyPartExamined=None, ViewPosition=None))
    assert reading.result.refusal is None


def test_without_orientation_nobody_knows_which_lung_is_the_right_one(reader: pipeline.Reader) -> None:
    reading = read_one(reader, edited(PatientOrientation=None))
    assert [(r.label, r.laterality) for r in reading.result.regions] == [("Lung", None)]
    assert reading.result.pictures[0].caption == "The film, stretched for display"


def test_mirrored_film_swaps_the_sides(reader: pipeline.Reader) -> None:
    straight = read_one(reader, real_film().read_bytes()).result.regions
    result = read_one(reader, edited(PatientOrientation=["R", "F"])).result
    mirrored = result.regions
    assert result.pictures[0].caption.endswith("The picture's right is the patient's right")
    assert [r.label for r in mirrored] == ["Right lung", "Left lung"]
    assert (straight[0].mask == mirrored[1].mask).all()


def test_spacing_gives_square_centimetres(reader: pipeline.Reader) -> None:
    regions = read_one(reader, edited(PixelSpacing=[0.2, 0.2])).result.regions
    for region in regions:
        (size,) = region.measurements
        assert size.unit.value == "cm2"
        assert size.value == pytest.approx(region.mask.sum() * 0.04 / 100)
    assert read_one(reader, real_film().read_bytes()).result.regions[0].measurements[0].unit.value == "%"


def test_same_film_and_build_give_the_same_bytes(reader: pipeline.Reader) -> None:
    first, second = (read_one(reader, real_film().read_bytes()).documents for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.sop_instance_uid == other.sop_instance_uid
        if one.sop_class_uid:
            assert one.data == other.data


def test_another_day_gives_the_same_bytes(reader: pipeline.Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = [read_one(reader, real_film().read_bytes())]
    monkeypatch.setattr(time, "gmtime", lambda: time.struct_time((2030, 1, 2, 3, 4, 5, 2, 2, 0)))
    readings.append(read_one(reader, real_film().read_bytes()))
    assert readings[1].result.read_at == "2030-01-02T03:04:05Z" != readings[0].result.read_at
    first, second = ([d.data for d in reading.documents if d.sop_class_uid] for reading in readings)
    assert first == second


def test_failing_engine_is_a_refusal_and_never_a_guess(reader: pipeline.Reader) -> None:
    class Broken:
        name, version, device = "broken", "0", "CPU"

        def run(self, tensor: Tensor) -> dict[str, Tensor]:
            raise EngineError("the device was lost")

    from dataclasses import replace

    models = tuple(replace(m, engine=Broken()) if m.model.task == "classification" else m for m in reader.models)
    result = read_one(pipeline.Reader(models, reader.settings), real_film().read_bytes()).result
    assert [(one.model.id, one.refusal.code) for one in result.not_read] == [("cxr-pneumonia", "MODEL-FAILED")]
    assert len(result.regions) == 2
    assert not result.findings
    models = tuple(replace(m, engine=Broken()) for m in reader.models)
    result = read_one(pipeline.Reader(models, reader.settings), real_film().read_bytes()).result
    assert result.refusal is not None
    assert result.refusal.code == "MODEL-FAILED"
    assert not result.not_read


def test_drawing_goes_on_beside_the_documents_that_show_no_picture(
    reader: pipeline.Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is written before the picture is there; the capture, the page and the result have it in the end."""
    written = threading.Event()
    drawn, made = explain.drawn, report.sr.dataset

    def draw(*given: Any) -> Any:
        assert written.wait(30)
        return drawn(*given)

    def write(context: Any) -> Any:
        written.set()
        return made(context)

    monkeypatch.setattr(explain, "drawn", draw)
    monkeypatch.setattr(report.sr, "dataset", write)
    reading = read_one(reader, real_film().read_bytes())
    assert {one.kind for one in reading.documents} == KINDS
    assert [one.name for one in reading.result.pictures] == ["film", "contours", "heat"]
    assert b"image/jpeg" in next(one.data for one in reading.documents if one.kind == "HTML")
    assert "draw" in {timing.stage for timing in reading.result.timings}


def test_film_that_cannot_be_drawn_fails_as_a_whole(reader: pipeline.Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(*given: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(explain, "drawn", draw)
    with pytest.raises(ZeroDivisionError):
        read_one(reader, real_film().read_bytes())


def test_document_that_fails_the_checker_takes_back_the_result(
    reader: pipeline.Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing leaves that our checker did not pass; what leaves instead says "not read"."""
    real = report.documents

    def strict(result: Result, *settings: Any) -> tuple[Document, ...]:
        if result.refusal is None:
            raise DocumentError("SEG: expected a document without problems, got 1")
        return real(result, *settings)

    monkeypatch.setattr(report, "documents", strict)
    reading = read_one(reader, real_film().read_bytes())
    assert reading.result.refusal is not None
    assert reading.result.refusal.code == "CRASHED"
    assert reading.result.read_at
    assert not reading.result.findings
    assert {d.kind for d in reading.documents} == {"SR", "HTML", "JSON"}


def request(**values: str) -> pydicom.Dataset:
    made = pydicom.Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


@pytest.mark.filterwarnings("ignore:The value length:UserWarning")
@pytest.mark.parametrize(
    "changes",
    [
        {"ProcedureCodeSequence": [request(CodeValue="X2", CodingSchemeDesignator="99RIS", CodeMeaning="Thorax")]},
        {"RequestAttributesSequence": [request(RequestedProcedureID="RP", ScheduledProcedureStepID=n) for n in "12"]},
        {"AccessionNumber": "A" * 20},
    ],
    ids=["private scheme", "two steps of a request", "long accession number"],
)
def test_an_odd_value_of_the_header_costs_no_report(reader: pipeline.Reader, changes: dict[str, object]) -> None:
    reading = read_one(reader, edited(**changes))
    assert reading.result.refusal is None
    assert {d.kind for d in reading.documents} == KINDS
    refused = read_one(reader, edited(**changes, BodyPartExamined="KNEE"))
    assert refused.result.refusal is not None
    assert refused.result.refusal.code == "WRONG-BODY-PART"
    assert refused.documents[0].kind == "SR"


def test_bytes_of_another_character_set_cost_no_report(reader: pipeline.Reader) -> None:
    asked = request(RequestedProcedureDescription="RQntgen Thorax")
    data = edited(SpecificCharacterSet="ISO_IR 192", RequestAttributesSequence=[asked])
    reading = read_one(reader, data.replace(b"RQntgen", b"R\xf6ntgen"))
    assert reading.result.refusal is None
    assert {d.kind for d in reading.documents} == KINDS


def test_a_message_that_fails_its_check_is_lost_alone(
    reader: pipeline.Reader, caplog: pytest.LogCaptureFixture
) -> None:
    """OBR-18 takes 60 characters; an accession number is never cut, as it would be another."""
    places = (parse_destination("PACS@h:104"), parse_destination("RIS@mllp://h:2575"))
    records = replace(reader, settings=replace(reader.settings, destinations=places, fhir="R4"))
    long = replace_value(edited(AccessionNumber="A" * 16), b"A" * 16, b"A" * 70)
    reading = read_one(records, long)
    assert reading.result.refusal is None
    assert {d.kind for d in reading.documents} == KINDS | {"FHIR"}
    said = json.loads(next(one.data for one in reading.documents if one.kind == "JSON"))
    assert list(said["failed"]) == ["ORU"]
    (line,) = [one for one in caplog.records if one.name == "wetread.pipeline"]
    assert (line.levelname, vars(line)["where"], vars(line)["reason"]) == ("ERROR", "ORU", said["failed"]["ORU"])
    assert "OBR-18" in said["failed"]["ORU"]
    assert "AAA" not in said["failed"]["ORU"]


def replace_value(data: bytes, old: bytes, new: bytes) -> bytes:
    """Put a value of another length, below 256, into a file in Explicit VR Little Endian."""
    assert data.count(b"SH" + bytes([len(old), 0]) + old) == 1
    return data.replace(b"SH" + bytes([len(old), 0]) + old, b"SH" + bytes([len(new), 0]) + new)


@pytest.mark.parametrize("refused", [False, True])
def test_last_resort_leaves_out_what_describes_before_it_gives_up_the_report(
    reader: pipeline.Reader, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    """Whatever in a header our checker does not pass: who knows where the image is gets told that it was not read."""
    real = report.documents

    def strict(result: Result, *settings: Any) -> tuple[Document, ...]:
        if result.header is not None and "StudyDescription" in result.header:
            raise DocumentError("SR: expected a document without problems, got 1")
        return real(result, *settings)

    monkeypatch.setattr(report, "documents", strict)
    data = edited(StudyDescription="Thorax", **({"BodyPartExamined": "KNEE"} if refused else {}))
    reading = read_one(reader, data)
    assert reading.result.refusal is not None
    assert reading.result.refusal.code == ("WRONG-BODY-PART" if refused else "CRASHED")
    assert [d.kind for d in reading.documents] == ["SR", "HTML", "JSON"]
    sr, source = (pydicom.dcmread(io.BytesIO(one)) for one in (reading.documents[0].data, data))
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber"):
        assert sr[keyword].value == source[keyword].value
    assert not report.check(reading.documents[0].data)


def test_what_is_left_out_under_strain_changes_no_answer(reader: pipeline.Reader) -> None:
    def read(data: bytes, *steps: str) -> Reading:
        (made,) = reader.read_blobs([("film.dcm", data)], Circumstances(reduced=steps))
        return made

    film = real_film().read_bytes()
    usual, short = read(film), read(film, "documents", "pictures")
    assert [d.kind for d in usual.documents] == ["SEG", "PM", "SR", "SC", "HTML", "JSON"]
    assert [d.kind for d in short.documents] == ["SEG", "SR", "HTML", "JSON"]
    assert usual.result.findings == short.result.findings
    assert [one.measurements for one in usual.result.regions] == [one.measurements for one in short.result.regions]
    assert "draw" not in {timing.stage for timing in short.timings}
    leg = edited(BodyPartExamined="LEG")
    assert read(leg).result.refusal == read(leg, *STEPS[:3]).result.refusal is not None
    assert read(leg).documents[0].data == read(leg, *STEPS[:3]).documents[0].data  # nothing was left out there


def test_what_is_set_aside_has_its_documents() -> None:
    """No model is asked and no pixel decoded: either may be what crashed."""
    data = edited(PixelData=b"\0\0")
    files = [("film.dcm", "0" * 64, data)]
    (reading,) = pipeline.Reader((), Settings()).set_aside("1.2.3", files, "Read in vain 3 times.")
    assert reading.result.refusal is not None
    assert (reading.result.refusal.code, reading.result.study_uid) == ("CRASHED", "1.2.3")
    assert [d.kind for d in reading.documents] == ["SR", "HTML", "JSON"]
    sr, source = (pydicom.dcmread(io.BytesIO(one)) for one in (reading.documents[0].data, data))
    assert (sr.PatientID, sr.StudyInstanceUID) == (source.PatientID, source.StudyInstanceUID)
    assert "CRASHED" in str(sr)
    assert not report.check(reading.documents[0].data)
    assert b"CRASHED" in reading.documents[1].data


def test_what_was_made_of_images_is_not_set_aside() -> None:
    data = edited(Manufacturer=report.MANUFACTURER)
    assert pipeline.Reader((), Settings()).set_aside("1.2.3", [("film.dcm", "0" * 64, data)], "") == ()


def test_what_is_set_aside_without_a_header_has_a_page() -> None:
    for data in (b"", b"no DICOM"):
        (reading,) = pipeline.Reader((), Settings()).set_aside("1.2.3", [("film.dcm", "0" * 64, data)], "")
        assert [d.kind for d in reading.documents] == ["HTML", "JSON"]


def test_every_result_says_when_it_was_read(reader: pipeline.Reader) -> None:
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for data in (real_film().read_bytes(), edited(ViewPosition="LL"), b"no DICOM"):
        reading = read_one(reader, data)
        assert before <= reading.result.read_at <= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        (made,) = (json.loads(d.data) for d in reading.documents if d.kind == "JSON")
        assert made["read_at"] == reading.result.read_at


def test_every_file_of_the_corpus_ends_in_a_result(reader: pipeline.Reader) -> None:
    """Whatever other makers wrote: read or refused with a code, and never without a document."""
    codes = []
    for path in sorted(real_film().parent.glob("*.dcm")):
        for reading in reader.read_blobs([(path.name, path.read_bytes())]):
            assert {"HTML", "JSON"} <= {d.kind for d in reading.documents}
            codes.append(reading.result.refusal.code if reading.result.refusal else "read")
            if reading.result.header is not None and reading.result.refusal:
                assert "SR" in {d.kind for d in reading.documents}, path.name
    assert codes.count("read") == 4  # the chest film in four encodings
    assert {"WRONG-MODALITY", "WRONG-BODY-PART", "COLOUR-IMAGE", "SECONDARY-IMAGE"} <= set(codes)


def test_two_films_of_one_study_give_two_readings(reader: pipeline.Reader) -> None:
    lateral = edited(ViewPosition="LL", SOPInstanceUID="1.2.3.4.5")
    readings = reader.read_blobs([("pa.dcm", real_film().read_bytes()), ("ll.dcm", lateral)])
    assert sorted(r.result.refusal.code if r.result.refusal else "read" for r in readings) == ["WRONG-VIEW", "read"]
    uids = [d.sop_instance_uid for r in readings for d in r.documents if d.sop_instance_uid]
    assert len(set(uids)) == len(uids)


def test_no_document_names_the_patient_outside_dicom(reader: pipeline.Reader) -> None:
    for document in read_one(reader, real_film().read_bytes()).documents:
        if not document.sop_class_uid:
            for secret in (b"9RG1", b"CompressedSamples", b"19400305", b"26210"):
                assert secret not in document.data


def test_reads_with_torch_blocked(tmp_path: Path) -> None:
    """The node's install has no torch: the run-time twin of the import contracts."""
    script = """
import importlib, pkgutil, sys
for name in ("torch", "monai", "nncf", "timm"):
    sys.modules[name] = None
import wetread
for module in pkgutil.walk_packages(wetread.__path__, "wetread."):
    if not module.name.startswith("wetread.lab"):
        importlib.import_module(module.name)
from wetread import pipeline
from wetread.errors import EngineError
from wetread.evidence.film import film_for_every_model
from wetread.settings import load
reader = pipeline.open_reader(load(state=sys.argv[1]))
(reading,) = reader.read_blobs([("film.dcm", film_for_every_model())])
assert reading.result.refusal is None and len(reading.documents) == 6
print("read")
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.stdout == "read\n", done.stderr


def test_assumed_identity_of_a_picture(reader: pipeline.Reader, tmp_path: Path) -> None:
    """A PNG has no identity: it is read, and its documents invent none."""
    import cv2

    film = acquire.load([real_film()], reader.settings)[0].images[0]
    cv2.imwrite(str(tmp_path / "film.png"), film.pixels[0])
    (study,) = acquire.load([tmp_path / "film.png"], reader.settings)
    (reading,) = reader.read(study)
    assert reading.result.refusal is None
    assert {"HTML", "JSON"} <= {d.kind for d in reading.documents}


def test_what_was_made_of_images_is_not_answered(reader: pipeline.Reader) -> None:
    """An archive that forwards everything sends our results back, and other people's."""
    film = real_film().read_bytes()
    reading = read_one(reader, film)
    made = [(one.name, one.data) for one in reading.documents if one.sop_class_uid]
    assert {one.kind for one in reading.documents} >= {"SR", "SEG", "SC"}
    again = reader.read_blobs([("film.dcm", film), *made])
    assert [one.result.digest for one in again] == [reading.result.digest]
    assert reader.read_blobs(made) == ()
    captured = pydicom.dcmread(io.BytesIO({one.kind: one.data for one in reading.documents}["SC"]))
    captured.Manufacturer = "Somebody else"
    target = io.BytesIO()
    captured.save_as(target)
    (refused,) = reader.read_blobs([("capture.dcm", target.getvalue())])
    assert refused.result.refusal is not None
    assert refused.result.refusal.code == "SECONDARY-IMAGE"


@pytest.mark.parametrize(("scheme", "told"), [("SNOMED", "coding scheme"), ("99A\\\\B", "backslash")])
def test_a_model_whose_code_no_document_can_hold_is_refused_at_the_start(
    scheme: str, told: str, tmp_path: Path
) -> None:
    folder = toy.make_models(tmp_path / "models")
    declared = next(folder.glob("*pneumonia*")) / "model.toml"
    declared.write_text(declared.read_text().replace('scheme = "SCT"', f'scheme = "{scheme}"'))
    with pytest.raises(ModelError, match=rf"pneumonia.*label pneumonia.*{told}"):
        pipeline.open_reader(Settings(models=folder, state=tmp_path / "state"))
