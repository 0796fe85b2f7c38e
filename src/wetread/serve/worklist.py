"""UPS-RS: others put work items on the list of the node, claim them, change them and see how far they are.

References
----------
PS3.18 Section 11 (worklist service); PS3.4 Annex CC (its behaviour).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from wetread.errors import BadInput
from wetread.jobs.store import Store
from wetread.jobs.worklist import Answer
from wetread.serve.bodies import whole
from wetread.serve.channels import Channels
from wetread.serve.related import EITHER, base_of, choose, xml
from wetread.uids import new_uid
from wetread.wire import dicomjson, match, media, native
from wetread.wire.dicomjson import DataSet, text
from wetread.wire.multipart import Multipart, TooLarge
from wetread.wire.stow import SENDER
from wetread.wire.ups import (
    FILTERED,
    GLOBAL,
    MEANINGS,
    TO_STATE,
    Action,
    StepState,
    StepStatus,
    http_status,
    warning,
)

MOST_BYTES = 1 << 20  # of a work item
MORE = "There are additional results that can be requested"
LITERAL = "The fuzzymatching parameter is not supported. Only literal matching has been performed."

_UID = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+")
_AE_TITLE = re.compile(r"[ !-\[\]-~]{1,16}")


class Worklist:
    """The resources of the worklist service.

    Parameters
    ----------
    store
        Holds the work items.
    channels
        By which subscribers are told.
    body_s
        How long the body of a request may take.
    """

    def __init__(self, store: Store, channels: Channels, body_s: float) -> None:
        self._store = store
        self._channels = channels
        self._body_s = body_s

    def routes(self) -> list[BaseRoute]:
        """Return where each resource is, PS3.18 Table 11.1.1-1."""
        one = "/workitems/{workitem}"
        who = f"{one}/subscribers/{{aetitle}}"
        return [
            Route("/workitems", self._search, methods=["GET"]),
            Route("/workitems", self._create, methods=["POST"]),
            Route(one, self._retrieve, methods=["GET"]),
            Route(one, self._update, methods=["POST"]),
            Route(f"{one}/state", self._change, methods=["PUT"]),
            Route(f"{one}/cancelrequest", self._request_cancel, methods=["POST"]),
            Route(f"{who}/suspend", self._suspend, methods=["POST"]),
            Route(who, self._subscribe, methods=["POST"]),
            Route(who, self._unsubscribe, methods=["DELETE"]),
            WebSocketRoute("/subscribers/{aetitle}", self._channels.serve),
        ]

    async def _create(self, request: Request) -> Response:
        given = await _dataset(request, self._body_s)
        uid = _named(request, "workitem") or text(given, "SOPInstanceUID") or text(given, "AffectedSOPInstanceUID")
        uid = _uid(uid or new_uid())
        given.pop(dicomjson.tag("AffectedSOPInstanceUID"), None)
        answer = await run_in_threadpool(self._store.worklist.create, uid, given, base_of(request))
        response = _answer(Action.CREATE, answer)
        if answer.status is StepStatus.SUCCESS:
            response.headers["Location"] = f"{base_of(request)}/workitems/{uid}"
            if answer.lacking:
                _warn(response, warning(Action.CREATE, StepStatus.MODIFIED))
        return response

    def _search(self, request: Request) -> Response:
        given = [(name, value) for name, value in request.query_params.multi_items() if name != "accept"]
        asked = match.wanted(given)
        found = self._store.worklist.search(asked, asked.limit + 1)
        response = _given(request, [match.shown(one, asked) for one in found[: asked.limit]])
        if len(found) > asked.limit and asked.limit == match.MOST:
            _warn(response, MORE)
        if asked.fuzzy:
            _warn(response, LITERAL)
        return response

    def _retrieve(self, request: Request) -> Response:
        data = self._store.worklist.item(_uid(request.path_params["workitem"]))
        if data is None:
            return _answer(Action.SET, Answer(StepStatus.UNKNOWN))
        return _given(request, [data])

    async def _update(self, request: Request) -> Response:
        given = await _dataset(request, self._body_s)
        transaction = _named(request, "transaction", "transaction-uid") or text(given, "TransactionUID")
        uid = _uid(request.path_params["workitem"])
        answer = await run_in_threadpool(self._store.worklist.update, uid, given, transaction)
        return _answer(Action.SET, answer, transaction)

    async def _change(self, request: Request) -> Response:
        given = await _dataset(request, self._body_s)
        wanted, transaction = text(given, "ProcedureStepState"), text(given, "TransactionUID")
        states = {state.value: state for state in StepState} | {"CANCELLED": StepState.CANCELED}  # both are written
        if wanted not in states:
            raise BadInput(f"ProcedureStepState: expected {', '.join(StepState)}, got another value, or none")
        uid = _uid(request.path_params["workitem"])
        answer = await run_in_threadpool(self._store.worklist.change, uid, states[wanted], transaction)
        return _answer(TO_STATE[states[wanted]], answer, transaction)

    async def _request_cancel(self, request: Request) -> Response:
        given = await _dataset(request, self._body_s, optional=True)
        uid = _uid(request.path_params["workitem"])
        requesting = text(given, "RequestingAE") or SENDER
        answer = await run_in_threadpool(self._store.worklist.request_cancel, uid, given, requesting)
        return _answer(Action.REQUEST_CANCEL, answer)

    def _subscribe(self, request: Request) -> Response:
        uid, ae_title = _subscription(request)
        lock = request.query_params.get("deletionlock", "false").lower()
        if lock not in ("true", "false"):
            raise BadInput("deletionlock: expected true or false, got another value")
        filtered = _filter(request) if uid == FILTERED else None
        one = "" if uid in (GLOBAL, FILTERED) else uid
        answer = self._store.worklist.subscribe(ae_title, one, lock == "true", filtered)
        if answer.status is not StepStatus.SUCCESS:
            return _answer(Action.SET, answer)
        where = re.sub("^http", "ws", f"{base_of(request)}/subscribers/{ae_title.replace(' ', '%20')}")
        return Response(status_code=201, headers={"Content-Location": where})

    def _unsubscribe(self, request: Request) -> Response:
        uid, ae_title = _subscription(request)
        found = self._store.subscriptions.unsubscribe(ae_title, "" if uid in (GLOBAL, FILTERED) else uid)
        return Response(status_code=200) if found else _no_subscription()

    def _suspend(self, request: Request) -> Response:
        uid, ae_title = _subscription(request)
        if uid not in (GLOBAL, FILTERED):
            raise BadInput(f"suspend: expected {GLOBAL} or {FILTERED}, got another UID")
        return Response(status_code=200) if self._store.subscriptions.suspend(ae_title) else _no_subscription()


def _no_subscription() -> Response:
    return PlainTextResponse("this AE has no such subscription\n", 404)


def _answer(action: Action, answer: Answer, transaction: str = "") -> Response:
    """Return what HTTP says of a status: the body is for people, the Warning header for machines."""
    code = http_status(action, answer.status)
    told = "" if answer.status is StepStatus.SUCCESS else f"{answer.status:04X}: {MEANINGS[answer.status]}"
    if told and answer.lacking:
        told += f": {', '.join(answer.lacking)}"
    response = PlainTextResponse(told + "\n", code) if told else Response(status_code=code)
    if warned := warning(action, answer.status, transaction):
        _warn(response, warned)
    return response


def _warn(response: Response, said: str) -> None:
    response.headers.append("Warning", f'299 wetread: "{said}"')


def _given(request: Request, found: Sequence[DataSet]) -> Response:
    offer, _ = choose(request, EITHER)
    if not found:
        return Response(status_code=204)
    if offer.inner == media.XML:
        return xml(found)
    return Response(json.dumps(found), media_type=media.JSON)


def _uid(value: str) -> str:
    if len(value) > 64 or not _UID.fullmatch(value):
        raise BadInput("work item: expected a UID (PS3.5 Section 9.1), got something else")
    return value


def _named(request: Request, *names: str) -> str:
    """Return the UID of a query: PS3.18 has it without a name, its users give it one."""
    given = request.query_params.multi_items()
    bare = [name for name, value in given if not value and _UID.fullmatch(name)]
    return next((value for name, value in given if name in names), bare[0] if bare else "")


def _subscription(request: Request) -> tuple[str, str]:
    ae_title = request.path_params["aetitle"].strip()
    if not _AE_TITLE.fullmatch(ae_title):
        raise BadInput("subscriber: expected an AE title of up to 16 characters, got something else")
    return _uid(request.path_params["workitem"]), ae_title


def _filter(request: Request) -> list[tuple[str, str]]:
    """Return the matching keys of a filtered subscription: of `filter`, or each as a parameter of its own."""
    keys = []
    for name, value in request.query_params.multi_items():
        if name == "filter":
            pairs = (part.partition("=") for part in re.split(r",(?=[\w.]+=)", value))
            keys += [(key, wanted) for key, _, wanted in pairs]
        elif name not in ("deletionlock", "accept"):
            keys.append((name, value))
    if not keys:
        raise BadInput("filter: expected attribute=value, comma-separated, got none")
    return keys


async def _dataset(request: Request, within_s: float, optional: bool = False) -> DataSet:
    """Return the data set of a request.

    Raises
    ------
    BadInput, HTTPException
        There is none, it is too large or too slow, of another media type, or broken.
    """
    body = await whole(request, MOST_BYTES, within_s)
    if not body and optional:
        return {}
    (kind,) = media.parsed(request.headers.get("content-type", media.JSON))[:1] or [media.Media("")]
    if request.headers.get("content-encoding", "identity") == "identity":
        if kind.type in (media.JSON, "application/json"):
            return dicomjson.parsed(body)
        if kind.type == media.XML:
            return dicomjson.checked(native.parsed(body))
        if kind.type == media.MULTIPART and kind.inner in ("", media.XML):
            return dicomjson.checked(native.parsed(_only_part(body, kind.boundary)))
    raise HTTPException(415, f'expected {media.JSON} or {media.MULTIPART}; type="{media.XML}", not encoded')


def _only_part(body: bytes, boundary: str) -> bytes:
    parts = Multipart(boundary, MOST_BYTES)
    try:
        found = [bytes(part.body) for part in parts.feed(body)]
    except TooLarge as error:
        raise HTTPException(413, str(error)) from error
    parts.end()
    if len(found) != 1:
        raise BadInput(f"work item: expected one part, got {len(found)}")
    return found[0]
