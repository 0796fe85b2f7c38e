"""A reader that makes small true documents at once, so that hundreds of lives of a node fit into minutes.

The same objects give the same bytes, as with the real one; what is set aside is set aside by the real row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from io import BytesIO

import pydicom

from wetread.errors import REFUSALS
from wetread.evidence.torture.objects import CRASH, REFUSE, SMALL_BYTES, kept, plain
from wetread.jobs.worker import Reader
from wetread.records import USUAL, Circumstances, Document, Reading, Refusal, Result, Stored
from wetread.uids import derive

#: Kind -> SOP class of the documents of one object.
KINDS = {"SR": "1.2.840.10008.5.1.4.1.1.88.11", "SEG": "1.2.840.10008.5.1.4.1.1.66.4"}


def document_uid(instance: str, kind: str) -> str:
    """Return the SOP Instance UID of what is made for an object."""
    return derive("cheap", instance, kind)


class Cheap:
    """Makes an SR and a SEG (in name) of each small object; whatever is large goes to a real reader.

    Parameters
    ----------
    open_real
        Loads the models; called when the first large object is to be read, or by `warm`.
    """

    def __init__(self, open_real: Callable[[], Reader]) -> None:
        self._open_real = open_real

    @cached_property
    def _real(self) -> Reader:
        return self._open_real()

    def warm(self) -> Cheap:
        """Load the models now."""
        assert self._real is not None
        return self

    def read_blobs(
        self, blobs: Sequence[tuple[str, bytes | Stored]], given: Circumstances = USUAL
    ) -> tuple[Reading, ...]:
        """Read the objects of one study, given as (name, DICOM file)."""
        files = [(name, held if isinstance(held, bytes) else held.path.read_bytes()) for name, held in blobs]
        if any(len(data) > SMALL_BYTES for _, data in files):
            return self._real.read_blobs(blobs, given)
        return tuple(_reading(name, data) for name, data in files)

    def set_aside(
        self,
        study_uid: str,
        files: Iterable[tuple[str, str, bytes]],
        detail: str,
        given: Circumstances = USUAL,
    ) -> tuple[Reading, ...]:
        """Refuse the objects of one study, by the real row, which needs no model for that."""
        from wetread.pipeline import Reader as Row  # as in a node in service: loaded after the ports are open
        from wetread.settings import Settings

        return Row((), Settings()).set_aside(study_uid, files, detail, given)


def _reading(name: str, data: bytes) -> Reading:
    source = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
    if source.ImageComments == CRASH:
        raise ValueError("told to crash")
    refusal = Refusal("WRONG-VIEW", REFUSALS["WRONG-VIEW"]) if source.ImageComments == REFUSE else None
    result = Result(str(source.StudyInstanceUID), name, "0" * 64, None, None, refusal=refusal)
    return Reading(result, tuple(_document(source, kind) for kind in KINDS))


def _document(source: pydicom.Dataset, kind: str) -> Document:
    uid = document_uid(str(source.SOPInstanceUID), kind)
    made = plain(str(source.StudyInstanceUID), derive("cheap", str(source.StudyInstanceUID), kind), uid, KINDS[kind])
    made.Modality = kind
    for word in ("PatientName", "PatientID", "AccessionNumber"):
        setattr(made, word, source.get(word, ""))
    return Document(kind, f"{kind.lower()}.dcm", kept(made, KINDS[kind], uid), KINDS[kind], uid)
