"""Private elements: those of Table E.3.10-1 stay with their creator, if the option is asked for and the value fits."""

from __future__ import annotations

import io
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from tests import phantoms
from wetread.acquire.deidentify import Ledger, Profile, deidentify
from wetread.acquire.deidentify.private import safe_elements

SAFE = Profile(frozenset({"safe-private"}))


def image() -> Dataset:
    made = phantoms.make_film(BurnedInAnnotation="NO", modality="CT")
    gems = made.private_block(0x0019, "GEMS_ACQU_01", create=True)
    gems.add_new(0x23, "DS", "55.0")
    gems.add_new(0x24, "SH", "Mary")
    gems.add_new(0x25, "DS", "1.0")
    gems.add_new(0x27, "LO", "1.0")  # of another value representation
    made.private_block(0x0043, "SOMEBODY", create=True).add_new(0x27, "SH", "1.375:1")
    made.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x27, "SH", "1.375:1")
    item = Dataset()
    item.private_block(0x7053, "Philips PET Private Group", create=True).add_new(0x00, "DS", "0.000276")
    made.SourceImageSequence = [item]
    return made


def copied(tmp_path: Path, profile: Profile) -> Dataset:
    with Ledger(tmp_path / "ledger") as ledger:
        return pydicom.dcmread(io.BytesIO(deidentify(phantoms.to_bytes(image()), profile, ledger).data))


def test_what_the_standard_lists_stays_with_its_creator(tmp_path: Path) -> None:
    made = copied(tmp_path, SAFE)
    assert {str(element.tag): str(element.value) for element in made if element.tag.is_private} == {
        "(0019,0010)": "GEMS_ACQU_01",
        "(0019,1023)": "55.0",
        "(0043,0011)": "GEMS_PARM_01",
        "(0043,1127)": "1.375:1",
    }
    item = made.SourceImageSequence[0]
    assert item.get_private_item(0x7053, 0x00, "Philips PET Private Group").value == 0.000276
    codes = [item.CodeValue for item in made.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113103", "113104", "113111"]


def test_without_the_option_all_go(tmp_path: Path) -> None:
    assert not [element for element in copied(tmp_path, Profile()).iterall() if element.tag.is_private]


def test_the_table_holds_only_what_cannot_hold_words() -> None:
    assert len(safe_elements()) == 88
    assert {one.vr for one in safe_elements().values()} <= {
        *("DS", "IS", "CS", "SH", "LO", "US", "SS", "UL", "SL", "FL", "FD"),
    }
    assert all(one.group % 2 for one in safe_elements().values())
