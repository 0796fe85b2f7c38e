"""TLS around a connection: both sides show a certificate, of an authority that the settings name.

Files are read anew: by a client for each association, by a server when one of them has changed.  So certificates
are exchanged without a restart, and no association that is open notices.

References
----------
PS3.15 Section B.12 (BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile); RFC 9325 Section 4.2 (suites);
RFC 5280 Section 4.1 (structure of a certificate).
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from wetread.errors import SettingsError
from wetread.settings import Destination, Settings

log = logging.getLogger("wetread.wire")

#: TLS 1.2, RFC 9325 Section 4.2; TLS 1.3 has only good ones.
SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)

#: What the words of OpenSSL mean between two DICOM nodes.
_HINTS = {
    "WRONG_VERSION_NUMBER": "the peer does not speak TLS at this port",
    "UNEXPECTED_EOF_WHILE_READING": "the peer closed the connection; does it speak TLS at this port?",
    "SSLEOFError": "the peer closed the connection",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer wants a certificate of ours",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer wants a certificate of ours, or no suite of both",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not know the authority of our certificate",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer showed no certificate",
    "HTTP_REQUEST": "the peer speaks HTTP",
}


@dataclass(frozen=True, slots=True)
class Files:
    """PEM files of one side."""

    certificate: Path  # ours, with the intermediate ones behind it
    key: Path  # without a password
    authority: Path  # certificates of those who sign the peers'

    @staticmethod
    def of(owner: Settings | Destination) -> Files | None:
        """Return the files that a node's settings or a destination name, or None for no TLS.

        Raises
        ------
        SettingsError
            Only some of the three are named.
        """
        named = Files(owner.tls_certificate, owner.tls_key, owner.tls_authority)
        given = [path != Path() for path in (named.certificate, named.key, named.authority)]
        if not any(given):
            return None
        if not all(given):
            raise SettingsError(
                f"TLS of {owner.ae_title}: expected tls_certificate, tls_key and tls_authority together, "
                f"got {sum(given)} of them"
            )
        return named

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Return what changes when one of the files does."""
        found = [path.expanduser().stat() for path in (self.certificate, self.key, self.authority)]
        return tuple((one.st_ino, one.st_mtime_ns, one.st_size) for one in found)

    def context(self, server: bool, anonymous: bool = False) -> ssl.SSLContext:
        """Return a context for one side of connections.

        Parameters
        ----------
        anonymous
            Of a server: clients need not show a certificate.

        Raises
        ------
        SettingsError
            A file cannot be read, or key and certificate do not belong together.
        """
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.set_ciphers(":".join(SUITES))
        made.verify_mode = ssl.CERT_NONE if anonymous else ssl.CERT_REQUIRED
        made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        about = f"tls_authority {self.authority}"
        try:
            made.load_verify_locations(self.authority.expanduser())
            about = f"tls_certificate {self.certificate}, tls_key {self.key}"
            # An empty password fails at once; without one OpenSSL would ask the terminal.
            made.load_cert_chain(self.certificate.expanduser(), self.key.expanduser(), password="")
        except OSError as error:
            raise SettingsError(f"TLS: {about}: cannot be used: {reason(error)}") from error
        return made


class Rotating:
    """The context of a server, made anew when a file has changed.

    Parameters
    ----------
    files
        Read at once.
    anonymous
        Clients need not show a certificate.

    Raises
    ------
    SettingsError
        As `Files.context`.
    """

    def __init__(self, files: Files, anonymous: bool = False) -> None:
        self._files = files
        self._anonymous = anonymous
        self._context = files.context(server=True, anonymous=anonymous)
        self._stamp = files.stamp()

    def context(self) -> ssl.SSLContext:
        """Return the context for the next connection; files that do not fit together leave the last in force."""
        try:
            stamp = self._files.stamp()
            if stamp != self._stamp:
                self._context = self._files.context(server=True, anonymous=self._anonymous)
                self._stamp = stamp
                log.info("TLS files read anew")
        except (OSError, SettingsError) as error:  # in the middle of an exchange, or a mistake
            log.error("TLS files not read; the last remain in force", extra={"detail": type(error).__name__})
        return self._context


def connect_context(destination: Destination) -> ssl.SSLContext | None:
    """Return the context to speak with a destination, or None for a plain one.

    Raises
    ------
    SettingsError
        A file is missing or cannot be used.
    """
    if not destination.tls:
        return None
    files = Files.of(destination)
    if files is None:
        raise SettingsError(
            f"TLS of {destination.ae_title}: expected tls_certificate, tls_key and tls_authority, "
            "of the destination or of the node; got none"
        )
    return files.context(server=False)


def client_context(destination: Destination) -> ssl.SSLContext:
    """Return the context for a destination's URL: the system's authorities, or its own; our certificate if named.

    Raises
    ------
    SettingsError
        A file cannot be used.
    """
    authority, certificate, key = destination.tls_authority, destination.tls_certificate, destination.tls_key
    about = f"tls_authority {authority}"
    try:
        made = ssl.create_default_context(cafile=None if authority == Path() else authority.expanduser())
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        about = f"tls_certificate {certificate}, tls_key {key}"
        if certificate != Path():
            # An empty password fails at once.
            made.load_cert_chain(certificate.expanduser(), key.expanduser(), password="")
    except OSError as error:
        told = f"a file cannot be used: {about}: {reason(error)}"
        raise SettingsError(f"TLS of {destination.ae_title}: {told}") from error
    return made


def reason(error: OSError) -> str:
    """Return in plain words why a connection or a file failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the peer is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        word = error.reason or type(error).__name__
        return f"TLS: {_HINTS.get(word, word)}"
    return error.strerror or str(error)


def ends_at(certificate: Path) -> datetime:
    """Return when the first certificate of a PEM file ends.

    Raises
    ------
    SettingsError
        The file cannot be read or holds no certificate.
    """
    try:
        text = certificate.expanduser().read_text(encoding="ascii", errors="replace")
        begin = text.index("-----BEGIN CERTIFICATE-----")
        end = text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")
        return _not_after(ssl.PEM_cert_to_DER_cert(text[begin:end]))
    except (OSError, ValueError, IndexError) as error:
        raise SettingsError(
            f"TLS: {certificate}: expected a certificate in PEM, got none: {type(error).__name__}"
        ) from error


def _not_after(der: bytes) -> datetime:
    """The end of validity: Certificate, TBSCertificate, past version, serial, signature and issuer."""
    _, body, _ = _element(der)
    _, body, _ = _element(body)
    tag, _, rest = _element(body)
    body = rest if tag == 0xA0 else body  # the version is optional
    for _ in range(3):
        _, _, body = _element(body)
    _, validity, _ = _element(body)
    _, _, after = _element(validity)
    tag, value, _ = _element(after)
    form = "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ"  # UTCTime or GeneralizedTime
    return datetime.strptime(value.decode("ascii"), form).replace(tzinfo=UTC)


def _element(der: bytes) -> tuple[int, bytes, bytes]:
    """Return tag and contents of the first element of DER, and what follows it."""
    length, start = der[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[2:start], "big")
    return der[0], der[start : start + length], der[start + length :]
