"""Sends documents to a destination by the protocol of its address."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wetread.settings import Destination
from wetread.wire import dimse, fhir, hl7, mllpstore, part10, webstore
from wetread.wire.dimse import STORED

__all__ = ["STORED", "deliver", "echo", "proof"]


def deliver(
    destination: Destination,
    items: Sequence[bytes],
    calling_ae: str = "WETREAD",
    timeout_s: float = 10.0,
    on_status: Callable[[int, int], None] | None = None,
) -> list[int]:
    """Send documents of the kinds that the destination's protocol carries.

    Parameters
    ----------
    items
        DICOM files (PS3.10), HL7 messages or FHIR bundles.
    calling_ae
        Our AE title, for DIMSE.
    timeout_s
        How long the peer may be silent.
    on_status
        Called with index and status of an item as soon as the peer has answered it.

    Returns
    -------
    list of int
        The status of each item as C-STORE has it (PS3.4 Table B.2-1), whatever the protocol; those in `STORED` are
        kept by the peer.

    Raises
    ------
    BadInput, PeerUnreachable, PeerBusy, PeerRefused, SettingsError
        As `send` of the protocol's module.
    """
    match destination.protocol:
        case "dimse":
            return dimse.send(destination, items, calling_ae, timeout_s, on_status)
        case "dicomweb":
            return webstore.send(destination, items, timeout_s, on_status)
        case "hl7":
            return mllpstore.send(destination, items, timeout_s, on_status)
    return fhir.send(destination, items, timeout_s, on_status)


def proof(destination: Destination, item: bytes) -> None:
    """Raise `BadInput` for what is no document of a destination's protocol; a bundle proves itself there."""
    match destination.protocol:
        case "dimse" | "dicomweb":
            part10.complete(item)
        case "hl7":
            hl7.parse(item)


def echo(destination: Destination, calling_ae: str = "WETREAD", timeout_s: float = 10.0) -> str:
    """Try a destination without an effect on it: C-ECHO, by HL7 a connection, by FHIR /metadata; return what it did.

    Raises
    ------
    PeerUnreachable, PeerRefused, SettingsError
        As `echo` of the protocol's module.
    """
    if destination.protocol == "hl7":
        mllpstore.echo(destination, timeout_s)
        return "takes connections; no message was sent"
    if destination.protocol == "fhir":
        return fhir.echo(destination, timeout_s)
    dimse.echo(destination, calling_ae, timeout_s)
    return "answers"
