"""STOW-RS: objects that come by HTTP go the same way as those by C-STORE, and are answered when they are durable.

A body is taken apart while it arrives: one object of it is in memory at a time.

References
----------
PS3.18 Section 10.5.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from wetread.errors import BadInput
from wetread.settings import Settings
from wetread.trace import following, new_trace_id
from wetread.wire import media, native, stow
from wetread.wire.command import Status
from wetread.wire.dimse import Received
from wetread.wire.multipart import Multipart, TooLarge
from wetread.wire.stow import Outcome

log = logging.getLogger("wetread.serve")

RETRY_AFTER = {"Retry-After": "10"}
LEAST_BYTES_S = 1 << 12  # slower than any line on which images travel
SLOW = f"expected no silence of idle_timeout_s, and {LEAST_BYTES_S} bytes/s, got less; send again\n"


class Store:
    """Takes objects.

    Parameters
    ----------
    settings
        `max_object_bytes`, `max_associations` (requests at the same time), `idle_timeout_s` and `ae_title` are used.
    receive
        Keeps an object and returns its C-STORE status.
    ended
        Told the number of a request when it is over: HTTP knows no release, so that its studies are complete when
        all that was announced is here, or after `quiet_s`.
    on_status
        Told the status of every object.
    """

    def __init__(
        self,
        settings: Settings,
        receive: Callable[[Received], int],
        ended: Callable[[int, bool], None],
        on_status: Callable[[int], None],
    ) -> None:
        self._settings = settings
        self._receive = receive
        self._ended = ended
        self._on_status = on_status
        self._numbers = itertools.count(-1, -1)  # those of associations are positive
        self._running = 0
        self._gate = threading.Condition()  # of the next two
        self._keeping = 0
        self._closed = False

    def close(self) -> None:
        """Take no more objects; call it before who receives them stops."""
        with self._gate:
            self._closed = True
            self._gate.wait_for(lambda: not self._keeping)

    async def __call__(self, request: Request, base: str, as_xml: bool) -> Response:
        """Answer one request.

        Raises
        ------
        BadInput, HTTPException
            It is not taken; the message says how many of its objects were kept before.
        """
        kind = _kind(request)
        if self._running >= self._settings.max_associations:
            raise HTTPException(503, "more requests at a time than max_associations; send again later", RETRY_AFTER)
        self._running += 1
        number, outcomes = next(self._numbers), list[Outcome]()
        try:
            with following(new_trace_id()):
                async for body in self._bodies(request, kind.boundary):
                    outcomes.append(await run_in_threadpool(self._keep, body, request.path_params.get("study"), number))
        except ClientDisconnect:
            log.warning("request broken off", extra={"association": number, "count": len(outcomes)})
            return Response(status_code=400)  # nobody reads it
        except BadInput as error:
            status = 413 if isinstance(error, TooLarge) else 400
            log.warning("request refused", extra={"association": number, "reason": str(error)})
            return PlainTextResponse(f"{error}; {len(outcomes)} objects before it were answered for\n", status)
        except TimeoutError:
            return PlainTextResponse(SLOW, 408, {"Connection": "close"})
        finally:
            self._running -= 1
            if not self._closed:
                await run_in_threadpool(self._ended, number, False)
        status = stow.http_status(outcomes)
        headers = RETRY_AFTER if status == 503 else None
        told = stow.response(outcomes, base)
        if as_xml:
            return Response(native.xml(told), status, headers, media.XML)
        return Response(json.dumps(told), status, headers, media.JSON)

    async def _bodies(self, request: Request, boundary: str) -> AsyncIterator[bytearray]:
        """Yield the files of a body as they arrive.

        A sender is waited for as long as it keeps up `LEAST_BYTES_S`, and `idle_timeout_s` more: waiting uses that up,
        and what comes gives it back, so that one which pauses between objects goes on and one which crawls ends.  How
        long the node itself takes to keep an object does not count.

        Raises
        ------
        TimeoutError
            It is silent, or crawls.
        """
        parts = Multipart(boundary, self._settings.max_object_bytes)
        stream = request.stream()
        left_s = self._settings.idle_timeout_s
        while True:
            begun = time.monotonic()
            try:
                chunk = await asyncio.wait_for(anext(stream), left_s)
            except StopAsyncIteration:
                break
            left_s += begun - time.monotonic() + len(chunk) / LEAST_BYTES_S
            left_s = min(left_s, self._settings.idle_timeout_s)
            for part in parts.feed(chunk):
                kinds = media.parsed(part.headers.get("content-type", media.DICOM))
                if [one.type for one in kinds] != [media.DICOM]:
                    raise BadInput(f"STOW-RS: expected parts of {media.DICOM}, got another media type")
                yield part.body
        parts.end()
        if not parts.count:
            raise BadInput("STOW-RS: expected at least one object, got none")

    def _keep(self, body: bytearray, study_uid: str | None, number: int) -> Outcome:
        """Keep one object; every failure becomes a status, so that the sender keeps its copy."""
        with self._gate:
            if self._closed:
                return Outcome(Status.OUT_OF_RESOURCES)
            self._keeping += 1
        try:
            outcome = self._outcome(body, study_uid, number)
        finally:
            with self._gate:
                self._keeping -= 1
                self._gate.notify_all()
        self._on_status(outcome.status)
        return outcome

    def _outcome(self, body: bytearray, study_uid: str | None, number: int) -> Outcome:
        try:
            given = stow.received(body, self._settings.ae_title, number)
        except BadInput as error:
            log.warning("object refused", extra={"association": number, "reason": str(error)})
            return Outcome(Status.CANNOT_UNDERSTAND)
        uids = (given.sop_class_uid, given.sop_instance_uid, given.study_uid)
        made = partial(Outcome, received=uids, series_uid=stow.series_of(given))
        if not stow.is_taken(given):
            return made(Status.SOP_CLASS_NOT_SUPPORTED)
        if study_uid not in (None, given.study_uid):
            return made(Status.DATA_SET_MISMATCH)
        try:
            return made(self._receive(given))
        except BadInput as error:
            log.warning("object refused", extra={"association": number, "reason": str(error)})
            return made(Status.CANNOT_UNDERSTAND)
        except Exception as error:  # noqa: BLE001 - the HTTP door: one object must not end the request
            log.error("object not stored", extra={"association": number, "reason": type(error).__name__})
        return made(Status.OUT_OF_RESOURCES)


def _kind(request: Request) -> media.Media:
    """The media type of the body."""
    kinds = media.parsed(request.headers.get("content-type", ""))
    if len(kinds) != 1 or kinds[0].type != media.MULTIPART or kinds[0].inner not in ("", media.DICOM):
        raise HTTPException(415, f'expected {media.MULTIPART}; type="{media.DICOM}"; boundary=...')
    if request.headers.get("content-encoding", "identity") != "identity":
        raise HTTPException(415, "expected a body without Content-Encoding")
    return kinds[0]
