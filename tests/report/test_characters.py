"""Names in every script come out as they came in."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_charset_files

from tests import phantoms
from tests.report import phantom
from wetread import acquire, report
from wetread.records import Refusal, Result
from wetread.report.characters import codecs_of, fits, read, written
from wetread.report.elements import decode, get
from wetread.settings import Settings

#: pydicom's test files of character sets, one for each script.
_SEQUENCES = {"chrSQEncoding.dcm", "chrSQEncoding1.dcm"}
FILES = sorted({Path(name).name for name in get_charset_files("chr*.dcm")} - _SEQUENCES)


def test_the_files_are_there() -> None:
    assert len(FILES) >= 10


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", FILES)
def test_a_name_keeps_its_script(name: str) -> None:
    source = dcmread(get_charset_files(name)[0])
    given = Result(
        study_uid=source.get("StudyInstanceUID", "1.2.3"),
        source="file",
        digest="00" * 32,
        header=source,
        image=None,
        refusal=Refusal("NOT-AN-IMAGE", "The object holds no image to read."),
    )
    made = report.documents(given)
    assert made[0].kind == "SR"
    again = dcmread(io.BytesIO(made[0].data))
    assert str(again.PatientName) == str(source.PatientName)
    assert report.check(made[0].data, source) == ()


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
)
def test_there_and_back(declared: str, text: str) -> None:
    codecs = codecs_of(declared)
    assert fits(text, codecs)
    assert read("PN", written("PN", text, codecs), codecs) == text


@pytest.mark.parametrize(
    ("vr", "text", "raw"),
    [
        # PS3.5 Annex K: 张 is D5 C5, 小东 is D0 A1 B6 AB; each run of them is invoked anew.
        ("PN", "Zhang^XiaoDong=张^小东", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab"),
        ("LT", "1. 张\r\n2. 小东", b"1. \x1b$)A\xd5\xc5\r\n2. \x1b$)A\xd0\xa1\xb6\xab"),
    ],
)
def test_chinese_by_code_extension_is_what_the_standard_shows(vr: str, text: str, raw: bytes) -> None:
    codecs = codecs_of("\\ISO 2022 IR 58")
    assert written(vr, text, codecs) == raw
    assert read(vr, raw, codecs) == text
    assert not fits("Köln", codecs_of("ISO 2022 IR 100\\ISO 2022 IR 58"))


def test_chinese_by_code_extension_goes_from_an_image_into_its_report() -> None:
    film = phantoms.make_film(  # a name and a text as pydicom writes them
        SpecificCharacterSet=["", "ISO 2022 IR 58"],
        PatientName="Zhang^XiaoDong=\x1b$)A张^\x1b$)A小东",
        StudyDescription="\x1b$)A胸部",
    )
    blobs = [("film", phantoms.to_bytes(film))]
    ((image,),) = [study.images for study in acquire.decode(blobs, Settings())]
    assert image.header is not None
    assert (image.header.PatientName, image.header.StudyDescription) == ("Zhang^XiaoDong=张^小东", "胸部")
    made = report.documents(replace(phantom.refused(), header=image.header))
    assert get(decode(made[0].data)[1], "PatientName") == "Zhang^XiaoDong=张^小东"
    assert b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab" in made[0].data


def test_what_does_not_fit_is_refused() -> None:
    assert codecs_of("ISO_IR 999") == ()
    assert not fits("Müller", codecs_of(""))
    assert not fits("Müller 王", codecs_of("\\ISO 2022 IR 87"))
    for declared in ("", "\\ISO 2022 IR 87"):
        with pytest.raises(UnicodeEncodeError):
            written("LO", "Müller", codecs_of(declared))
    with pytest.raises(UnicodeEncodeError):
        written("CS", "Ü", codecs_of("ISO_IR 192"))
    assert read("LO", b"\xff", codecs_of("ISO_IR 192")) == "�"


def test_a_set_that_the_standard_does_not_know_becomes_utf8() -> None:
    given = phantom.refused()
    given.header.SpecificCharacterSet = "ISO_IR 192"
    given.header.PatientName = "王^小东"
    given.header.SpecificCharacterSet = "NO SUCH SET"
    made = report.documents(given)
    assert dcmread(io.BytesIO(made[0].data)).SpecificCharacterSet == "ISO_IR 192"
