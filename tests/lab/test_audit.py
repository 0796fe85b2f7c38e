"""Leaks that were planted are found, clean data passes, and what is known beforehand comes out."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import tomllib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

from wetread import cli
from wetread.errors import BadInput
from wetread.lab.audit import Audit, Columns, audit, read_audit, rivals, tables, write_audit
from wetread.lab.audit.plants import CHANGES
from wetread.lab.audit.reference import PLAN, planted
from wetread.lab.audit.twins import pairs

Grey = NDArray[np.uint8]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals are not what is tested here."""
    monkeypatch.setattr(rivals, "DRAWS", 20)


def drawn(seed: int, side: int = 96) -> Grey:
    """An image of its own: blobs of several sizes."""
    rng = np.random.default_rng(seed)
    image = sum(cv2.GaussianBlur(rng.normal(size=(side, side)), (0, 0), s) * s for s in (2, 5, 12))
    return cv2.normalize(np.asarray(image), np.empty(0), 20, 235, cv2.NORM_MINMAX).astype(np.uint8)


def save(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Write images and their manifest; the key "pixels" holds the image, "marked" its mask."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    table = []
    for at, row in enumerate(rows):
        told = {"image": f"images/{at:03}.png", **{k: v for k, v in row.items() if k not in ("pixels", "marked")}}
        cv2.imwrite(str(folder / told["image"]), row["pixels"])
        if "marked" in row:
            told["mask"] = f"labels/{at:03}.png"
            cv2.imwrite(str(folder / told["mask"]), row["marked"])
        table.append(told)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return folder


def clean(n: int = 40) -> list[dict[str, Any]]:
    """Two images a patient, half of them for testing, classes in turn, the class in no pixel."""
    return [
        {
            "pixels": drawn(i),
            "patient": f"Jane-Doe-{i // 2}",
            "label": "ill" if (i // 2) % 2 else "well",
            "split": "train" if i < n // 2 else "test",
            "site": "AB"[(i // 4) % 2],
        }
        for i in range(n)
    ]


def verdicts(found: Audit) -> Mapping[str, str]:
    return {check.name: check.verdict for check in found.checks}


def failed(found: Audit) -> list[str]:
    return [name for name, verdict in verdicts(found).items() if verdict == "fail"]


def test_clean_split_passes(tmp_path: Path) -> None:
    found = audit([save(tmp_path / "data", clean())], Columns())
    assert failed(found) == []
    assert not found.refused
    assert found.split.told == "by the column split"
    assert found.twins == ()
    names = {rival.name for rival in found.rivals}
    assert {"always the commonest class", "site alone", "all metadata, no pixels"} <= names
    assert len(tables(found.document())) == 2


def test_patient_in_two_parts_fails(tmp_path: Path) -> None:
    rows = clean()
    rows[-1]["patient"] = " " + rows[0]["patient"].upper()
    assert failed(audit([save(tmp_path / "data", rows)], Columns())) == ["the same patient in two parts"]


@pytest.mark.parametrize("change", [name for name in CHANGES if "cropped" not in name and "turned" not in name])
def test_copy_in_another_part_fails(tmp_path: Path, change: str) -> None:
    rows = clean()
    rows[-1]["pixels"] = CHANGES[change](rows[0]["pixels"])
    found = audit([save(tmp_path / "data", rows)], Columns())
    assert failed(found) == ["near duplicates"]
    ((pair),) = found.apart
    assert (pair.first, pair.second) == (0, len(rows) - 1)
    expected = change if change in ("mirrored", "inverted") else "near"
    assert pair.kind == expected


def test_exact_copy_is_told_from_a_near_one(tmp_path: Path) -> None:
    rows = clean()
    rows[-1]["pixels"] = rows[0]["pixels"]
    found = audit([save(tmp_path / "data", rows)], Columns())
    assert failed(found) == ["exact duplicates"]
    assert verdicts(found)["one image under two patients"] == "warn"
    assert verdicts(found)["one image under two labels"] == "warn"
    write_audit(found, tmp_path / "out")
    assert (tmp_path / "out" / "pairs.png").stat().st_size > 1000


def test_blank_images_are_no_copies(tmp_path: Path) -> None:
    rows = clean()
    for row in (rows[0], rows[-1]):
        row["pixels"] = np.zeros((96, 96), np.uint8)
    found = audit([save(tmp_path / "data", rows)], Columns())
    assert failed(found) == []
    assert verdicts(found)["blank images"] == "warn"


@pytest.mark.parametrize("pixels", [np.full((96, 96), 7, np.uint8), drawn(1)], ids=["blank", "copies"])
def test_images_that_are_all_alike_are_audited_too(tmp_path: Path, pixels: Grey) -> None:
    folder = save(tmp_path / "data", [{**row, "pixels": pixels} for row in clean()])
    found = audit([folder], Columns())
    assert verdicts(found)["blank images"] == ("pass" if np.ptp(pixels) else "warn")
    assert verdicts(found)["exact duplicates"] == ("fail" if np.ptp(pixels) else "pass")


def test_folds_keep_patients_and_their_copies_together(tmp_path: Path) -> None:
    rows = clean(60)
    for at, other in ((0, 59), (3, 31), (58, 10)):
        rows[other]["pixels"] = rows[at]["pixels"]
    folder = save(tmp_path / "data", rows)
    found = audit([folder], Columns(), "patients:5")
    assert failed(found) == []
    assert len(set(found.split.part)) == 5
    assert sorted(np.concatenate([test for _, test in found.split.folds])) == list(range(60))
    assert "the same patient in two parts" in failed(audit([folder], Columns(), "images:5"))


def test_site_can_be_left_out(tmp_path: Path) -> None:
    found = audit([save(tmp_path / "data", clean())], Columns(), "site")
    assert found.split.told == "each site left out once"
    assert set(found.split.part) == {"A", "B"}


@pytest.mark.parametrize("sites", ["AB", "ABC"])
def test_sites_of_one_class_each_give_no_area(tmp_path: Path, sites: str) -> None:
    rows = [{**row, "site": sites[(i // 2) % len(sites)]} for i, row in enumerate(clean(24))]
    rows = [{**row, "label": "ill" if row["site"] == "A" else "well"} for row in rows]
    found = audit([save(tmp_path / "data", rows)], Columns(), "site")
    assert failed(found) == ["label tied to site"]
    assert all(np.isnan(rival.figures["auc"].value) for rival in found.rivals if "auc" in rival.figures)


def test_class_that_comes_from_one_site_fails(tmp_path: Path) -> None:
    rows = clean()
    for row in rows:
        row["site"] = "A" if row["label"] == "ill" else "B"
    assert failed(audit([save(tmp_path / "data", rows)], Columns())) == ["label tied to site"]


@pytest.mark.parametrize("column", ["site", "institution", "hospital", "scanner", "manufacturer", "device", "view"])
@pytest.mark.parametrize("names", ["ABC", "123"])
def test_a_source_that_is_numbered_is_a_source(tmp_path: Path, column: str, names: str) -> None:
    rows = clean()
    for at, row in enumerate(rows):
        row[column] = names[0] if row["label"] == "ill" else names[1 + at % 2]
    assert failed(audit([save(tmp_path / "data", rows)], Columns())) == [f"label tied to {column}"]


@pytest.mark.parametrize(
    ("values", "verdict", "found"),
    [
        (20, "pass", "Cramér's V 1.00, 0.00 corrected for few images a value"),  # a scanner of its own each
        (10, "warn", "Cramér's V 1.00, 0.75 corrected for few images a value"),
        (2, "fail", "Cramér's V 1.00"),
    ],
)
def test_few_images_a_source_tell_nothing(tmp_path: Path, values: int, verdict: str, found: str) -> None:
    rows = clean(20)
    for at, row in enumerate(rows):
        row |= {"patient": f"p{at}", "label": ("ill", "well")[at % 2], "scanner": f"{1000 + at % values}"}
    checks = {check.name: check for check in audit([save(tmp_path / "data", rows)], Columns()).checks}
    assert (checks["label tied to scanner"].verdict, checks["label tied to scanner"].found) == (verdict, found)


def test_size_that_tells_the_class_is_a_shortcut(tmp_path: Path) -> None:
    rows = clean()
    for at, row in enumerate(rows):
        row["pixels"] = drawn(at, 128 if row["label"] == "ill" else 96)
    found = audit([save(tmp_path / "data", rows)], Columns())
    size = next(rival for rival in found.rivals if rival.name == "image size alone")
    assert size.figures["auc"].value == 1.0
    assert verdicts(found)["metadata tells the class"] == "warn"


def test_masks_that_never_change_are_guessed(tmp_path: Path) -> None:
    rows = clean()
    for row in rows:
        row["marked"] = np.zeros((96, 96), np.uint8)
        row["marked"][24:72, 24:72] = 255
        del row["label"]
    found = audit([save(tmp_path / "data", rows)], Columns())
    assert {rival.name: rival.figures["dice"].value for rival in found.rivals}["the average training mask"] == 1.0
    assert all("auc" not in rival.figures for rival in found.rivals)


def test_class_of_interest_joins_the_others(tmp_path: Path) -> None:
    rows = clean()
    for at, row in enumerate(rows):
        row["label"] = ("well", "Flu", "covid")[(at // 2) % 3]
    folder = save(tmp_path / "data", rows)
    three = next(r for r in audit([folder], Columns()).rivals if r.name.startswith("linear"))
    assert "auc" in three.figures
    assert verdicts(audit([folder], Columns(positive="FLU")))
    with pytest.raises(BadInput, match="positive"):
        audit([folder], Columns(positive="plague"))


@pytest.mark.parametrize("blank", ["", "  "])
def test_an_image_without_a_class_is_of_no_class(tmp_path: Path, blank: str) -> None:
    """One empty cell kept all questions about classes from being asked; training took it for a negative."""
    rows = clean()
    for row in rows:
        row["site"] = f"site of {row['label']}"
    rows[7]["label"] = blank
    found = audit([save(tmp_path / "data", rows)], Columns())
    assert failed(found) == ["images without a class"]
    assert "row 7 of split.csv" in found.checks[-1].found
    assert "Leave out the images whose class nobody knows" in found.sentence
    rows[7]["label"] = f"{rows[9]['label']} "
    assert failed(audit([save(tmp_path / "other", rows)], Columns())) == ["label tied to site"]


def class_folders(folder: Path) -> Path:
    for at, row in enumerate(clean()):
        file = folder / row["split"] / row["label"] / f"{row['patient']}_{at}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), row["pixels"])
    return folder


def test_names_need_not_be_utf_8(run: Run, tmp_path: Path) -> None:
    """Before, OpenCV ended the process over such a name."""
    folder = class_folders(tmp_path / "data")
    for file in [path for path in folder.rglob("*.png") if "Jane-Doe-1" in path.name]:
        file.rename(os.fsdecode(os.fsencode(file.with_suffix("")) + b"\xe9.png"))
    code, out, _ = run(folder, "--patient-from", r"(Jane-Doe-\d+)_")
    assert (code, "audit.json" in out) == (0, True)
    assert "\\udce9.png" in (tmp_path / "out" / "split.csv").read_text("utf-8")
    next(folder.rglob("*.png")).write_bytes(b"")
    code, _, err = run(folder, "--patient-from", r"(Jane-Doe-\d+)_")
    assert (code, "got 0 bytes that are none" in err) == (4, True)


def test_class_folders_need_to_know_the_patient(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "data")
    assert failed(audit([folder], Columns())) == ["the same patient in two parts"]
    found = audit([folder], Columns(patient_pattern=r"(Jane-Doe-\d+)_"))
    assert failed(found) == []
    assert {row.label for row in found.rows} == {"ill", "well"}
    assert set(found.split.part) == {"train", "test"}


@pytest.mark.parametrize("masks", ["labels", "masks"])
def test_pictures_and_their_masks_are_no_classes(tmp_path: Path, masks: str) -> None:
    for name in ("images", masks):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), drawn(1))
    with pytest.raises(BadInput, match=rf"got pictures in images/ and {masks}/; name pictures and their"):
        audit([tmp_path], Columns(patient_pattern="([a-z])"))


def test_a_class_behind_a_link_is_not_left_out_without_a_word(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "data")
    (folder / "train" / "ill").rename(tmp_path / "elsewhere")
    (folder / "train" / "ill").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="expected folders, got a link to one"):
        audit([folder], Columns())


def volumes(folder: Path, images: str, labels: str) -> Path:
    from nibabel import nifti1

    for name in (images, labels):
        (folder / name).mkdir(parents=True)
    for at in range(8):
        cube = np.stack([drawn(at * 20 + z, 24) for z in range(12)]).T
        for name, voxels in ((images, cube), (labels, (cube > 128).astype(np.uint8))):
            nifti1.Nifti1Image(voxels, np.eye(4)).to_filename(folder / name / f"case_{at}.nii.gz")  # type: ignore[no-untyped-call]
    return folder


def test_nifti_pairs(tmp_path: Path) -> None:
    folder = volumes(tmp_path / "data", "images", "labels")
    found = audit([folder], Columns(), "patients:4")
    assert failed(found) == []
    assert [rival.name for rival in found.rivals if "dice" in rival.figures]
    assert tuple(found.looks.size[0]) == (24, 72)
    (folder / "labels" / "case_3.nii.gz").unlink()
    with pytest.raises(BadInput, match="file 4"):
        audit([folder], Columns())


def test_one_volume_in_two_orders_is_a_copy(tmp_path: Path) -> None:
    """Stored towards the left and back instead of right and front, it is the same to whoever trains on it."""
    from nibabel import nifti1

    folder = volumes(tmp_path / "data", "images", "labels")
    for kind in ("images", "labels"):
        voxels = np.asarray(nifti1.load(folder / kind / "case_0.nii.gz").dataobj)  # type: ignore[no-untyped-call]
        turned = voxels[::-1, ::-1].swapaxes(0, 2), np.eye(4)[[2, 1, 0, 3]] * [1, -1, -1, 1]
        nifti1.Nifti1Image(*turned).to_filename(folder / kind / "case_7.nii.gz")  # type: ignore[no-untyped-call]
    assert verdicts(audit([folder], Columns(), "images:4"))["exact duplicates"] == "fail"


@pytest.mark.parametrize("hidden", [False, True])
def test_equal_images_are_found_whatever_their_thumbnails_say(tmp_path: Path, hidden: bool) -> None:
    looks = audit([save(tmp_path / "data", clean(8))], Columns()).looks
    digest, thumbnail = looks.digest.copy(), looks.thumbnail.copy()
    digest[5] = digest[2]
    thumbnail[5] = np.nan if hidden else thumbnail[2]
    (pair,) = pairs(replace(looks, digest=digest, thumbnail=thumbnail))
    assert (pair.first, pair.second, pair.kind, pair.detail) == (2, 5, "exact", 1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    folder = save(tmp_path / "data", clean())
    pixels = drawn(3).astype(np.float32)
    pixels[0, :7] = value
    cv2.imwrite(str(folder / "images/003.tiff"), pixels)
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("003.png", "003.tiff"))
    with pytest.raises(BadInput, match="row 4: expected pixels that are numbers, got 7 of 9216 that are NaN"):
        audit([folder], Columns())


def test_decathlon(tmp_path: Path) -> None:
    folder = volumes(tmp_path / "Task99", "imagesTr", "labelsTr")
    training = [{"image": f"./imagesTr/case_{at}.nii.gz", "label": f"./labelsTr/case_{at}.nii.gz"} for at in range(8)]
    (folder / "dataset.json").write_text(json.dumps({"training": training}))
    assert len(audit([folder], Columns(), "patients:4").rows) == 8
    training[2]["image"] = "../Task99/../elsewhere.nii.gz"
    shutil.copy(folder / "imagesTr/case_0.nii.gz", tmp_path / "elsewhere.nii.gz")
    (folder / "dataset.json").write_text(json.dumps({"training": training}))
    with pytest.raises(BadInput, match="training 3"):
        audit([folder], Columns())


def test_file_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "data", clean())
    shutil.copy(folder / "images/000.png", tmp_path / "secret.png")
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("images/005.png", "../secret.png"))
    with pytest.raises(BadInput, match="row 6"):
        audit([folder], Columns())


def too_large() -> bytes:
    """A PNG whose header tells of 60,000 x 60,000 pixels."""
    data = bytearray(cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "images/003.png").write_bytes(b"no image"), "row 4"),
        (lambda folder: (folder / "images/003.png").write_bytes(too_large()), "row 4: expected an image"),
        (lambda folder: (folder / "manifest.csv").write_text("image,label\n"), "rows"),
        (lambda folder: (folder / "manifest.csv").write_text("picture\nimages/000.png\n"), "column"),
    ],
)
def test_bad_input_says_where(tmp_path: Path, damage: Callable[[Path], Any], said: str) -> None:
    folder = save(tmp_path / "data", clean())
    damage(folder)
    with pytest.raises(BadInput, match=said) as error:
        audit([folder], Columns())
    assert "Jane" not in str(error.value)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.replace("ill", "kränklich", 1).encode("latin-1"), "line 4: .* got the byte 0xe4"),
        (lambda text: text.encode("utf-16"), "line 1: expected UTF-8, got UTF-16; save the table as CSV in UTF-8"),
        (lambda text: text.replace(",ill,", ",ill, very,", 1).encode(), "row 3: expected 5 cells, .* got more"),
    ],
)
def test_a_table_that_is_not_as_it_should_be_says_where(
    tmp_path: Path, damage: Callable[[str], bytes], said: str
) -> None:
    folder = save(tmp_path / "data", clean(8))
    manifest = folder / "manifest.csv"
    manifest.write_bytes(damage(manifest.read_text()))
    with pytest.raises(BadInput, match=f"manifest.csv {said}"):
        audit([folder], Columns())


def test_a_report_in_the_table_is_no_name_of_a_file(tmp_path: Path) -> None:
    words = "No consolidation, no effusion. " * 12
    found = audit([save(tmp_path / "data", [{**row, "label": f"{words}{row['label']}"} for row in clean()])], Columns())
    assert not found.looks.masked.any()


@pytest.mark.parametrize("columns", [Columns(label="colour"), Columns(patient="who"), Columns(facts=("ward",))])
def test_unknown_column_lists_the_known(tmp_path: Path, columns: Columns) -> None:
    with pytest.raises(BadInput, match="split"):
        audit([save(tmp_path / "data", clean())], columns)


@pytest.mark.parametrize("way", ["planet", "patients:1", "mask"])
def test_unknown_split_says_what_there_is(tmp_path: Path, way: str) -> None:
    with pytest.raises(BadInput, match="patients:K"):
        audit([save(tmp_path / "data", clean())], Columns(), way)


def test_files_hold_no_patient(tmp_path: Path) -> None:
    rows = clean()
    rows[-1]["pixels"] = rows[0]["pixels"]
    found = audit([save(tmp_path / "data", rows)], Columns())
    write_audit(found, tmp_path / "out")
    told = (tmp_path / "out" / "audit.json").read_text()
    assert "Jane" not in told
    assert ".png" not in told
    assert json.loads(told)["pairs"] == [{"rows": [0, 39], "kind": "exact", "detail": 1.0}]


def test_figures_carry_only_an_audit_that_was_accepted(tmp_path: Path) -> None:
    folder = save(tmp_path / "data", clean())
    write_audit(audit([folder], Columns(), "images:5"), tmp_path)
    with pytest.raises(BadInput, match=r"leaks nothing, got the same patient in two parts \(.* --accept-leakage"):
        read_audit(tmp_path / "audit.json")
    write_audit(audit([folder], Columns(), "images:5", "to show the leak"), tmp_path)
    told = read_audit(tmp_path / "audit.json")
    assert told["accepted"] == "to show the leak"
    assert [check["verdict"] for check in told["checks"]].count("fail") == 1
    with pytest.raises(BadInput, match="audit"):
        read_audit(tmp_path / "nothing.json")


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "200")
        start = ["wetread", "lab", "data", "--out", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", [*start, *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    return call


def test_command_tells_people_and_machines(run: Run, tmp_path: Path) -> None:
    folder = save(tmp_path / "data", clean())
    code, out, _ = run(folder)
    assert code == 0
    for word in ("exact duplicates", "what a figure must beat", "Nothing leaks", "audit.json"):
        assert word in out
    code, out, _ = run(folder, "--split", "images:5", "--json")
    assert code == 3
    assert json.loads(out)["refused"] is True
    assert {Path(file).name for file in json.loads(out)["files"]} == {"audit.json", "split.csv", "baselines.svg"}
    code, out, _ = run(folder, "--split", "images:5", "--accept-leakage", "a lesson")
    assert code == 0
    assert "a lesson" in out
    assert run(tmp_path / "nowhere")[0] == 4


def test_command_reads_dicom_in_class_folders(run: Run, tmp_path: Path) -> None:
    for label, name in (("head", "CT_small.dcm"), ("shoulder", "MR2_UNCI.dcm")):
        (tmp_path / "data" / label).mkdir(parents=True)
        shutil.copy(str(get_testdata_file(name)), tmp_path / "data" / label / "a.dcm")
    code, out, _ = run(tmp_path / "data", "--split", "patients:2", "--json")
    assert code == 0
    assert json.loads(out)["patients"] == 2
    (tmp_path / "data" / "head" / "b.dcm").write_bytes(b"none")
    code, _, err = run(tmp_path / "data", "--split", "patients:2")
    assert code == 4
    assert "file 2 by name" in err


def test_command_reads_series_with_segmentations(run: Run, tmp_path: Path) -> None:
    """Folders of patients, each with a film and what was marked on it: the folders are no classes."""
    from tests.report import phantom
    from wetread import report

    film = Path(str(get_testdata_file("RG1_UNCR.dcm")))
    for patient in ("A", "B"):
        (tmp_path / "data" / patient / "series").mkdir(parents=True)
        shutil.copy(film, tmp_path / "data" / patient / "series" / "1.dcm")
    (seg,) = (one.data for one in report.documents(phantom.result("real")) if one.kind == "SEG")
    (tmp_path / "data" / "A" / "seg.dcm").write_bytes(seg)
    code, out, _ = run(tmp_path / "data", "--split", "images:2", "--json")
    told = json.loads(out)
    assert code == 3
    assert (told["images"], told["patients"], told["classes"]) == (2, 1, {})
    average = told["baselines"][0]
    assert average["name"] == "the average training mask"
    assert average["dice"]["value"] > 0.99


def test_command_misses_the_images_of_segmentations(run: Run, tmp_path: Path) -> None:
    """They were left out without a word, and the folders of patients taken for classes."""
    from tests.report import phantom
    from wetread import report

    for patient, name in (("A", "CT_small.dcm"), ("B", "MR2_UNCI.dcm")):
        (tmp_path / "data" / patient).mkdir(parents=True)
        shutil.copy(str(get_testdata_file(name)), tmp_path / "data" / patient / "1.dcm")
    (seg,) = (one.data for one in report.documents(phantom.result("real")) if one.kind == "SEG")
    (tmp_path / "data" / "A" / "seg.dcm").write_bytes(seg)
    code, out, err = run(tmp_path / "data", "--split", "patients:2", "--json")
    assert (code, out) == (4, "")
    assert "1 of the 1 images that DICOM SEG name are not below" in err
    assert not (tmp_path / "out").exists()


def test_folders_that_may_not_be_read_are_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ball", "shut"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.eye(16, dtype=np.uint8))
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "shut")
    with pytest.raises(BadInput, match="expected folders that may be read, got 1 that may not"):
        audit([tmp_path], Columns())
    with pytest.raises(BadInput, match="expected a folder that may be read"):
        audit([tmp_path / "shut"], Columns())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,mask\na.png,m.png\na.png,x.png\n", "row 2, mask: expected a file inside the folder, or an empty cell"),
        ("image,patient,patient\na.png,p,q\n", "expected columns of different names, got 'patient' twice"),
    ],
)
def test_a_manifest_that_names_what_there_is_not(tmp_path: Path, text: str, said: str) -> None:
    """It went on without the mask, and with the second column."""
    cv2.imwrite(str(tmp_path / "a.png"), np.eye(16, dtype=np.uint8))
    shutil.copy(tmp_path / "a.png", tmp_path / "m.png")
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(BadInput, match=said):
        audit([tmp_path], Columns())


def test_files_without_an_end_are_none(tmp_path: Path) -> None:
    (tmp_path / "patient").mkdir()
    shutil.copy(str(get_testdata_file("CT_small.dcm")), tmp_path / "patient" / "IM0001")
    with pytest.raises(BadInput, match=r"found none of them; files are known by their ends, \.png .* \.dcm; see docs"):
        audit([tmp_path], Columns())


def test_a_manifest_with_semicolons_says_so(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("image;patient;label\na.png;p;ill\n")
    with pytest.raises(BadInput, match="in the first row no file; put commas between the cells"):
        audit([tmp_path], Columns())


def test_published_audits_are_those_of_the_plan() -> None:
    plan = tomllib.loads(PLAN.read_text(encoding="utf-8"))["audit"]
    told = json.loads((ROOT / "docs/evidence/audit.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/evidence/audit.md").read_text(encoding="utf-8")
    assert list(told) == [table["title"] for table in plan]
    for title, one in told.items():
        assert f"## {title}" in page
        assert one["refused"] is ("wrong on purpose" in title)
    assert planted({"a": dict.fromkeys(CHANGES, 1.0)}).count("100%") == len(CHANGES)
