"""Media types of HTTP, as DICOMweb uses them.

References
----------
PS3.18 Section 8.7 (media types, acceptable ones, transfer syntaxes); RFC 9110 Section 12.5.1 (Accept).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from wetread.errors import BadInput

MULTIPART = "multipart/related"
DICOM = "application/dicom"
JSON = "application/dicom+json"
XML = "application/dicom+xml"
OCTETS = "application/octet-stream"
MAX_HEADER = 4096  # characters

_PART = r'(?:[^,;"]|"[^"]*")*+'
_ITEM = re.compile(rf"({_PART})((?:;{_PART})*+)(?:,|\Z)")
_PARAMETER = re.compile(r';\s*([\w-]+)\s*=\s*(?:"([^"]*)"|([^\s;"]*))\s*')


@dataclass(frozen=True, slots=True)
class Media:
    """A media type with the parameters that matter here."""

    type: str
    inner: str = ""  # `type` of multipart/related: what its parts are
    transfer_syntax: str = ""  # "*": as it is kept
    boundary: str = ""
    quality: float = 1.0


def parsed(header: str) -> list[Media]:
    """Return the media types of an Accept or Content-Type header.

    Raises
    ------
    BadInput
        The header is too long, or a quote in it does not end.
    """
    if len(header) > MAX_HEADER:
        raise BadInput(f"media type: expected at most {MAX_HEADER} characters, got {len(header)}")
    return list(_parsed(header))


def _parsed(header: str) -> Iterator[Media]:
    at = 0
    while at < len(header):
        match = _ITEM.match(header, at)  # from where the last one ended: a search would begin at every character
        if match is None:
            raise BadInput("media type: expected type/subtype; name=value, with quotes that end; got one that does not")
        (name, rest), at = match.groups(), match.end()
        if not name.strip():
            continue
        given = {key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(rest)}
        quality = given.get("q", "1")
        yield Media(
            name.strip().lower(),
            given.get("type", "").lower(),
            given.get("transfer-syntax", ""),
            given.get("boundary", ""),
            float(quality) if re.fullmatch(r"[01](\.\d{1,3})?", quality) else 0.0,
        )


def chosen(
    accept: str, offers: Sequence[Media], given: Callable[[Media, Media], bool] | None = None
) -> tuple[Media, Media] | None:
    """Return the first of the offers that a client prefers most, and what it asked for; None if it takes none.

    Parameters
    ----------
    accept
        Its Accept header; "" takes anything.
    offers
        The default first.
    given
        Whether an offer can be given as it was wanted: in that transfer syntax.  None: always.

    Raises
    ------
    BadInput
        As `parsed`.
    """
    for wanted in sorted(parsed(accept or "*/*"), key=lambda media: -media.quality):
        for offer in offers:
            if wanted.quality and _fits(wanted, offer) and (given is None or given(offer, wanted)):
                return offer, wanted
    return None


def _fits(wanted: Media, offer: Media) -> bool:
    kind = offer.type.partition("/")[0]
    if wanted.type not in ("*/*", f"{kind}/*", offer.type):
        return False
    return wanted.type != MULTIPART or wanted.inner in ("", "*/*", offer.inner)
