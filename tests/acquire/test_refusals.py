"""Each refusal that acquire can give, by the smallest file that earns it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests import phantoms
from wetread.acquire import decode, instances
from wetread.acquire.instances import read_header
from wetread.errors import REFUSALS
from wetread.records import Rejected
from wetread.settings import Settings

SETTINGS = Settings()
RAW_DX = uid.DigitalXRayImageStorageForProcessing
HEADER_END = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData")


def refused(data: bytes, settings: Settings = SETTINGS) -> Rejected:
    """Decode one file that must be refused, and check that its refusal is fit to be shown."""
    (study,) = decode([("film.dcm", data)], settings)
    assert study.images == ()
    (rejected,) = study.rejected
    assert rejected.refusal.sentence == REFUSALS[rejected.refusal.code]
    assert rejected.source == "film.dcm"
    for secret in phantoms.SECRETS:
        assert secret not in rejected.refusal.detail
    return rejected


def film(**options: Any) -> bytes:
    return phantoms.to_bytes(phantoms.make_film(**options))


def cut(data: bytes, count: int) -> bytes:
    return data[:-count]


def with_value(keyword: str, vr: str, value: bytes) -> bytes:
    """Return a film in which one attribute has these very bytes."""
    bare = phantoms.make_film()
    if keyword in bare:
        delattr(bare, keyword)
    data = phantoms.to_bytes(bare)
    tag = phantoms.tag_of(keyword)
    made = phantoms.element(tag >> 16, tag & 0xFFFF, vr, value)
    return phantoms.insert(data, tag, made)


def without_pixels() -> bytes:
    return film(PixelData=None, Rows=None, BitsAllocated=None, SOPClassUID=uid.BasicTextSRStorage, Modality="SR")


def one_frame(frame: bytes, syntax: str) -> bytes:
    return phantoms.encapsulated(phantoms.make_film(), syntax, [frame])


def nested(depth: int) -> bytes:
    """Sequences of undefined length inside each other, in a private element."""
    opening = bytes.fromhex("09001010") + b"SQ\0\0\xff\xff\xff\xff" + bytes.fromhex("feff00e0ffffffff")
    closing = bytes.fromhex("feff0de000000000") + bytes.fromhex("feffdde000000000")
    return phantoms.insert(film(), 0x00091010, opening * depth + closing * depth)


def nested_defined(depth: int) -> bytes:
    """The same with defined lengths, which pydicom reads one level at a time."""
    value = b""
    for _ in range(depth):
        item = bytes.fromhex("feff00e0") + len(value).to_bytes(4, "little") + value
        value = phantoms.element(0x0008, 0x1140, "SQ", item)
    return phantoms.insert(film(), 0x00081140, value)


def bomb() -> bytes:
    return phantoms.deflated(phantoms.make_film(np.zeros((2000, 2000), dtype=int)), level=9)


CASES: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "text": ("NOT-DICOM", lambda: b"Dear colleague, " * 20, "DICM"),
    "empty": ("NOT-DICOM", lambda: b"", "DICM"),
    "report": ("NOT-AN-IMAGE", without_pixels, "Pixel Data"),
    "cut in a value": ("DAMAGED-FILE", lambda: film()[:405], "("),
    "cut in a tag": ("DAMAGED-FILE", lambda: film()[: phantoms.data_set_start(film()) + 22], "byte"),
    "cut between two": ("TRUNCATED-PIXELS", lambda: film(**dict.fromkeys(HEADER_END)), "missing"),
    "only a preamble": ("DAMAGED-FILE", lambda: bytes(128) + b"DICM" + b"\1\0\2\0XXYY", ""),
    "deep": ("DAMAGED-FILE", lambda: nested(10_000), ""),
    "deep, read bit by bit": ("DAMAGED-FILE", lambda: nested_defined(1000), "32"),
    "33 deep": ("DAMAGED-FILE", lambda: nested(33), "32"),
    "no syntax": ("UNKNOWN-SYNTAX", lambda: one_frame(b"x", "1.2.840.10008.1.2.4.100"), ""),
    "private syntax": ("UNKNOWN-SYNTAX", lambda: one_frame(b"x", "1.2.3.4"), ""),
    "short by one byte": ("TRUNCATED-PIXELS", lambda: cut(film(), 1), "15360"),
    "declared short": ("TRUNCATED-PIXELS", lambda: film(PixelData=b"\0\1" * 100), "200"),
    "header only": ("TRUNCATED-PIXELS", lambda: film(PixelData=None), "missing"),
    "fragment cut": ("TRUNCATED-PIXELS", lambda: cut(film(syntax=uid.RLELossless), 40), "fragment"),
    "delimiter cut": ("TRUNCATED-PIXELS", lambda: cut(film(syntax=uid.RLELossless), 8), "delimiter"),
    "no fragment": ("TRUNCATED-PIXELS", lambda: phantoms.encapsulated(phantoms.make_film(), uid.RLELossless, []), ""),
    "junk as JPEG": ("BAD-PIXELS", lambda: one_frame(b"junk" * 50, uid.JPEGBaseline8Bit), "JPEG"),
    "junk as J2K": ("BAD-PIXELS", lambda: one_frame(b"junk" * 50, uid.JPEG2000), "JPEG 2000"),
    "native as RLE": ("BAD-PIXELS", lambda: phantoms.rename_syntax(film(), uid.RLELossless), "encapsulated"),
    "no rows": ("MISSING-TAG", lambda: film(Rows=None), "Rows (0028,0010)"),
    "no columns": ("MISSING-TAG", lambda: film(Columns=None), "Columns (0028,0011)"),
    "no photometric": ("MISSING-TAG", lambda: film(PhotometricInterpretation=None), "(0028,0004)"),
    "no bits": ("MISSING-TAG", lambda: film(BitsAllocated=None), "(0028,0100)"),
    "no bits stored": ("MISSING-TAG", lambda: film(BitsStored=None), "(0028,0101)"),
    "no sign": ("MISSING-TAG", lambda: film(PixelRepresentation=None), "(0028,0103)"),
    "no modality": ("MISSING-TAG", lambda: film(Modality=None), "(0008,0060)"),
    "film as CT": ("BAD-TAG", lambda: film(Modality="CT"), "(0008,0060)"),
    "DX as MR": ("BAD-TAG", lambda: film(SOPClassUID=phantoms.DX_CLASS, Modality="MR"), "(0008,0060)"),
    "empty modality": ("MISSING-TAG", lambda: film(Modality=""), "(0008,0060)"),
    "no study": ("MISSING-TAG", lambda: film(StudyInstanceUID=None), "(0020,000D)"),
    "no series": ("MISSING-TAG", lambda: film(SeriesInstanceUID=None), "(0020,000E)"),
    "no instance": ("MISSING-TAG", lambda: film(SOPInstanceUID=None), "(0008,0018)"),
    "path as UID": ("BAD-TAG", lambda: with_value("StudyInstanceUID", "UI", b"../../etc/passwd"), "(0020,000D)"),
    "65 characters": ("BAD-TAG", lambda: with_value("SOPInstanceUID", "UI", b"1." + b"2" * 63 + b"\0"), "65"),
    "NUL inside": ("BAD-TAG", lambda: with_value("SOPInstanceUID", "UI", b"1.2\0003.4\0"), "(0008,0018)"),
    "two UIDs": ("BAD-TAG", lambda: with_value("SeriesInstanceUID", "UI", b"1.2\\1.3\0"), "2 values"),
    "rows as text": ("BAD-TAG", lambda: with_value("Rows", "LO", b"Canary^Patient"), "Rows"),
    "two values of rows": ("BAD-TAG", lambda: with_value("Rows", "US", b"\x60\0\x60\0"), "2 values"),
    "no rows at all": ("BAD-TAG", lambda: film(Rows=0), "at least 1"),
    "frames as text": ("BAD-TAG", lambda: with_value("NumberOfFrames", "IS", b"1A"), "(0028,0008)"),
    "12 bits allocated": ("BAD-TAG", lambda: film(BitsAllocated=12), "8, 16 or 32"),
    "17 bits stored": ("BAD-TAG", lambda: film(BitsStored=17), "1 to 16"),
    "high bit": ("BAD-TAG", lambda: film(HighBit=3), "(0028,0102)"),
    "sign of 2": ("BAD-TAG", lambda: film(PixelRepresentation=2), "0 or 1"),
    "three samples": ("BAD-TAG", lambda: film(SamplesPerPixel=3), "(0028,0002)"),
    "unknown photometric": ("BAD-TAG", lambda: film(photometric="CANARY ID 77"), "unknown term"),
    "slope of 0": ("BAD-TAG", lambda: film(RescaleSlope="0", RescaleIntercept="0"), "(0028,1053)"),
    "slope as text": ("BAD-TAG", lambda: with_value("RescaleSlope", "DS", b"Canary^Patient"), "(0028,1053)"),
    "too many pixels": ("BAD-TAG", lambda: film(Columns=40), "15360"),
    "LUT without data": ("BAD-TAG", lambda: film(ModalityLUTSequence=lut(0)), "(0028,3002)"),
    "LUT of text": ("BAD-TAG", lambda: with_value("ModalityLUTSequence", "LO", b"1 "), "(0028,3000)"),
    "a number of frame groups": (
        "BAD-TAG",
        lambda: with_value("PerFrameFunctionalGroupsSequence", "US", b"\1\0"),
        "(5200,9230)",
    ),
    "bytes of shared groups": (
        "BAD-TAG",
        lambda: with_value("SharedFunctionalGroupsSequence", "OB", b"ab"),
        "(5200,9229)",
    ),
    "large": ("TOO-LARGE", lambda: film(Rows=65535, Columns=65535), "65535 x 65535"),
    "a billion frames": ("TOO-LARGE", lambda: film(modality="CT", NumberOfFrames=2**31 - 1), "2147483647"),
    "deflate bomb": ("TOO-LARGE", bomb, "inflates"),
    "small": ("TOO-SMALL", lambda: film(stored=phantoms.chest(31, 80)), "31 x 80"),
    "blank": ("BLANK-IMAGE", lambda: film(stored=np.full((64, 64), 7)), "99 %"),
    "one bright pixel": ("BLANK-IMAGE", lambda: film(stored=np.pad([[4095]], ((20, 43), (20, 43)))), "99 %"),
    "RGB": ("COLOUR-IMAGE", lambda: film(photometric="RGB", SamplesPerPixel=3), "RGB"),
    "palette": ("COLOUR-IMAGE", lambda: film(photometric="PALETTE COLOR"), "PALETTE"),
    "film of frames": ("MULTI-FRAME", lambda: film(stored=np.stack([phantoms.chest()] * 3)), "got 3"),
    "secondary": ("SECONDARY-IMAGE", lambda: film(ImageType=["DERIVED", "SECONDARY"]), ""),
    "capture": ("SECONDARY-IMAGE", lambda: film(SOPClassUID=uid.SecondaryCaptureImageStorage), ""),
    "raw by its class": ("FOR-PROCESSING", lambda: film(modality="DX", SOPClassUID=RAW_DX), "Digital X-Ray"),
    "raw by its intent": (
        "FOR-PROCESSING",
        lambda: film(modality="DX", PresentationIntentType="FOR PROCESSING"),
        "(0008,0068)",
    ),
    "raw CR": ("FOR-PROCESSING", lambda: film(PresentationIntentType="FOR PROCESSING"), "(0008,0068)"),
    "unreadable intent": ("BAD-TAG", lambda: with_value("PresentationIntentType", "FD", b"FOR P"), "(0008,0068)"),
    "segmentation": ("SECONDARY-IMAGE", lambda: film(SOPClassUID=uid.SegmentationStorage, Modality="SEG"), ""),
}


def lut(entries: int) -> Sequence:
    item = Dataset()
    item.add_new(0x00283002, "US", [4096, 0, 16])
    item.add_new(0x00283006, "OW", b"\1\0" * entries)
    return Sequence([item])


@pytest.mark.parametrize("name", CASES)
def test_each_cause_has_its_code(name: str) -> None:
    code, make, says = CASES[name]
    rejected = refused(make())
    assert rejected.refusal.code == code
    assert says in rejected.refusal.detail


def test_the_network_of_codes_is_covered() -> None:
    elsewhere = {
        "UNSAFE-ARCHIVE",  # test_source
        "MIXED-PATIENTS",  # test_studies
        "DUPLICATE-UID",
        "LOCALIZER",  # test_series
        "NOT-HU",
        "MIXED-SERIES",
        "MISSING-SLICES",
        "DOUBLED-SLICES",
        "UNEVEN-SLICES",
        "SHEARED-SLICES",
        "WRONG-MODALITY",  # other rooms
        "WRONG-BODY-PART",
        "WRONG-VIEW",
        "NOT-A-CHEST",
        "MODEL-FAILED",
        "CRASHED",
    }
    tested = {code for code, _, _ in CASES.values()}
    raised = {code for code in REFUSALS if f'"{code}"' in _source_of_acquire()}
    assert raised - tested <= elsewhere


def _source_of_acquire() -> str:
    import wetread.acquire

    folder = Path(wetread.acquire.__file__).parent
    return "".join(file.read_text(encoding="utf-8") for file in folder.glob("*.py"))


@pytest.mark.parametrize("intent", ["FOR PRESENTATION", "", None])
def test_an_image_for_presentation_is_read(intent: str | None) -> None:
    (study,) = decode([("film.dcm", film(modality="DX", PresentationIntentType=intent))], SETTINGS)
    assert len(study.images) == 1


def test_a_bad_identity_leaves_no_header_to_file_documents_under() -> None:
    assert refused(with_value("StudyInstanceUID", "UI", b"../../etc/passwd")).header is None
    (study,) = decode([("film.dcm", with_value("StudyInstanceUID", "UI", b"../../etc/passwd"))], SETTINGS)
    assert study.study_uid == ""


def test_a_header_is_read_without_its_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "decode_pixels", lambda *_, **__: pytest.fail("pixels were decoded"))
    for data in (film(), film(syntax=uid.RLELossless), film(syntax=uid.DeflatedExplicitVRLittleEndian), cut(film(), 9)):
        header = read_header(data, SETTINGS)
        assert (header.PatientID, header.StudyInstanceUID) == (phantoms.SECRETS[1], phantoms.STUDY)
        assert "PixelData" not in header


@pytest.mark.parametrize("name", ["text", "empty", "cut in a value", "deep", "no study", "path as UID"])
def test_a_header_that_cannot_be_trusted_is_none(name: str) -> None:
    assert read_header(CASES[name][1](), SETTINGS) is None


def test_a_header_that_crashes_the_parser_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_header(bytes(5_000_000), Settings(max_pixels=0)) is None
    monkeypatch.setattr(instances, "parse", lambda *_: [][0])
    assert read_header(film(), SETTINGS) is None


def test_a_refusal_keeps_the_identity_of_its_patient() -> None:
    rejected = refused(cut(film(), 100))
    assert rejected.header.PatientID == phantoms.SECRETS[1]
    assert rejected.header.StudyInstanceUID == phantoms.STUDY
    assert "PixelData" not in rejected.header
    assert len(rejected.digest) == 64


def test_32_sequences_inside_each_other_are_read() -> None:
    for data in (nested(32), nested_defined(32)):
        (study,) = decode([("film.dcm", data)], SETTINGS)
        assert len(study.images) == 1


def test_the_largest_image_is_a_setting() -> None:
    assert refused(film(), Settings(max_pixels=96 * 80 - 1)).refusal.code == "TOO-LARGE"
    (study,) = decode([("film.dcm", film())], Settings(max_pixels=96 * 80))
    assert len(study.images) == 1


def test_an_attribute_nobody_needs_may_be_nonsense() -> None:
    (study,) = decode([("film.dcm", with_value("ExposureTime", "IS", b"a lot "))], SETTINGS)
    assert len(study.images) == 1


def test_too_many_elements_are_not_read() -> None:
    many = b"".join(phantoms.element(0x0009, 0x1000 + number, "LO", b"") for number in range(20_001))
    assert refused(phantoms.insert(film(), 0x00091000, many)).refusal.code == "DAMAGED-FILE"
