"""Files, folders and archives."""

from __future__ import annotations

import os
import stat
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from tests import phantoms
from wetread.acquire import archive, load
from wetread.errors import BadInput
from wetread.records import Study
from wetread.settings import Settings

SETTINGS = Settings()


def film(number: int = 1) -> bytes:
    return phantoms.to_bytes(phantoms.make_film(SOPInstanceUID=f"{phantoms.INSTANCE}.{number}"))


def dicomdir() -> bytes:
    head = phantoms.element(2, 2, "UI", b"1.2.840.10008.1.3.10\0")
    return bytes(128) + b"DICM" + head + phantoms.element(2, 0x10, "UI", b"1.2.840.10008.1.2.1\0") + bytes(64)


def pack(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return stream.getvalue()


def codes(studies: tuple[Study, ...]) -> list[str]:
    return [rejected.refusal.code for study in studies for rejected in study.rejected]


def sources(studies: tuple[Study, ...]) -> list[str]:
    return [image.source for study in studies for image in study.images]


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "film.dcm").write_bytes(film())
    assert sources(load([tmp_path / "film.dcm"], SETTINGS)) == ["film.dcm"]


def test_a_folder_with_everything_below_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "one").write_bytes(film(1))
    (tmp_path / "a" / "b" / "two.dcm").write_bytes(film(2))
    (tmp_path / "README.txt").write_text("no film " * 40, encoding="utf-8")
    (tmp_path / "DICOMDIR").write_bytes(dicomdir())
    (tmp_path / "empty").write_bytes(b"")
    studies = load([tmp_path], SETTINGS)
    assert sources(studies) == ["one", "a/b/two.dcm"]
    assert codes(studies) == []


def test_a_broken_film_in_a_folder_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(film(1))
    (tmp_path / "two").write_bytes(film(2)[:-100])
    assert codes(load([tmp_path], SETTINGS)) == ["TRUNCATED-PIXELS"]


def test_damaged_dicom_is_refused_and_the_rest_is_counted(tmp_path: Path) -> None:
    files = {"a.dcm": film(1), "cut.DCM": film(2)[:100], "none.dcm": b"", "._a.dcm": b"\0\5\x16\7" * 30}
    files |= {"letter.txt": b"Dear colleague", "broken.png": b"PNG", "DICOMDIR": dicomdir()}
    (tmp_path / "folder").mkdir()
    for name, data in files.items():
        (tmp_path / "folder" / name).write_bytes(data)
    (tmp_path / "a.zip").write_bytes(pack(files))
    for path in (tmp_path / "folder", tmp_path / "a.zip"):
        passed: list[int] = []
        studies = load([path], SETTINGS, on_passed=passed.append)
        assert len(sources(studies)) == 1
        assert codes(studies) == ["NOT-DICOM", "NOT-DICOM"]
        assert passed == [3]


def test_the_only_file_of_a_folder_is_answered_for(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear colleague", encoding="utf-8")
    assert codes(load([tmp_path], SETTINGS)) == ["NOT-DICOM"]


def test_a_file_that_was_named_is_answered_for(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("Dear colleague", encoding="utf-8")
    (tmp_path / "DICOMDIR").write_bytes(dicomdir())
    assert codes(load([tmp_path / "letter"], SETTINGS)) == ["NOT-DICOM"]
    assert codes(load([tmp_path / "DICOMDIR"], SETTINGS)) == ["NOT-AN-IMAGE"]


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="found nothing"):
        load([tmp_path / "absent"], SETTINGS)
    with pytest.raises(BadInput, match="found none"):
        load([tmp_path], SETTINGS)
    (tmp_path / "empty.zip").write_bytes(pack({}))
    with pytest.raises(BadInput, match="found none"):
        load([tmp_path / "empty.zip"], SETTINGS)


def test_only_letters_in_a_folder(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("Dear colleague", encoding="utf-8")
    with pytest.raises(BadInput, match="found none"):
        load([tmp_path], SETTINGS)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadInput, match="something else"):
        load([tmp_path / "pipe"], SETTINGS)
    with pytest.raises(BadInput):  # in a folder a pipe is not waited for
        load([tmp_path], SETTINGS)


def test_a_link_to_a_folder_above_ends(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "loop").symlink_to(tmp_path)
    (tmp_path / "one").write_bytes(film())
    assert sources(load([tmp_path], SETTINGS)) == ["one"]


def test_a_file_too_large_is_not_opened(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(80 << 20)  # sparse
    assert codes(load([tmp_path / "huge"], Settings(max_pixels=1000))) == ["TOO-LARGE"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive(tmp_path: Path, method: int) -> None:
    (tmp_path / "x.zip").write_bytes(
        pack({"a/1.dcm": film(1), "b/": b"", "2": film(2), "README": b"hello " * 9, "3": film(3)[:-9]}, method)
    )
    studies = load([tmp_path / "x.zip"], SETTINGS)
    assert sources(studies) == ["x.zip/a/1.dcm", "x.zip/2"]
    assert codes(studies) == ["TRUNCATED-PIXELS"]


def test_an_archive_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(pack({"1.dcm": film(1)}))
    (tmp_path / "two").write_bytes(film(2))
    assert sorted(sources(load([tmp_path], SETTINGS))) == ["two", "x.zip/1.dcm"]


def test_the_only_file_of_an_archive_is_answered_for(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(pack({"letter": b"Dear colleague"}))
    assert codes(load([tmp_path / "x.zip"], SETTINGS)) == ["NOT-DICOM"]


def linked() -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(entry, "/etc/passwd")
    return stream.getvalue()


def encrypted() -> bytes:
    data = bytearray(pack({"1.dcm": film()}))
    data[6] |= 1
    data[data.rindex(b"PK\1\2") + 8] |= 1
    return bytes(data)


def lying() -> bytes:
    """An archive whose directory claims less than the file inflates to."""
    data = bytearray(pack({"1.dcm": bytes(5000)}))
    directory = data.rindex(b"PK\1\2")
    data[directory + 24 : directory + 28] = (100).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (pack({"../up.dcm": film()}), "UNSAFE-ARCHIVE"),
        (pack({"a/../../up.dcm": film(), "1": film()}), "UNSAFE-ARCHIVE"),
        (pack({"/etc/passwd": film()}), "UNSAFE-ARCHIVE"),
        (pack({"..\\up.dcm": film()}), "UNSAFE-ARCHIVE"),
        (pack({"C:\\up.dcm": film()}), "UNSAFE-ARCHIVE"),
        (linked(), "UNSAFE-ARCHIVE"),
        (encrypted(), "UNSAFE-ARCHIVE"),
        (pack({"1": film()}, zipfile.ZIP_LZMA), "UNSAFE-ARCHIVE"),
        (pack({"bomb": bytes(1 << 22)}), "TOO-LARGE"),
        (pack({f"{number}": b"" for number in range(archive.MAX_MEMBERS + 1)}), "TOO-LARGE"),
        (lying(), "DAMAGED-FILE"),
        (pack({"1": film()})[:-30], "DAMAGED-FILE"),
        (b"PK\3\4" + b"junk" * 50, "DAMAGED-FILE"),
    ],
)
def test_a_hostile_archive_is_refused(tmp_path: Path, data: bytes, code: str) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    studies = load([tmp_path / "x.zip"], SETTINGS)
    assert codes(studies) == [code]
    assert sources(studies) == []


def test_the_same_file_over_two_paths_counts_once(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(film())
    assert sources(load([tmp_path / "one", tmp_path], SETTINGS)) == ["one"]
