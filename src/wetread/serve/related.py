"""What the answers of DICOMweb share: the choice of a media type, and multipart bodies.

References
----------
PS3.18 Sections 8.6.1 (multipart) and 8.7.5 (selection of a media type); RFC 2387.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from wetread.wire import media, native
from wetread.wire.media import Media

#: Where the services are mounted.
PREFIX = "/dicomweb"
JSON = (Media(media.JSON), Media("application/json"))
EITHER = (*JSON, Media(media.MULTIPART, media.XML))

Part = TypeVar("Part", str, bytes)


def choose(
    request: Request,
    offers: tuple[Media, ...],
    given: Callable[[Media, Media], bool] | None = None,
    syntaxes: str = "",
) -> tuple[Media, Media]:
    """Return what is given, and what was asked for; the `accept` parameter stands for the header.

    A `+` in it that is not percent-encoded comes as a space.

    Parameters
    ----------
    given
        As for `wetread.wire.media.chosen`.
    syntaxes
        The transfer syntaxes in which they can be given, for the refusal.

    Raises
    ------
    HTTPException
        406: none of the offers is acceptable.
    BadInput
        The header is too long.
    """
    said = request.query_params.get("accept", "").replace("dicom json", "dicom+json").replace("dicom xml", "dicom+xml")
    accept = said or ",".join(request.headers.getlist("accept"))
    found = media.chosen(accept, offers, given)
    if found is None:
        names = ", ".join(one.type + (f'; type="{one.inner}"' if one.inner else "") for one in offers)
        raise HTTPException(406, f"this resource comes as {names}{syntaxes and f'; {syntaxes}'}")
    return found


def related_type(inner: str) -> tuple[str, str]:
    """Return a new boundary, and the media type of a multipart body with it."""
    boundary = uuid.uuid4().hex
    return boundary, f'{media.MULTIPART}; type="{inner}"; boundary={boundary}'


def related(parts: Iterable[tuple[str, str, bytes]], boundary: str) -> Iterator[bytes]:
    """Yield a multipart/related body: media type, address or "", and bytes of each part."""
    for kind, location, data in parts:
        where = f"Content-Location: {location}\r\n" if location else ""
        yield f"--{boundary}\r\nContent-Type: {kind}\r\n{where}\r\n".encode()
        yield data
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def xml(datasets: Iterable[Mapping[str, Any]]) -> Response:
    """Return an answer with one part of XML for each data set."""
    boundary, kind = related_type(media.XML)
    parts = ((media.XML, "", native.xml(one)) for one in datasets)
    return StreamingResponse(started(related(parts, boundary)), media_type=kind)


def started(parts: Iterator[Part]) -> Iterator[Part]:
    """Begin before a status is sent, so that what fails at once is answered with its own."""
    first = list(islice(parts, 2))
    return chain(first, parts)


def base_of(request: Request) -> str:
    """Return the URL of the services, as the client knows it."""
    return f"{request.url.scheme}://{request.url.netloc}{PREFIX}"
