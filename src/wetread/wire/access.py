"""Who may call: AE title and address of a peer against the list in the settings; everyone else is refused.

References
----------
PS3.8 Section 9.3.4, Table 9-21 (reasons of an A-ASSOCIATE-RJ); PS3.15 Annex B (why an AE title alone proves nothing).
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum

from wetread.errors import SettingsError
from wetread.routes import fits
from wetread.settings import Destination, Peer, Settings, is_title, with_files
from wetread.wire.associate import Reject
from wetread.wire.tls import Files

#: Associations that each line of the list has for itself, whatever the others hold.
RESERVE = 2

#: Whoever may call without being listed may not ask for commitments, as nobody knows where to tell them.
UNLISTED = ("echo", "store", "order")
THIS_MACHINE = Peer("*", ("127.0.0.0/8", "::1/128"), UNLISTED)
CERTIFIED = Peer("*", ("0.0.0.0/0", "::/0"), UNLISTED)  # anyone whose certificate our authority signed
ANYONE = Peer("*", CERTIFIED.addresses)


class Refusal(StrEnum):
    """Why a connection got no association: the label of the metric and the word in the log."""

    CALLED_AE = "called AE title"
    CALLING_AE = "calling AE title"
    ADDRESS = "address"
    LOCAL_LIMIT = "limit of associations"
    PROTOCOL_VERSION = "protocol version"
    APPLICATION_CONTEXT = "application context"
    MALFORMED = "malformed"
    SILENT = "silent"
    TLS_AT_PLAIN_PORT = "TLS at a plain port"
    PLAIN_AT_TLS_PORT = "no TLS at a TLS port"
    TLS_HANDSHAKE = "TLS handshake"


#: What the peer is told.  Whether title or address is unknown stays with us.
ANSWERS: dict[Refusal, Reject] = {
    Refusal.CALLED_AE: Reject.CALLED_AE,
    Refusal.CALLING_AE: Reject.CALLING_AE,
    Refusal.ADDRESS: Reject.CALLING_AE,
    Refusal.LOCAL_LIMIT: Reject.LOCAL_LIMIT,
    Refusal.PROTOCOL_VERSION: Reject.PROTOCOL_VERSION,
    Refusal.APPLICATION_CONTEXT: Reject.APPLICATION_CONTEXT,
    Refusal.PLAIN_AT_TLS_PORT: Reject.NO_REASON,
}


def listed(settings: Settings) -> tuple[Peer, ...]:
    """Return the list in force.

    Without a list only this machine may call; behind TLS anyone whose certificate our authority signed.
    A list that names nobody in particular must say so: `open_doors`.
    """
    if "dicom" in settings.open_doors.split("+"):
        return (*settings.peers, ANYONE)
    return settings.peers or ((CERTIFIED,) if Files.of(settings) else (THIS_MACHINE,))


def who_may_call(settings: Settings) -> str:
    """Return one line for people: who may call, and where more are added."""
    if "dicom" in settings.open_doors.split("+"):
        return "Anyone may call: open_doors names dicom."
    if not settings.peers and Files.of(settings):
        return "Whoever shows a certificate of our authority may call, under any AE title."
    if not settings.peers:
        return 'Only this machine may call. Add others with --peer AE@address or peers = "AE@address" in the settings.'
    lines = (f"{peer.ae_title}@{'+'.join(peer.addresses)} ({', '.join(peer.may)})" for peer in settings.peers)
    return f"May call: {'; '.join(lines)}. Everyone else is refused."


def is_loopback(host: str) -> bool:
    """Whether nobody outside this machine reaches a listening address; a name other than localhost is not trusted."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_exposure(settings: Settings) -> None:
    """Refuse to listen where anyone could call and nothing tells friend from stranger.

    Raises
    ------
    SettingsError
        The DICOM port is reachable from other machines without TLS, and without a list of peers or with a list that
        lets everyone in; or the HTTP port is, and callers show no certificate; or `http_tls`, or a peer that is
        reported to by TLS, lacks the files. The message says what to add.
    """
    doors = settings.open_doors.split("+")
    if not (is_loopback(settings.host) or "dicom" in doors or Files.of(settings)):
        _check_list(settings)
    if settings.hl7_port and "hl7" not in doors:
        _check_orders(settings)
    if Files.of(settings) is None:
        files = "expected tls_certificate, tls_key and tls_authority of the node, got none of them"
        if settings.http_tls:
            raise SettingsError(f"http_tls: {files}")
        for peer in settings.peers:
            if peer.tls:
                raise SettingsError(f"peer {peer.ae_title}: tls: {files}")
    if not (is_loopback(settings.http_host) or "http" in doors or settings.http_tls == "mutual"):
        raise SettingsError(
            f"http_host: {settings.http_host or 'every address'} can be reached from other machines, and /metrics and "
            '/studies ask nobody who they are. Let callers show a certificate: http_tls = "mutual"; or set http_host = '
            '"127.0.0.1" and let a proxy with TLS and a login stand in front; or, on a closed network, say so: '
            'open_doors = "http"'
        )


def _check_list(settings: Settings) -> None:
    where = f"host: {settings.host or 'every address'} can be reached from other machines"
    what_to_do = (
        'List who may call, for example peers = "CT1@10.1.2.3,PACS@10.1.2.0/24" (WETREAD_PEERS in the environment); '
        "name tls_certificate, tls_key and tls_authority; "
        'listen on host = "127.0.0.1" only; or, on a closed network, say that anyone may call: open_doors = "dicom"'
    )
    if not settings.peers:
        raise SettingsError(f"{where}, and no peer is listed. {what_to_do}")
    for peer in settings.peers:
        if peer.ae_title == "*" and any(ipaddress.ip_network(one).prefixlen == 0 for one in peer.addresses):
            raise SettingsError(f"{where}, and the list lets everyone in ({peer.addresses[0]}). {what_to_do}")


def _check_orders(settings: Settings) -> None:
    """Refuse an HL7 port at which nobody may send, or everybody."""
    lines = [peer for peer in listed(settings) if "order" in peer.may]
    what_to_do = (
        "In the settings file give the line of peers of whoever sends orders the right: "
        'may = ["order"]; or, on a closed network, say that anyone may send them: open_doors = "hl7"'
    )
    if not lines:
        raise SettingsError(f"hl7_port: expected somebody who may send orders, found nobody. {what_to_do}")
    if is_loopback(settings.host) or Files.of(settings):
        return
    if any(ipaddress.ip_network(one).prefixlen == 0 for peer in lines for one in peer.addresses):
        raise SettingsError(f"hl7_port: anyone could send orders without TLS. {what_to_do}")


class Access:
    """The list, ready to be asked.

    Parameters
    ----------
    settings
        `ae_title`, `peers`, `open_doors` and the called AE titles of `routes` are used.
    """

    def __init__(self, settings: Settings) -> None:
        self._called = settings.ae_title
        self._open = {"order"} if "hl7" in settings.open_doors.split("+") else set()
        self._also_called = [pattern for rule in settings.routes for pattern in rule.called_ae if pattern != "*"]
        self._lines = [
            (peer, [ipaddress.ip_network(address) for address in peer.addresses]) for peer in listed(settings)
        ]

    def knows(self, address: str) -> bool:
        """Whether any line holds this address."""
        return any(_within(address, networks) for _, networks in self._lines)

    def may(self, address: str, right: str) -> bool:
        """Whether a line lets an address do something where no AE title is told: "order"."""
        if right in self._open:
            return True
        return any(right in peer.may and _within(address, networks) for peer, networks in self._lines)

    def admit(self, called: str, calling: str, address: str) -> Peer | Refusal:
        """Return the line that lets a caller in, or why none does.

        Parameters
        ----------
        called, calling
            AE titles without padding.
        address
            Where the connection comes from.
        """
        if called != self._called and not fits(called, self._also_called):
            return Refusal.CALLED_AE
        titled = [line for line in self._lines if line[0].ae_title in ("*", calling)]
        inside = (peer for peer, networks in titled if _within(address, networks))
        # Of several lines the most exact one decides: a title by name before "*".
        found = min(inside, key=lambda peer: peer.ae_title == "*", default=None)
        if found is not None:
            return found
        return Refusal.ADDRESS if titled else Refusal.CALLING_AE


def callback(settings: Settings, calling: str, address: str) -> Destination | None:
    """Return where reports of commitments go that a peer asked for, or None if it may not ask any more."""
    peer = Access(settings).admit(settings.ae_title, calling, address)
    if isinstance(peer, Refusal) or "commit" not in peer.may or not is_title(calling):
        return None
    return with_files(Destination(calling, peer.host or address, peer.port, tls=peer.tls), settings)


def _within(address: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    one = ipaddress.ip_address(address.partition("%")[0])
    mapped = one.ipv4_mapped if isinstance(one, ipaddress.IPv6Address) else None
    return any((mapped or one) in network for network in networks)
