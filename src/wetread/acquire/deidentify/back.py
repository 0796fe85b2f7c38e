"""The way back: results made on a de-identified copy get the identity of the study they belong to."""

from __future__ import annotations

import io
import json

import pydicom
from pydicom.dataset import Dataset, FileDataset

from wetread.acquire.deidentify.ledger import Ledger
from wetread.acquire.escapes import decode
from wetread.acquire.quiet import FOREIGN_ERRORS, quiet
from wetread.errors import BadInput

__all__ = ["identity_of", "note_identity", "reidentify"]

#: What a result repeats of the study that it belongs to (PS3.3 C.7.1.1 and C.7.2.1).
IDENTITY = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("StudyDate", "StudyTime", "AccessionNumber", "StudyID", "ReferringPhysicianName", "StudyDescription"),
)

#: By which a copy says that it is none of anybody; whoever has a name again does not say so.
_REMOVED = (
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    "LongitudinalTemporalInformationModified",
)


def identity_of(source: Dataset) -> str:
    """Return what must be known of a study to name it again, as JSON."""
    return json.dumps({name: str(source[name].value or "") for name in IDENTITY if name in source})


def note_identity(study_uid: str, identity: str, ledger: Ledger) -> None:
    """Keep the identity of a study under its new Study Instance UID."""
    ledger.remember("study", ledger.uid(study_uid), identity)


def reidentify(data: bytes, ledger: Ledger) -> bytes:
    """Return a result with the UIDs and the identity of the study that its copy was made of.

    Raises
    ------
    BadInput
        It is no DICOM file, or belongs to a study that this ledger does not know.
    """
    with quiet():
        try:
            result = pydicom.dcmread(io.BytesIO(data))
            told = ledger.original("study", str(result.StudyInstanceUID))
            if told is not None:
                _in_unicode(result)
                _name(result, json.loads(told), ledger)
                out = io.BytesIO()
                result.save_as(out, enforce_file_format=True)
                return out.getvalue()
        except FOREIGN_ERRORS as error:
            raise BadInput("re-identification: expected a DICOM file of a study, got something else") from error
    raise BadInput("re-identification: expected a result of a copy that this ledger made, got another study's")


def _in_unicode(result: FileDataset) -> None:
    """Have a result written in UTF-8: its maker's character set need not have the letters of the patient's name."""
    decode(result)  # by the sets that it and its items declare
    for owner in [result, *(item for element in result.iterall() if element.VR == "SQ" for item in element.value)]:
        owner.pop("SpecificCharacterSet", None)
    result.SpecificCharacterSet = "ISO_IR 192"


def _name(result: FileDataset, identity: dict[str, str], ledger: Ledger) -> None:
    """Give a result the identity and the UIDs of the study that it belongs to."""
    for name in IDENTITY:
        if name in identity:
            setattr(result, name, identity[name])
        elif name in result:
            delattr(result, name)
    for name in _REMOVED:
        result.pop(name, None)
    result.walk(lambda owner, element: _restored(element, ledger))
    result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID


def _restored(element: pydicom.DataElement, ledger: Ledger) -> None:
    if element.VR == "UI" and not element.is_empty:
        values = list(element.value) if element.VM > 1 else [element.value]
        old = [ledger.original("uid", str(value)) or str(value) for value in values]
        element.value = old if len(old) > 1 else old[0]
