"""Where a person reviews a result: /studies/{uid}/review, by a program that knows who the person is.

Who may use it is who may use DICOMweb; the body names the person, and the program answers for that.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wetread.contain.viewer import Viewer
from wetread.errors import BadInput, DecoderDied, DocumentError, NotRead, StoreError
from wetread.jobs.reviews import Conflict, Reviews
from wetread.report.reviewed import Review
from wetread.serve.bodies import whole
from wetread.serve.dicomweb import Guard
from wetread.serve.stow import RETRY_AFTER
from wetread.settings import Destination, Settings
from wetread.wire.web import WebAccess

log = logging.getLogger("wetread.serve")

MOST_BODY = 1 << 16  # bytes
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # NUL, or half of a pair, which JSON can escape
_KNOWN = {"decision", "reviewer", "report", "text", "findings", "segmentation"}
_PERSON = {"name", "identifier", "system", "organization"}


def routes(reviews: Reviews, viewer: Viewer, settings: Settings) -> list[Route]:
    """Return the routes.

    Parameters
    ----------
    viewer
        Parses and decodes, in a child, the segmentations that persons draw.
    settings
        Those of `WebAccess`, and `idle_timeout_s`: how long the body of a review may take.

    Raises
    ------
    SettingsError
        As `WebAccess`.
    """

    def listed(request: Request) -> Response:
        found = reviews.open(request.path_params["uid"])
        return JSONResponse({"reports": found}, status_code=200 if found else 404)

    async def take(request: Request) -> Response:
        from starlette.concurrency import run_in_threadpool

        # What a web page elsewhere may send without being asked has another type.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _error(415, "expected application/json")
        try:
            data = await whole(request, MOST_BODY, settings.idle_timeout_s)
        except HTTPException as error:
            return _error(error.status_code, error.detail, error.headers)
        told = (settings.destinations, request.path_params["uid"], data)
        return await run_in_threadpool(_reviewed, reviews, viewer, *told)

    path, guard = "/studies/{uid}/review", [Middleware(Guard, WebAccess(settings))]
    return [
        Route(path, listed, methods=["GET"], middleware=guard),
        Route(path, take, methods=["POST"], middleware=guard),
    ]


def _reviewed(
    reviews: Reviews, viewer: Viewer, destinations: Sequence[Destination], study_uid: str, data: bytes
) -> Response:
    try:
        review, report = parse(data)
        named = review.segmentation
        drawn = viewer.segmentation(reviews.drawn(study_uid, named)) if named else None
        made = reviews.review(study_uid, review, report, drawn, destinations)
    except Conflict as error:
        return _error(409, str(error))
    except BadInput as error:
        return _error(400, str(error))
    except NotRead as error:
        return _error(422, f"segmentation: expected one that can be read, got {error.code}: {error.detail}")
    except DecoderDied as error:
        why = f"segmentation: expected one that can be read; {error}"
        return _error(503, why, RETRY_AFTER) if error.why == "START" else _error(422, why)
    except DocumentError as error:
        return _error(500, str(error))
    except StoreError as error:
        log.error("store failed", extra={"reason": str(error)})
        return _error(503, error.told, RETRY_AFTER)
    body = {"report": made.report, "successor": made.successor, "documents": list(made.made)}
    return JSONResponse(body, status_code=201 if made.made else 200)


def parse(data: bytes) -> tuple[Review, str]:
    """Read a review and the report that it names.

    Raises
    ------
    BadInput
        It is no review.
    """
    try:
        made = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadInput("review: expected JSON, got something else") from error
    person = made.get("reviewer") if isinstance(made, dict) else None
    if not isinstance(person, dict) or set(made) - _KNOWN or set(person) - _PERSON:
        raise BadInput(
            f"review: expected some of {', '.join(sorted(_KNOWN))}, with a reviewer of {', '.join(sorted(_PERSON))}"
        )
    findings = made.get("findings", {})
    if not isinstance(findings, dict) or not all(isinstance(value, bool) for value in findings.values()):
        raise BadInput("review: expected findings as code values with true (present) or false")
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    who = {name: _text(person, name) for name in _PERSON}
    given = {name: _text(made, name) for name in ("decision", "text", "segmentation")}
    review = Review(at=at, findings=findings, **given, **who)
    return review, _text(made, "report")


def _text(made: dict[str, Any], name: str) -> str:
    value = made.get(name, "")
    if not isinstance(value, str) or _NO_TEXT.search(value):
        raise BadInput(f"review: expected text in {name}, got something else")
    return value


def _error(status: int, text: str, headers: Any = None) -> Response:
    return JSONResponse({"error": text}, status, headers)
