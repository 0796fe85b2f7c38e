"""Text in the pixels: blacked out where a rule says that it stands, in every frame, and nowhere else."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from tests import phantoms
from wetread.acquire.deidentify import Answers, Ledger, Profile, answered, asked, deidentify
from wetread.errors import Blocked, SettingsError
from wetread.routes import BurnedIn, burned_in_of
from wetread.settings import Settings

RULE = BurnedIn(((8, 4, 30, 10),), 96, 80, ("phantom*",))
CLEAN = BurnedIn((), modality=("C[RT]",), image_type=("ORIGINAL\\PRIMARY*",))


def profile(*rules: BurnedIn) -> Profile:
    return replace(Profile(), burned_in=rules)


def copied(tmp_path: Path, data: bytes, *rules: BurnedIn) -> Dataset:
    with Ledger(tmp_path / "ledger") as ledger:
        return pydicom.dcmread(io.BytesIO(deidentify(data, profile(*rules), ledger).data))


def grey(frames: int, signed: bool, photometric: str, syntax: str) -> Dataset:
    low, high = phantoms.stored_range(12, signed)
    stored = np.stack([phantoms.chest(96, 80, low, high)] * frames) if frames > 1 else phantoms.chest(96, 80, low, high)
    return phantoms.make_film(stored, signed=signed, photometric=photometric, syntax=syntax, BurnedInAnnotation="YES")


@pytest.mark.parametrize(
    ("frames", "signed", "photometric", "syntax"),
    [
        (1, False, "MONOCHROME2", uid.ExplicitVRLittleEndian),
        (3, True, "MONOCHROME2", uid.ImplicitVRLittleEndian),
        (2, False, "MONOCHROME1", uid.DeflatedExplicitVRLittleEndian),
        (2, False, "MONOCHROME2", uid.RLELossless),
        (1, False, "MONOCHROME1", uid.JPEG2000Lossless),
    ],
)
def test_greys(tmp_path: Path, frames: int, signed: bool, photometric: str, syntax: str) -> None:
    source = grey(frames, signed, photometric, syntax)
    before = np.frombuffer(source.PixelData, "<u2").reshape(frames, 96, 80)
    made = copied(tmp_path, phantoms.to_bytes(source), RULE)
    encapsulated = syntax in (uid.RLELossless, uid.JPEG2000Lossless)
    assert made.file_meta.TransferSyntaxUID == (uid.ExplicitVRLittleEndian if encapsulated else syntax)
    assert made.BurnedInAnnotation == "NO"
    assert made.DeidentificationMethodCodeSequence[1].CodeValue == "113101"
    after = np.frombuffer(made.PixelData, "<u2").reshape(frames, 96, 80)
    assert len(np.unique(before[:, 4:14, 8:38])) > 1
    black = before.max() if photometric == "MONOCHROME1" else before.min()
    assert (after[:, 4:14, 8:38] == black).all()
    outside = np.ones((96, 80), bool)
    outside[4:14, 8:38] = False
    assert np.array_equal(after[:, outside], before[:, outside])


@pytest.mark.parametrize(("photometric", "black"), [("RGB", (0, 0, 0)), ("YBR_FULL", (0, 128, 128))])
@pytest.mark.parametrize("planar", [0, 1])
def test_colours(tmp_path: Path, photometric: str, black: tuple[int, ...], planar: int) -> None:
    values = np.random.default_rng(5).integers(1, 250, (2, 96, 80, 3), np.uint8)
    source = phantoms.make_film(bits=(8, 8, 7), photometric=photometric, modality="US", NumberOfFrames=2)
    source.SamplesPerPixel, source.PlanarConfiguration = 3, planar
    source.PixelData = (np.moveaxis(values, -1, 1) if planar else values).tobytes()
    made = copied(tmp_path, phantoms.to_bytes(source), RULE)
    after = np.frombuffer(made.PixelData, np.uint8).reshape((2, 3, 96, 80) if planar else (2, 96, 80, 3))
    after = np.moveaxis(after, 1, -1) if planar else after
    values[:, 4:14, 8:38] = black
    assert np.array_equal(after, values)


def test_the_first_rule_that_fits_decides(tmp_path: Path) -> None:
    film = phantoms.make_film()
    data = phantoms.to_bytes(film)
    other = replace(RULE, rows=97)
    made = copied(tmp_path, data, other, CLEAN, RULE)
    assert made.PixelData == film.PixelData
    assert made.BurnedInAnnotation == "NO"
    assert (
        made.DeidentificationMethodCodeSequence[1].CodeValue == "113101"
    )  # the same in all that leaves by these rules
    assert [one.CodeValue for one in copied(tmp_path, data, CLEAN).DeidentificationMethodCodeSequence].count(
        "113101"
    ) == 0
    with pytest.raises(Blocked) as blocked:
        copied(tmp_path, data, other)
    assert blocked.value.code == "BURNED-IN"


@pytest.mark.parametrize(
    ("changes", "rule", "code"),
    [
        ({"BurnedInAnnotation": "YES"}, CLEAN, "BURNED-IN"),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, CLEAN, "BURNED-IN"),
        ({"PixelData": None}, RULE, "NO-PIXELS"),
        ({"PixelData": b"\0" * 96}, RULE, "NOT-READABLE"),
        ({"PhotometricInterpretation": "YBR_FULL_422"}, RULE, "NOT-READABLE"),
        ({"BitsAllocated": 1}, RULE, "NOT-READABLE"),
        ({"syntax": uid.ExplicitVRBigEndian}, RULE, "NOT-READABLE"),
    ],
)
def test_what_cannot_be_cleaned_stays(tmp_path: Path, changes: dict[str, Any], rule: BurnedIn, code: str) -> None:
    with pytest.raises(Blocked) as blocked:
        copied(tmp_path, phantoms.to_bytes(phantoms.make_film(**changes)), rule)
    assert blocked.value.code == code


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ("US", "expected tables"),
        ([3], "expected a table with rectangles"),
        ([{"modality": "US"}], "expected a table with rectangles"),
        ([{"rectangles": []}], "at least one condition"),
        ([{"rectangles": [], "body": "HEAD"}], "unknown key 'body'"),
        ([{"rectangles": [[0, 0, 9]], "rows": 9}], "expected a list of"),
        ([{"rectangles": [[0, 0, 9, 9]], "rows": 9}], "rows and columns beside them"),
        ([{"rectangles": [[1, 0, 9, 9]], "rows": 9, "columns": 9}], "rectangles within"),
        ([{"rectangles": [], "rows": "9"}], "a whole number from 1"),
        ([{"rectangles": [], "model": []}], "text or a list of texts"),
    ],
)
def test_rules_are_read_strictly(tables: Any, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        burned_in_of(tables)
    assert burned_in_of([{"rectangles": [[0, 0, 9, 9]], "rows": 9, "columns": 9, "model": "X*"}]) == (
        BurnedIn(((0, 0, 9, 9),), 9, 9, model=("X*",)),
    )


def test_who_holds_no_ledger_makes_the_same_copy(tmp_path: Path) -> None:
    data, rules = phantoms.to_bytes(grey(2, False, "MONOCHROME2", uid.RLELossless)), profile(RULE)
    told = asked(data, rules)
    with Ledger(tmp_path / "ledger") as ledger:
        answers = Answers(
            {old: ledger.uid(old) for old in told.uids},
            {old: ledger.pseudonym("patient", old) for old in told.patients},
            ledger.shift_days(told.patient),
        )
        assert answered(data, rules, answers, Settings()) == deidentify(data, rules, ledger).data
        assert told.study_uid == phantoms.STUDY
        with pytest.raises(Blocked, match="NOT-READABLE"):
            answered(data, rules, Answers({}, {}, 0), Settings())
