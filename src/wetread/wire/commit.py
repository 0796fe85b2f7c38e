"""Storage Commitment Push Model over associations that we open: asks as SCU, reports as SCP.

The answer to what we ask comes later, on an association that the archive opens: `wetread.wire.notices.Commitment`.

References
----------
PS3.4 Annex J: Sections J.3.2 (N-ACTION), J.3.3 (N-EVENT-REPORT); PS3.7 Sections 10.1.1 (N-EVENT-REPORT),
10.1.4 (N-ACTION), D.3.3.4 (role selection).
"""

from __future__ import annotations

from collections.abc import Mapping

from wetread.errors import PeerRefused
from wetread.settings import Destination
from wetread.wire.associate import STORAGE_COMMITMENT
from wetread.wire.command import Status
from wetread.wire.commitment import REQUEST, WELL_KNOWN_INSTANCE, Report, encode, encode_request
from wetread.wire.part10 import IMPLICIT_LITTLE
from wetread.wire.requestor import Requestor, either


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
        peer.granted([pair], f"{archive.ae_title}: has no storage commitment; set commitment = false")
        data = memoryview(encode_request(transaction_uid, instances, IMPLICIT_LITTLE))
        status = peer.action(*pair, WELL_KNOWN_INSTANCE, REQUEST, data)
    if status != Status.SUCCESS:
        raise PeerRefused(f"{archive.ae_title}: the request for commitment was answered with status 0x{status:04X}")


def report(peer: Destination, told: Report, calling_ae: str = "WETREAD", timeout_s: float = 10.0) -> int:
    """Report what we commit ourselves to, on an association in which we are the SCP; return the status of the answer.

    Raises
    ------
    PeerUnreachable
        No connection, no answer in time, or the peer broke off.
    PeerRefused
        It rejected the association, or takes no reports.
    """
    pairs = either(STORAGE_COMMITMENT)
    with Requestor(peer, calling_ae, pairs, timeout_s, roles=(STORAGE_COMMITMENT,)) as association:
        refusal = f"{peer.ae_title}: takes no reports of storage commitment at this port"
        pair = association.granted(pairs, refusal)
        data = memoryview(encode(told, pair[1]))
        return association.event_report(*pair, WELL_KNOWN_INSTANCE, told.event_type, data)
