"""DICOMweb: searches (QIDO-RS) and retrieval (WADO-RS) of what the node holds, the way in (STOW-RS), the worklist.

Answers come from the store; headers are parsed by a child (`wetread.contain.viewer`).

References
----------
PS3.18 Sections 8 (HTTP), 10.4 (retrieve), 10.5 (store) and 10.6 (search).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from wetread.acquire.syntaxes import SYNTAXES
from wetread.contain.viewer import Viewer
from wetread.errors import BadInput, DecoderDied, NotRead, StoreError
from wetread.jobs.held import Blob
from wetread.jobs.store import Store
from wetread.serve import stow
from wetread.serve.channels import Channels
from wetread.serve.pictures import Pictures
from wetread.serve.related import EITHER, JSON, base_of, choose, related, related_type, started, xml
from wetread.serve.stow import RETRY_AFTER
from wetread.serve.worklist import Worklist
from wetread.settings import Settings
from wetread.wire import media, qido
from wetread.wire.media import Media
from wetread.wire.part10 import EXPLICIT_BIG, EXPLICIT_LITTLE
from wetread.wire.queryable import KEYS, Level
from wetread.wire.web import CHALLENGE, WebAccess, origins

log = logging.getLogger("wetread.serve")

#: Requests at a time: fewer than there are threads, so that some are left for /metrics.
MOST_REQUESTS = 32
MOST = {"http": MOST_REQUESTS, "websocket": 64}
TOLD_TOGETHER = 8  # objects of which a child is asked at a time

_FILES = (Media(media.MULTIPART, media.DICOM),)
_FILE = (*_FILES, Media(media.DICOM))
_NAMES = ("study", "series", "instance")


class DicomWeb:
    """The resources of a node.

    Parameters
    ----------
    store
        What it holds.
    viewer
        Parses headers.
    taking
        Takes objects.
    """

    def __init__(self, store: Store, viewer: Viewer, taking: stow.Store) -> None:
        self._store = store
        self._viewer = viewer
        self._taking = taking

    def routes(self) -> list[Route]:
        """Return where each resource is, PS3.18 Tables 10.4.1-1 and 10.6.1-1."""
        study, series = "/studies/{study}", "/studies/{study}/series/{series}"
        instance = f"{series}/instances/{{instance}}"
        searches = {
            Level.STUDY: ("/studies",),
            Level.SERIES: ("/series", f"{study}/series"),
            Level.INSTANCE: ("/instances", f"{study}/instances", f"{series}/instances"),
        }
        made = [
            Route(path, lambda request, level=level: self._search(request, level))
            for level, paths in searches.items()
            for path in paths
        ]
        made += [Route(path, self._take, methods=["POST"]) for path in ("/studies", study)]
        for path in (study, series, instance):
            made += [Route(path, self._retrieve), Route(f"{path}/metadata", self._metadata)]
        return made + Pictures(self._store, self._viewer, lambda request: self._blobs(request)[0]).routes(instance)

    async def _take(self, request: Request) -> Response:
        offer, _ = choose(request, (*JSON, Media(media.XML)))
        return await self._taking(request, base_of(request), offer.type == media.XML)

    def _search(self, request: Request, level: Level) -> Response:
        offer, _ = choose(request, EITHER)
        given = [(name, value) for name, value in request.query_params.multi_items() if name != "accept"]
        asked = qido.asked(level, given, _uids(request))
        most = min(qido.MOST, asked.limit) if asked.limit is not None else qido.MOST
        rows = self._store.held.search(asked, most + 1)
        base = base_of(request)
        headers = []
        if len(rows) > most and (asked.limit is None or asked.limit > most):
            headers.append('299 wetread: "There are additional results that can be requested"')
        if asked.fuzzy:
            headers.append(
                '299 wetread: "The fuzzymatching parameter is not supported. Only literal matching has been performed."'
            )
        body = [qido.match_json(row, level, asked.whole, base) for row in rows[:most]]
        made = xml(body) if offer.inner == media.XML else Response(json.dumps(body), media_type=media.JSON)
        for warning in headers:
            made.headers.append("Warning", warning)
        return made

    def _retrieve(self, request: Request) -> Response:
        blobs = self._blobs(request)
        kept = {blob.transfer_syntax for blob in blobs}
        offer, wanted = choose(
            request,
            _FILE if "instance" in request.path_params else _FILES,
            lambda _, wanted: all(_given(one, wanted.transfer_syntax) for one in kept),
            f"as it is kept (transfer-syntax=*), or in {EXPLICIT_LITTLE}",
        )
        syntax = wanted.transfer_syntax if wanted.transfer_syntax != "*" else ""
        if offer.type == media.DICOM:
            return Response(self._file(blobs[0], syntax), media_type=media.DICOM)
        base = base_of(request)
        boundary, kind = related_type(media.DICOM)
        told = f"{media.DICOM}; transfer-syntax="
        files = (
            (told + (syntax or blob.transfer_syntax), _url(base, blob), self._file(blob, syntax)) for blob in blobs
        )
        return StreamingResponse(started(related(files, boundary)), media_type=kind)

    def _file(self, blob: Blob, syntax: str) -> bytes:
        """An object as it is kept, or in another transfer syntax."""
        data = self._store.held.get(blob)
        return self._viewer.explicit(data) if syntax not in ("", blob.transfer_syntax) else data

    def _metadata(self, request: Request) -> Response:
        offer, _ = choose(request, EITHER)
        blobs, base = self._blobs(request), base_of(request)
        batches = (blobs[start : start + TOLD_TOGETHER] for start in range(0, len(blobs), TOLD_TOGETHER))
        texts = (text for batch in batches for text in self._told(batch, base))
        if offer.inner == media.XML:
            return xml(json.loads(text) for text in texts)
        return StreamingResponse(started(_array(texts)), media_type=media.JSON)

    def _told(self, blobs: list[Blob], base: str) -> list[str]:
        texts = self._viewer.metadata((_url(base, blob), self._store.held.get(blob)) for blob in blobs)
        if not all(texts):
            log.warning("headers left out", extra={"count": texts.count("")})
        return [text for text in texts if text]

    def _blobs(self, request: Request) -> list[Blob]:
        found = self._store.held.blobs(_uids(request))
        if not found:
            raise HTTPException(404, "nothing that is held has these UIDs")
        return found


class Guard:
    """Lets in whom `WebAccess` lets in, and not too many at a time."""

    def __init__(self, app: ASGIApp, access: WebAccess) -> None:
        self._app = app
        self._access = access
        self._running = dict.fromkeys(MOST, 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        kind, most = str(scope["type"]), MOST[scope["type"]]
        refusal = self._refusal(HTTPConnection(scope))
        if refusal is None and self._running[kind] < most:
            self._running[kind] += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._running[kind] -= 1
            return
        answer = refusal or PlainTextResponse(f"more than {most} requests at a time; ask again\n", 503, RETRY_AFTER)
        if kind == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(answer)
        else:
            await answer(scope, receive, send)

    def _refusal(self, caller: HTTPConnection) -> Response | None:
        address = caller.client.host if caller.client else ""
        host, shown, origin = (caller.headers.get(name, "") for name in ("host", "authorization", "origin"))
        refused = self._access.refusal(address, host, shown, origin)
        if refused is None:
            return None
        status, text = refused
        return PlainTextResponse(text + "\n", status, {"WWW-Authenticate": CHALLENGE} if status == 401 else None)


def application(store: Store, viewer: Viewer, taking: stow.Store, settings: Settings, channels: Channels) -> Starlette:
    """Return the application to mount at `wetread.serve.related.PREFIX`: DICOMweb's studies and worklist services.

    Raises
    ------
    SettingsError
        As `WebAccess`.
    """
    guards = [Middleware(Guard, WebAccess(settings))]
    if pages := origins(settings):  # asked first: a preflight shows no token
        headers = ["Accept", "Authorization", "Content-Type"]
        methods = ["GET", "POST", "PUT", "DELETE"]
        exposed = ["Content-Location", "Location", "Warning"]
        cors = Middleware(
            CORSMiddleware,
            allow_origins=pages,
            allow_methods=methods,
            allow_headers=headers,
            expose_headers=exposed,
        )
        guards.insert(0, cors)
    return Starlette(
        routes=[
            *DicomWeb(store, viewer, taking).routes(),
            *Worklist(store, channels, settings.idle_timeout_s).routes(),
        ],
        middleware=guards,
        exception_handlers=_ANSWERS,
    )


def _array(texts: Iterable[str]) -> Iterator[str]:
    yield "["
    for number, text in enumerate(texts):
        yield f",\n{text}" if number else text
    yield "]"


def _uids(request: Request) -> dict[str, str]:
    return {
        key: request.path_params[name] for key, name in zip(KEYS, _NAMES, strict=True) if name in request.path_params
    }


def _given(kept: str, wanted: str) -> bool:
    """Whether an object that is kept in a transfer syntax can be had in another; none in big endian is turned round.

    That is decided before the first object leaves: video and private pixels cannot be decoded.
    """
    return wanted in ("", "*", kept) or (wanted == EXPLICIT_LITTLE and kept in SYNTAXES and kept != EXPLICIT_BIG)


def _url(base: str, blob: Blob) -> str:
    return qido.url(base, (blob.study_uid, blob.series_uid, blob.sop_instance_uid))


def _bad(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", 400)


def _busy(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StoreError)
    log.error("store failed", extra={"reason": str(error)})
    return PlainTextResponse(f"{error.told}\n", 503, RETRY_AFTER)


def _died(_request: Request, error: Exception) -> Response:
    assert isinstance(error, DecoderDied)
    if error.why == "START":  # the system has no process now: the object is not to blame
        return PlainTextResponse(f"{error}\n", 503, RETRY_AFTER)
    return PlainTextResponse(f"{error}\n", 500)


def _not_read(_request: Request, error: Exception) -> Response:
    assert isinstance(error, NotRead)
    return PlainTextResponse(f"{error}\n", 404 if error.code in ("MISSING-TAG", "NOT-AN-IMAGE") else 406)


def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)


_ANSWERS = {
    BadInput: _bad,
    StoreError: _busy,
    DecoderDied: _died,
    NotRead: _not_read,
    HTTPException: _refused,
}
