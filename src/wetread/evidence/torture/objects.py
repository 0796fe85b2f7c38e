"""What is sent: small objects whose reader is told what to do with them, and a real film under many names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from wetread.evidence.film import film_for_every_model
from wetread.uids import derive
from wetread.wire.part10 import EXPLICIT_LITTLE, header, meta

CR = "1.2.840.10008.5.1.4.1.1.1"
SMALL_BYTES = 100_000  # what is smaller takes the cheap reader

#: What the cheap reader does with an object, told by its Image Comments (0020,4000).
READ, REFUSE, CRASH = "read", "refuse", "crash"


@dataclass(frozen=True, slots=True)
class Sent:
    """One object on its way to a node."""

    data: bytes
    study: str
    instance: str
    patient: str
    accession: str
    fate: str
    digest: str


def kept(dataset: Dataset, sop_class: str, instance: str) -> bytes:
    """Return an object as a node keeps it: its encoded data set behind file meta information of the node's own."""
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    data = file.getvalue()
    return header(sop_class, instance, EXPLICIT_LITTLE) + data[meta(data).offset :]


def plain(study: str, series: str, instance: str, sop_class: str = CR) -> Dataset:
    """Return a data set with nothing but what every object has."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(EXPLICIT_LITTLE)
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = UID(sop_class)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = UID(instance)
    made.StudyInstanceUID, made.SeriesInstanceUID = UID(study), UID(series)
    return made


def small(name: str, number: int, fate: str = READ, size: int = 3000) -> Sent:
    """Return object `number` of the study called `name`, with `size` bytes of pixels."""
    study, instance = derive("torture", name), derive("torture", name, str(number))
    made = plain(study, derive("torture", name, "series"), instance)
    made.Modality, made.ImageComments = "CR", fate
    made.PatientName, made.PatientID = f"Torture^{name}", f"P-{name}"
    made.AccessionNumber = f"A-{name}"[:16]
    made.add_new(0x7FE00010, "OW", bytes((i * (number + 1)) % 251 for i in range(size)))
    return _sent(kept(made, CR, instance), made, fate)


def real(name: str) -> Sent:
    """Return a real chest film as a study of its own: every model for films reads it."""
    made = pydicom.dcmread(BytesIO(film_for_every_model()))
    made.StudyInstanceUID, made.SeriesInstanceUID = derive("torture", name), derive("torture", name, "series")
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(derive("torture", name, "0"))
    made.PatientID, made.AccessionNumber = f"P-{name}", f"A-{name}"[:16]
    return _sent(kept(made, str(made.SOPClassUID), str(made.SOPInstanceUID)), made, READ)


def _sent(data: bytes, made: Dataset, fate: str) -> Sent:
    uids = (str(made.StudyInstanceUID), str(made.SOPInstanceUID))
    digest = hashlib.sha256(data).hexdigest()
    return Sent(data, *uids, str(made.PatientID), str(made.AccessionNumber), fate, digest)
