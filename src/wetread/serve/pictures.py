"""Frames, bulk data and pictures of one object (WADO-RS), decoded in a child.

References
----------
PS3.18 Sections 8.3.5 (parameters of rendered resources), 8.7.3 and 8.7.4 (media types), 10.4.1.1 (resources).
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from typing import Any

from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from wetread.acquire.rendering import FUNCTIONS, Window
from wetread.contain.viewer import Viewer
from wetread.errors import BadInput
from wetread.jobs.held import Blob
from wetread.jobs.store import Store
from wetread.serve.related import choose, related, related_type
from wetread.wire import media
from wetread.wire.media import Media
from wetread.wire.part10 import DEFLATED_LITTLE, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE

MOST_FRAMES = 1000  # of one request
MOST_SIDE = 8192  # pixels of a viewport
THUMBNAIL = (128, 128)

_NATIVE = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED_LITTLE, EXPLICIT_BIG)
_PICTURES = (Media("image/jpeg"), Media("image/png"))
_PDF = "application/pdf"
_ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
_ENCAPSULATED_DOCUMENT = 0x00420011
#: Media types of compressed frames, PS3.18 Table 8.7.3-4, by the beginning of the transfer syntax.
_KINDS = (
    ("1.2.840.10008.1.2.4.5", "image/jpeg"),
    ("1.2.840.10008.1.2.4.7", "image/jpeg"),
    ("1.2.840.10008.1.2.4.8", "image/jls"),
    ("1.2.840.10008.1.2.4.9", "image/jp2"),
    ("1.2.840.10008.1.2.4.20", "image/jphc"),
    ("1.2.840.10008.1.2.5", "image/dicom-rle"),
)


def kind_of(transfer_syntax: str) -> str:
    """Return the media type of a frame as it is kept."""
    fits = (kind for begin, kind in _KINDS if transfer_syntax.startswith(begin))
    return media.OCTETS if transfer_syntax in _NATIVE else next(fits, media.OCTETS)


class Pictures:
    """The resources below an instance.

    Parameters
    ----------
    blob
        Finds the object of a request, or answers 404.
    """

    def __init__(self, store: Store, viewer: Viewer, blob: Callable[[Request], Blob]) -> None:
        self._store = store
        self._viewer = viewer
        self._blob = blob

    def routes(self, instance: str) -> list[Route]:
        """Return where each resource is."""
        return [
            Route(f"{instance}/frames/{{frames}}", self._frames),
            Route(f"{instance}/bulkdata/{{tag}}", self._bulk),
            Route(f"{instance}/rendered", self._rendered),
            Route(f"{instance}/frames/{{frames}}/rendered", self._rendered),
            Route(f"{instance}/thumbnail", self._thumbnail),
            Route(f"{instance}/frames/{{frames}}/thumbnail", self._thumbnail),
        ]

    def _frames(self, request: Request) -> Response:
        numbers = _numbers(request.path_params["frames"])
        blob = self._blob(request)
        kept = kind_of(blob.transfer_syntax)
        offer, wanted = choose(
            request,
            (Media(media.MULTIPART, media.OCTETS), Media(media.MULTIPART, kept)),
            lambda _, wanted: wanted.transfer_syntax in ("", "*", EXPLICIT_LITTLE, blob.transfer_syntax),
            "as they are kept (transfer-syntax=*), or as octets",
        )
        syntax = wanted.transfer_syntax
        native = blob.transfer_syntax in _NATIVE
        stored = not native and (syntax in ("*", blob.transfer_syntax) or offer.inner == kept != media.OCTETS)
        made = self._viewer.frames(self._store.held.get(blob), numbers, stored)
        given = blob.transfer_syntax if stored else EXPLICIT_LITTLE
        return _parts(request, made, kept if stored else media.OCTETS, given)

    def _bulk(self, request: Request) -> Response:
        tag = request.path_params["tag"]
        if not re.fullmatch(r"[0-9A-Fa-f]{8}", tag):
            raise HTTPException(404, "bulk data is named by the eight digits of its tag")
        blob = self._blob(request)
        frames = tag.upper() == "7FE00010" and blob.transfer_syntax not in _NATIVE
        offers = (Media(media.MULTIPART, media.OCTETS), Media(media.MULTIPART, kind_of(blob.transfer_syntax)))
        offer, _ = choose(request, offers if frames else (*offers, Media(media.OCTETS)))
        made = self._viewer.bulk(self._store.held.get(blob), int(tag, 16))
        if offer.type == media.OCTETS:
            return Response(made[0], media_type=media.OCTETS)
        kept = kind_of(blob.transfer_syntax) if frames else media.OCTETS
        return _parts(request, made, kept, blob.transfer_syntax if frames else EXPLICIT_LITTLE)

    def _rendered(self, request: Request) -> Response:
        blob = self._blob(request)
        if blob.sop_class_uid != _ENCAPSULATED_PDF or "frames" in request.path_params:
            return self._picture(request, None)
        choose(request, (Media(_PDF),))
        (document,) = self._viewer.bulk(self._store.held.get(blob), _ENCAPSULATED_DOCUMENT)
        return Response(document.removesuffix(b"\0"), media_type=_PDF)  # of an even length it was, as DICOM wants it

    def _thumbnail(self, request: Request) -> Response:
        return self._picture(request, THUMBNAIL)

    def _picture(self, request: Request, size: tuple[int, int] | None) -> Response:
        (number,) = _numbers(request.path_params.get("frames", "1"), most=1)
        offer, _ = choose(request, _PICTURES)
        given = {name: value for name, value in request.query_params.items() if name != "accept"}
        if unknown := set(given) - {"window", "viewport", "quality"}:
            raise BadInput(f"rendered: expected window, viewport or quality, got {len(unknown)} others")
        window = _window(given["window"]) if "window" in given else None
        size = _viewport(given["viewport"]) if "viewport" in given else size
        quality = _whole("quality", given.get("quality", "90"), 1, 100)
        pixels = self._viewer.picture(self._store.held.get(self._blob(request)), number, window)
        picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        if size is not None:
            picture.thumbnail(size)
        file = io.BytesIO()
        options: dict[str, Any] = {"quality": quality} if offer.type == "image/jpeg" else {}
        picture.save(file, offer.type.removeprefix("image/"), **options)
        return Response(file.getvalue(), media_type=offer.type)


def _parts(request: Request, made: list[bytes], kind: str, transfer_syntax: str) -> Response:
    boundary, inner = related_type(kind)
    told = f"{kind}; transfer-syntax={transfer_syntax}"
    address = str(request.url.replace(query=""))
    return StreamingResponse(related(((told, address, one) for one in made), boundary), media_type=inner)


def _numbers(text: str, most: int = MOST_FRAMES) -> list[int]:
    numbers = text.split(",")
    formed = re.fullmatch(r"[1-9]\d{0,8}(,[1-9]\d{0,8})*", text)
    if not formed or len(numbers) > most or len(set(numbers)) < len(numbers):
        raise BadInput(f"frames: expected 1 to {most} different numbers from 1, parted by commas, got another form")
    return [int(one) for one in numbers]


def _window(text: str) -> Window:
    centre, width, function = (*text.split(","), "", "", "")[:3]
    try:
        made = Window(float(centre), float(width), function.upper().replace("-", "_") or "LINEAR")
    except ValueError as error:
        raise BadInput("window: expected center,width,function, got another form") from error
    bounded = math.isfinite(made.centre) and 0 < made.width < math.inf
    if not bounded or made.function not in FUNCTIONS or text.count(",") > 2:
        raise BadInput("window: expected a positive width, and linear, linear-exact or sigmoid")
    return made


def _viewport(text: str) -> tuple[int, int]:
    width, comma, height = text.partition(",")
    if not comma:
        raise BadInput("viewport: expected width,height, got another form")
    return _whole("viewport", width, 1, MOST_SIDE), _whole("viewport", height, 1, MOST_SIDE)


def _whole(name: str, text: str, low: int, high: int) -> int:
    if not re.fullmatch(r"\d{1,6}", text) or not low <= int(text) <= high:
        raise BadInput(f"{name}: expected a whole number from {low} to {high}, got another value")
    return int(text)
