"""Where a person acknowledges a critical finding: /alerts/{token}.

Whoever has the token was told of the finding; a GET only shows a button, as programs follow links.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from wetread.jobs.alerts import Alerts, Told

_WORDS = {
    Told.OPEN: "Nobody has acknowledged it yet.",
    Told.ACKNOWLEDGED: "It is acknowledged.",
    Told.UNANSWERED: "Nobody acknowledged it in time.",
}
_PAGE = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Wetread alert</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<body style="font:1.1rem sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem"><h1>Critical finding: {rule}</h1>
<p>{words}</p>{button}</body></html>"""
_BUTTON = '<form method="post"><button style="font:inherit;padding:.6rem 1.2rem">I know of it</button></form>'
#: The token must not leave by a link, nor be kept.
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'",
}


def routes(alerts: Alerts, acknowledged: Callable[[], None]) -> list[Route]:
    """Return the routes; `acknowledged` is called after each acknowledgement that is new."""

    def show(request: Request) -> Response:
        known = alerts.known(request.path_params["token"])
        if known is None:
            return _unknown()
        rule, state = known
        button = "" if state is Told.ACKNOWLEDGED else _BUTTON
        page = _PAGE.format(rule=escape(rule), words=_WORDS[state], button=button)
        return HTMLResponse(page, headers=_HEADERS)

    def acknowledge(request: Request) -> Response:
        token = request.path_params["token"]
        before = alerts.known(token)
        if before is None or not alerts.acknowledge(token):
            return _unknown()
        if before[1] is not Told.ACKNOWLEDGED:
            acknowledged()
        if "text/html" in request.headers.get("accept", ""):
            return show(request)
        return JSONResponse({"state": Told.ACKNOWLEDGED}, headers=_HEADERS)

    path = "/alerts/{token}"
    return [Route(path, show, methods=["GET"]), Route(path, acknowledge, methods=["POST"])]


def _unknown() -> Response:
    return JSONResponse({"error": "expected the address of an alert, got another"}, status_code=404, headers=_HEADERS)
