"""Asks an archive to commit itself to what it was sent: Storage Commitment Push Model as SCU.

The answer comes later, on an association that the archive opens: `wetread.wire.notices.Commitment`.

References
----------
PS3.4 Annex J: Sections J.3.2 (N-ACTION), J.3.3 (N-EVENT-REPORT); PS3.7 Section 10.1.4 (N-ACTION).
"""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from wetread.errors import PeerRefused
from wetread.settings import Destination
from wetread.wire.associate import STORAGE_COMMITMENT
from wetread.wire.command import Status
from wetread.wire.part10 import IMPLICIT_LITTLE
from wetread.wire.requestor import Requestor

WELL_KNOWN_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST = 1  # Action Type ID, PS3.4 Table J.3-1


def commit(
    archive: Destination,
    transaction_uid: str,
    instances: Mapping[str, str],
    calling_ae: str = "WETREAD",
    timeout_s: float = 10.0,
) -> None:
    """Ask for the commitment of some instances.

    Parameters
    ----------
    transaction_uid
        The answer names it.
    instances
        SOP Instance UID -> SOP Class UID.

    Raises
    ------
    PeerUnreachable
        No connection, no answer in time, or the archive broke off.
    PeerRefused
        It rejected the association, has no such service, or answered with a failure.
    """
    pair = (STORAGE_COMMITMENT, IMPLICIT_LITTLE)
    with Requestor(archive, calling_ae, [pair], timeout_s) as peer:
        if not peer.accepts(*pair):
            raise PeerRefused(f"{archive.ae_title}: has no storage commitment; set commitment = false")
        status = peer.action(*pair, WELL_KNOWN_INSTANCE, REQUEST, memoryview(_request(transaction_uid, instances)))
    if status != Status.SUCCESS:
        raise PeerRefused(f"{archive.ae_title}: the request for commitment was answered with status 0x{status:04X}")


def _request(transaction_uid: str, instances: Mapping[str, str]) -> bytes:
    made = Dataset()
    made.TransactionUID = transaction_uid
    made.ReferencedSOPSequence = []
    for instance, sop_class in instances.items():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        made.ReferencedSOPSequence.append(item)
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, True
    write_dataset(stream, made)
    return stream.getvalue()
