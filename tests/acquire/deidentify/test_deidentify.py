"""Nothing that a person wrote leaves without a reason: canaries in every place of an image."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from tests import phantoms, slices
from wetread.acquire.deidentify import OPTIONS, Ledger, Profile, asked, deidentify, reidentify
from wetread.acquire.deidentify.clean import cleaned_text, moved_date
from wetread.acquire.deidentify.table import rule_of
from wetread.errors import BadInput, Blocked

BASIC = Profile(frozenset())
#: What a canary of each value representation looks like; they differ by number.
CANARIES = {
    **dict.fromkeys(("LO", "SH", "LT", "ST", "UT", "UC"), "Canary{:04d}"),
    "PN": "Canary{:04d}^Jane",
    "AE": "CANARY{:04d}",
    "UR": "http://canary{:04d}.example",
    "UI": "1.2.3.777.{:d}",
    "DA": "19{:02d}0407",
    "AS": "0{:02d}Y",
    "DT": "19{:02d}0407112233",
    "TM": "1122{:02d}",
}
PIXELS = frozenset({"7fe00010"})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger") as made:
        yield made


def image(**attributes: Any) -> Dataset:
    return phantoms.make_film(BurnedInAnnotation="NO", **attributes)


def copied(dataset: Dataset, ledger: Ledger, profile: Profile = BASIC) -> Dataset:
    return pydicom.dcmread(io.BytesIO(deidentify(phantoms.to_bytes(dataset), profile, ledger).data))


def planted() -> tuple[Dataset, list[str]]:
    """An image with a canary in every text attribute of the dictionary, on top, in an item, two items deep, private."""
    dataset, found = image(), []
    deep, deeper = Dataset(), Dataset()
    texts = [tag for tag in DicomDictionary if tag >> 16 not in (0, 2, 4) and dictionary_VR(tag) in CANARIES]
    for number, tag in enumerate(texts):
        kind = dictionary_VR(tag)
        if keyword_for_tag(tag) in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
            continue
        canary = CANARIES[kind].format(number % 60 if kind in ("DA", "AS", "DT", "TM") else number)
        owner = (dataset, deep, deeper)[number % 3]
        owner.add(DataElement(tag, kind, canary))
        if kind not in ("DA", "AS", "DT", "TM"):
            found.append(canary)
    dataset.AcquisitionContextSequence, deep.ContrastBolusAgentSequence = [deep], [deeper]
    block = dataset.private_block(0x0011, "CANARY 9001", create=True)
    block.add_new(1, "LO", "Canary9002")
    block.add_new(2, "UN", b"Canary9003")
    safe = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)  # of its elements two are in Table E.3.10-1
    safe.add_new(0x27, "SH", "Canary9008")
    safe.add_new(0x28, "LO", "Canary9009")
    inner = Dataset()
    inner.PatientComments = "Canary9004"
    block.add_new(3, "SQ", [inner])
    dataset.add(DataElement(0x60000010, "US", 1))
    dataset.add(DataElement(0x60004000, "LT", "Canary9005"))
    dataset.add(DataElement(0x00420011, "OB", b"Canary9006"))
    return dataset, [*found, "CANARY 9001", *(f"Canary900{n}" for n in (2, 3, 4, 5, 6, 8, 9))]


@pytest.mark.parametrize(
    "options", [frozenset[str](), frozenset({"shifted-dates", "patient"}), frozenset({"safe-private"})]
)
def test_no_canary_survives(ledger: Ledger, options: frozenset[str]) -> None:
    """Kept are a maker's technical texts, of which the reasons tell; nothing else."""
    dataset, canaries = planted()
    data = bytearray(phantoms.to_bytes(dataset))
    data[:128] = b"Canary9007 in the preamble".ljust(128, b"\0")
    told = deidentify(bytes(data), Profile(options), ledger)
    assert len(canaries) > 800
    alive = {canary for canary in [*canaries, "Canary9007"] if canary.encode() in told.data}
    assert told.reasons["kept: technical text of the maker"] > 0
    assert len(alive) < 20
    whole = pydicom.dcmread(io.BytesIO(told.data))
    kept = {element.keyword for element in whole.iterall() if any(canary in str(element.value) for canary in alive)}
    assert kept <= {
        *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "CodingSchemeVersion", "CodingSchemeDesignator"),
        *("PulseSequenceName", "FilterType", "ConvolutionKernel", "ImagedNucleus", "TransmitCoilName", "SequenceName"),
        *("CodeValue", "LongCodeValue", "CodeMeaning", "AcquisitionContextSequence", "ContrastBolusAgentSequence"),
    }


def test_table_has_the_standards_rows() -> None:
    rules = {name: rule_of(int(pydicom.tag.Tag(name))) for name in ("PatientName", "StudyID", "PatientComments")}
    assert {name: rule.action for name, rule in rules.items() if rule} == {
        "PatientName": "Z",
        "StudyID": "Z",
        "PatientComments": "X",
    }
    assert rule_of(0x60024000) is not None
    assert rule_of(0x00280010) is None


def test_uids_change_alike_everywhere(ledger: Ledger) -> None:
    first, second = slices.series(slices.balls(slices.AXIAL, (2, 8, 8), np.zeros((1, 3)), [9.0], [0]))
    for one in (first, second):
        one.BurnedInAnnotation = "NO"
    second.ReferencedImageSequence = [Dataset()]
    second.ReferencedImageSequence[0].ReferencedSOPInstanceUID = first.SOPInstanceUID
    second.ReferencedImageSequence[0].ReferencedSOPClassUID = first.SOPClassUID
    one, two = copied(first, ledger), copied(second, ledger)
    assert one.StudyInstanceUID == two.StudyInstanceUID != first.StudyInstanceUID
    assert two.ReferencedImageSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    assert one.SOPClassUID == first.SOPClassUID
    assert one.PixelData == first.PixelData
    assert one.ImagePositionPatient == first.ImagePositionPatient


def test_dates_of_a_patient_move_together(ledger: Ledger) -> None:
    profile = Profile(frozenset({"shifted-dates"}))
    first = copied(image(StudyDate="20260110", AcquisitionDateTime="20260110101010.5"), ledger, profile)
    later = copied(image(StudyDate="20260210"), ledger, profile)
    dates = [pydicom.valuerep.DA(one.StudyDate) for one in (first, later)]
    assert (dates[1] - dates[0]).days == 31
    assert str(first.AcquisitionDateTime) == f"{first.StudyDate}101010.5"
    assert dates[0].year < 2026
    assert first.LongitudinalTemporalInformationModified == "MODIFIED"
    assert copied(image(StudyDate="20260110"), ledger).StudyDate == ""


def test_words_in_the_place_of_a_time_go(ledger: Ledger) -> None:
    made = copied(image(TimezoneOffsetFromUTC="Canary"), ledger, Profile())
    assert "TimezoneOffsetFromUTC" not in made
    assert copied(image(TimezoneOffsetFromUTC="+0100"), ledger, Profile()).TimezoneOffsetFromUTC == "+0100"


def test_copy_says_what_was_done(ledger: Ledger) -> None:
    made = copied(image(), ledger, Profile())
    assert made.PatientIdentityRemoved == "YES"
    assert [item.CodeValue for item in made.DeidentificationMethodCodeSequence] == [
        *("113100", "113103", "113104", "113108", "113107", "113105"),
    ]
    assert made.PatientID == made.PatientName
    assert made.SpecificCharacterSet == "ISO_IR 192"


def test_two_hospitals_make_different_names(tmp_path: Path) -> None:
    with Ledger(tmp_path / "a") as one, Ledger(tmp_path / "b") as other:
        assert copied(image(), one).PatientID != copied(image(), other).PatientID
        first = copied(image(), one).PatientID
    with Ledger(tmp_path / "a") as again:
        assert copied(image(), again).PatientID == first
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0


def test_results_come_back(ledger: Ledger) -> None:
    source = image(StudyDate="20260110")
    made = copied(source, ledger, Profile())
    result = phantoms.make_film(
        SOPInstanceUID="1.2.3.99",
        StudyInstanceUID=made.StudyInstanceUID,
        PatientID=made.PatientID,
        PatientName=made.PatientName,
    )
    result.SourceImageSequence = [Dataset()]
    result.SourceImageSequence[0].ReferencedSOPInstanceUID = made.SOPInstanceUID
    back = pydicom.dcmread(io.BytesIO(reidentify(phantoms.to_bytes(result), ledger)))
    assert back.StudyInstanceUID == source.StudyInstanceUID
    assert back.PatientID == source.PatientID
    assert back.PatientName == source.PatientName
    assert back.StudyDate == "20260110"
    assert back.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert back.SOPInstanceUID == "1.2.3.99"
    with pytest.raises(BadInput, match="another study"):
        reidentify(phantoms.to_bytes(source), ledger)


def test_a_result_comes_back_to_whom_its_study_belongs_now(ledger: Ledger) -> None:
    """The first copy left under a patient who was not the right one."""
    for who in ("WRONG", "RIGHT"):
        made = copied(image(PatientID=who, PatientName=f"{who}^Patient"), ledger)
    home = pydicom.dcmread(io.BytesIO(reidentify(phantoms.to_bytes(made), ledger)))
    assert (home.PatientID, home.PatientName) == ("RIGHT", "RIGHT^Patient")


@pytest.mark.parametrize("theirs", ["ISO_IR 192", "ISO_IR 100", "ISO_IR 144", None])
@pytest.mark.parametrize("name", ["Müller^Jürgen", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Иванов^Иван"])
def test_a_name_comes_back_in_its_own_letters(ledger: Ledger, name: str, theirs: str | None) -> None:
    """Also to a result whose maker's character set has them not."""
    made = copied(image(PatientName=name, ReferringPhysicianName=name), ledger)
    made.SpecificCharacterSet = theirs
    home = pydicom.dcmread(io.BytesIO(reidentify(phantoms.to_bytes(made), ledger)))
    assert (home.PatientName, home.ReferringPhysicianName) == (name, name)


def test_a_name_by_code_extension_comes_back_without_escape_sequences(ledger: Ledger) -> None:
    name = "Zhang^XiaoDong=\x1b$)A张^\x1b$)A小东"  # as pydicom writes it
    made = copied(image(SpecificCharacterSet=["", "ISO 2022 IR 58"], PatientName=name), ledger)
    home = pydicom.dcmread(io.BytesIO(reidentify(phantoms.to_bytes(made), ledger)))
    assert home.PatientName == "Zhang^XiaoDong=张^小东"


def test_what_a_result_says_stays_readable_in_every_item(ledger: Ledger) -> None:
    made = copied(image(PatientName="Yamada^Tarou=山田^太郎"), ledger)
    sets: list[Any] = ["ISO_IR 144", None, "ISO_IR 100", ["", "ISO 2022 IR 87"]]
    words = ["Тень", "Тень", "Größe", "Kage=影"]
    items = [made] + [Dataset() for _ in sets[1:]]
    for outer, inner in pairwise(items):
        outer.ContentSequence = [inner]
    for item, declared, word in zip(items, sets, words, strict=True):
        if declared is not None:
            item.SpecificCharacterSet = declared
        item.TextValue, item.PersonName = word, word
    home = pydicom.dcmread(io.BytesIO(reidentify(phantoms.to_bytes(made), ledger)))
    assert home.PatientName == "Yamada^Tarou=山田^太郎"
    told = [(one.keyword, str(one.value)) for one in home.iterall() if one.keyword in ("TextValue", "PersonName")]
    assert told == [(keyword, word) for word in words for keyword in ("PersonName", "TextValue")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, "YES"),
        ({"BurnedInAnnotation": None}, "none"),
        ({"PixelData": None}, "without pixels"),
    ],
)
def test_what_may_show_a_name_stays(ledger: Ledger, change: dict[str, Any], reason: str) -> None:
    dataset = image()
    for keyword, value in change.items():
        delattr(dataset, keyword) if value is None else setattr(dataset, keyword, value)
    with pytest.raises(BadInput, match=reason):
        copied(dataset, ledger)


def test_a_person_may_declare_pixels_clean(ledger: Ledger) -> None:
    dataset = image()
    del dataset.BurnedInAnnotation
    assert copied(dataset, ledger, Profile(frozenset(), pixels_clean=True)).BurnedInAnnotation == "NO"
    dataset.BurnedInAnnotation = "YES"
    with pytest.raises(BadInput, match="YES"):
        copied(dataset, ledger, Profile(frozenset(), pixels_clean=True))


def test_options_are_the_standards(tmp_path: Path) -> None:
    assert all(code.startswith("1131") and meaning.endswith("Option") for code, meaning in OPTIONS.values())
    for wrong in ({"everything"}, {"dates", "shifted-dates"}):
        with pytest.raises(BadInput, match="expected"):
            Profile(frozenset(wrong))
    (tmp_path / "notes").write_text("this is no ledger, it is a long text of somebody else" * 10)
    with pytest.raises(BadInput, match="ledger notes"):
        Ledger(tmp_path / "notes")


def test_no_dicom_is_refused(ledger: Ledger) -> None:
    for call in (lambda: deidentify(b"no", BASIC, ledger), lambda: reidentify(b"no", ledger)):
        with pytest.raises(BadInput, match="xpected a DICOM file"):
            call()


@pytest.mark.parametrize("uid", [None, ""])
def test_an_image_of_no_study_is_refused(ledger: Ledger, uid: str | None) -> None:
    """Nothing that was made on its copy could come home."""
    data = phantoms.to_bytes(image(StudyInstanceUID=uid))
    for call in (lambda: deidentify(data, BASIC, ledger), lambda: asked(data, BASIC)):
        with pytest.raises(Blocked, match=r"NOT-READABLE.*\(0020,000D\)"):
            call()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("AX T2 FLAIR Smith 19310407 5.0 mm^Jones", "AX T2 FLAIR 5.0 mm"),
        ("CT head MRN 123-456-789 DOB 03/11/62 Tel 030 555 12 34", "CT head"),
        ("Chest PA 12, 3mm, 3 MM", "Chest PA 3 MM"),
    ],
)
def test_words(text: str, left: str) -> None:
    assert cleaned_text(text) == left


@pytest.mark.parametrize(
    ("date", "moved"),
    [
        ("20260301", "20260228"),
        ("2026030111", "2026022811"),
        ("20260301112233.5+0100", "20260228112233.5+0100"),
        ("20260301-0500", "20260228-0500"),
        ("yesterday", ""),
        ("20260230", ""),
        ("20260301-20260302", ""),
        ("20260301112233-20260302112233", ""),
        ("20260301987654", ""),
        ("20260301+4711", ""),
    ],
)
def test_dates(date: str, moved: str) -> None:
    """Of a range the second would tell by how many days the first moved."""
    assert moved_date(date, -1) == moved


@pytest.mark.parametrize(
    ("keyword", "declared", "value", "expected"),
    [
        ("StudyDescription", "CS", "CANARY JANE", ""),
        ("StudyDescription", "LO", "CHEST CANARY", "CHEST"),
        ("StudyDescription", "SH", "CHEST CANARY", "CHEST"),  # a text is a text, and cleaned as one
        ("PatientComments", "AE", "CANARY JANE", ""),
        ("StudyDate", "TM", "19570203", "20"),  # a date is one, and moves
        ("StudyDate", "LO", "19570203", "20"),
        ("StudyTime", "TM", "19570203", None),  # no time has 57 hours: a birth date, or a record number
        ("StudyTime", "TM", "112233.5", "112233.5"),
        ("PatientSex", "LO", "Canary^Jane", ""),
        ("PatientSex", "CS", "F", "F"),
        ("PatientAge", "LO", "Canary", None),
        ("PatientWeight", "LO", "70.5", "70.5"),
        ("MakerNote", "OB", b"CANARY JANE!", None),  # nobody can clean it
        ("PatientBirthDate", "US", b"CANARY", None),
        ("SeriesNumber", "US", b"\x40\0", None),
        ("PixelAspectRatio", "DS", "1\\1", "[1, 1]"),
    ],
)
def test_a_vr_that_a_file_declares_keeps_no_words(
    keyword: str, declared: str, value: Any, expected: str | None, ledger: Ledger
) -> None:
    raw = value if isinstance(value, bytes) else value.encode() + b" " * (len(value) % 2)
    dataset = image()
    tag = Tag(keyword)
    dataset[tag] = RawDataElement(tag, declared, len(raw), raw, 0, False, True)
    copy = copied(dataset, ledger, Profile())
    out = io.BytesIO()
    copy.save_as(out)
    for word in (b"CANARY", b"Canary", b"19570203"):
        assert word not in out.getvalue()
    if expected == "20":
        assert len(copy.StudyDate) == 8
        assert copy["StudyDate"].VR == "DA"
    else:
        assert expected is None or str(copy[keyword].value or "") == expected
        assert expected is not None or keyword not in copy


def test_full_dates_are_dates(ledger: Ledger) -> None:
    full = Profile(frozenset({"dates"}))
    dataset = image(StudyDate="20240229", StudyTime="112233")
    tag = Tag("SeriesDate")
    dataset[tag] = RawDataElement(tag, "DA", 10, b"1234567890", 0, False, True)
    copy = copied(dataset, ledger, full)
    assert (copy.StudyDate, copy.StudyTime, copy["SeriesDate"].is_empty) == ("20240229", "112233", True)
