"""The checker on what other software made: it finds true faults, each named here, and accuses nothing sound."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from tests.report import others
from tests.report.others import faults
from wetread import report

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

#: Content Creator's Name is type 2, and highdicom leaves it out unless somebody gives it.
_CREATOR = ("ContentCreatorName", "PS3.3 Table 10-12")
#: dcmqi points to Image Position inside the real world value mapping; its image type is not that of its frames.
_DCMQI_MAP = {
    ("DimensionIndexSequence", "PS3.3 C.7.6.17"),
    ("FrameType", "PS3.3 C.8.32.3.1"),
}


@pytest.mark.parametrize("name", others.HIGHDICOM)
def test_highdicom(name: str) -> None:
    found = faults(report.check(others.HIGHDICOM[name]()))
    assert found == ({_CREATOR} if name.startswith(("SEG", "PM")) else set())


@pytest.mark.peer
def test_dcmqi(tmp_path: Path) -> None:
    made = others.of_dcmqi(tmp_path)
    assert sorted(made) == ["PM", "SEG binary", "SEG labelmap", "SR"]
    assert {name: faults(report.check(data)) for name, data in made.items()} == {
        "PM": _DCMQI_MAP,
        "SEG binary": set(),
        "SEG labelmap": set(),
        "SR": set(),
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("liver.dcm", set()),
        ("liver_expb.dcm", set()),
        (
            "liver_1frame.dcm",  # three frames are described and one is there
            {("NumberOfFrames", "PS3.3 C.7.6.16")},
        ),
        ("SC_rgb.dcm", {("Manufacturer", "PS3.3 C.7.5.1")}),
        ("SC_rgb_expb.dcm", {("Manufacturer", "PS3.3 C.7.5.1")}),
        ("SC_ybr_full_422_uncompressed.dcm", {("Manufacturer", "PS3.3 C.7.5.1")}),
    ],
)
def test_files_of_pydicom(name: str, expected: set[tuple[str, str]]) -> None:
    assert faults(report.check(Path(str(get_testdata_file(name))).read_bytes())) == expected


def test_a_fault_of_others_is_found_all_the_same() -> None:
    made = others.report("Comprehensive3DSR", "Person")
    measured = made.ContentSequence[-1].ContentSequence[0]
    del measured.ContentSequence[1]  # Tracking Unique Identifier
    made.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence.pop()
    assert faults(report.check(made)) == {
        ("ContentSequence.ContentSequence", "PS3.16 TID 1501"),
        ("ContentSequence.ContentSequence.ContentSequence", "PS3.3 C.17.2.3"),
    }
