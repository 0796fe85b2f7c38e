"""The attributes by which what is held can be found, and how they are read from an encoded object.

Nothing but short values of the outermost level is read, as for filing (`wetread.wire.glance`).

References
----------
PS3.18 Tables 10.6.3-3 to 10.6.3-5 (resources' attributes); PS3.6 (tags and VRs).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from wetread.errors import BadInput
from wetread.wire.glance import Tag, text, written
from wetread.wire.part10 import EXPLICIT_BIG, SHORT, Meta, outermost


class Level(IntEnum):
    """What a search returns."""

    STUDY = 0
    SERIES = 1
    INSTANCE = 2


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute that is kept of every object."""

    keyword: str
    tag: int
    vr: str
    level: Level


_ROWS = (
    ("StudyDate", 0x00080020, "DA", Level.STUDY),
    ("StudyTime", 0x00080030, "TM", Level.STUDY),
    ("AccessionNumber", 0x00080050, "SH", Level.STUDY),
    ("ReferringPhysicianName", 0x00080090, "PN", Level.STUDY),
    ("TimezoneOffsetFromUTC", 0x00080201, "SH", Level.STUDY),
    ("StudyDescription", 0x00081030, "LO", Level.STUDY),
    ("PatientName", 0x00100010, "PN", Level.STUDY),
    ("PatientID", 0x00100020, "LO", Level.STUDY),
    ("IssuerOfPatientID", 0x00100021, "LO", Level.STUDY),
    ("PatientBirthDate", 0x00100030, "DA", Level.STUDY),
    ("PatientSex", 0x00100040, "CS", Level.STUDY),
    ("StudyInstanceUID", 0x0020000D, "UI", Level.STUDY),
    ("StudyID", 0x00200010, "SH", Level.STUDY),
    ("Modality", 0x00080060, "CS", Level.SERIES),
    ("StationName", 0x00081010, "SH", Level.SERIES),
    ("SeriesDescription", 0x0008103E, "LO", Level.SERIES),
    ("BodyPartExamined", 0x00180015, "CS", Level.SERIES),
    ("SeriesInstanceUID", 0x0020000E, "UI", Level.SERIES),
    ("SeriesNumber", 0x00200011, "IS", Level.SERIES),
    ("PerformedProcedureStepStartDate", 0x00400244, "DA", Level.SERIES),
    ("PerformedProcedureStepStartTime", 0x00400245, "TM", Level.SERIES),
    ("SOPClassUID", 0x00080016, "UI", Level.INSTANCE),
    ("SOPInstanceUID", 0x00080018, "UI", Level.INSTANCE),
    ("AvailableTransferSyntaxUID", 0x00083002, "UI", Level.INSTANCE),
    ("InstanceNumber", 0x00200013, "IS", Level.INSTANCE),
    ("NumberOfFrames", 0x00280008, "IS", Level.INSTANCE),
    ("Rows", 0x00280010, "US", Level.INSTANCE),
    ("Columns", 0x00280011, "US", Level.INSTANCE),
    ("BitsAllocated", 0x00280100, "US", Level.INSTANCE),
)
ATTRIBUTES = {row[0]: Attribute(*row) for row in _ROWS}
#: The UIDs that name a study, series or instance, the outermost first.
KEYS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")

_BY_TAG = {one.tag: one for one in ATTRIBUTES.values()}
LAST = max(_BY_TAG)  # no element behind it is looked at


def described(data: bytes | bytearray | memoryview, about: Meta) -> dict[str, str]:
    """Return what an encoded object says of itself.

    Parameters
    ----------
    data
        The DICOM file.
    about
        Its file meta information.

    Returns
    -------
    dict of str to str
        Each keyword of `ATTRIBUTES`, "" where the object does not say; several values are parted by a backslash.
        Values of more than 256 bytes count as not said.
    """
    found = dict.fromkeys(ATTRIBUTES, "")
    order = ">" if about.transfer_syntax == EXPLICIT_BIG else "<"
    character_set = ""
    try:
        for tag, vr, value in outermost(memoryview(data)[about.offset :], about.transfer_syntax):
            if tag > LAST:
                break
            if tag == Tag.CHARACTER_SET:
                character_set = text(value, "").strip(" \0")
            elif (one := _BY_TAG.get(tag)) is not None and len(value) <= SHORT:
                plain = value if one.vr == "US" else written(vr, value, about.transfer_syntax)
                found[one.keyword] = _value(plain, one.vr, order, character_set)
    except BadInput:  # what is broken behind its UIDs is the reader's business
        pass
    found["AvailableTransferSyntaxUID"] = about.transfer_syntax
    return found


def _value(value: bytes, vr: str, order: str, character_set: str) -> str:
    if vr == "US":
        return str(struct.unpack(order + "H", value)[0]) if len(value) == 2 else ""
    decoded = text(value, character_set if vr in ("PN", "LO", "SH") else "")
    return decoded.replace("\0", "").strip()
