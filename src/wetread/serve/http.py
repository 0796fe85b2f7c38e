"""The HTTP endpoints for machines: /health, /ready, /metrics and /studies/{uid}, and where DICOMweb is mounted."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from wetread.errors import SettingsError, StoreError
from wetread.jobs.store import Store
from wetread.serve import alerts
from wetread.serve.heads import PIECE, Channel, Pieces, Punctual
from wetread.serve.metrics import Metrics
from wetread.serve.related import PREFIX
from wetread.serve.stow import RETRY_AFTER
from wetread.wire.tls import Rotating

log = logging.getLogger("wetread.serve")

GRACE_S = 5  # what is asked for when the node stops may take so long, s
MOST_MESSAGE = 1 << 16  # bytes that a client may send over a WebSocket
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def application(
    store: Store,
    metrics: Metrics,
    ready: Callable[[], str],
    degraded: Callable[[], Sequence[str]] = tuple,
    web: Starlette | None = None,
    viewer: Sequence[BaseRoute] = (),
) -> Starlette:
    """Return the application.

    Parameters
    ----------
    ready
        Says "" when the node is ready, else what is missing.
    degraded
        Names the steps that are in force, as studies are late.
    web
        DICOMweb.
    viewer
        What is asked last.
    """

    async def health(_request: Request) -> Response:  # waits for no thread: viewers may have all of them
        return JSONResponse({"status": "alive"})

    async def readiness(_request: Request) -> Response:
        missing = ready()
        body: dict[str, object] = {"status": "not ready", "missing": missing} if missing else {"status": "ready"}
        steps = list(degraded())
        body |= {"degraded": steps} if steps else {}
        return JSONResponse(body, status_code=503 if missing else 200)

    def prometheus(_request: Request) -> Response:
        return Response(metrics.text(), media_type=PROMETHEUS)

    def study(request: Request) -> Response:
        versions = store.overview.versions(request.path_params["uid"])
        withheld = store.withholding.undecided()
        jobs = [
            {
                "job": job.id,
                "version": job.version,
                "state": job.state,
                "tries": job.tries,
                "reason": job.reason,
                "trace_id": job.trace_id,
            }
            | ({"withheld": withheld[job.id]} if job.id in withheld else {})
            for job in versions
        ]
        return JSONResponse({"jobs": jobs}, status_code=200 if jobs else 404)

    return Starlette(
        routes=[
            Route("/health", health),
            Route("/ready", readiness),
            Route("/metrics", prometheus),
            Route("/studies/{uid}", study),
            *alerts.routes(store.alerts, lambda: metrics.alerted("acknowledged")),
            *([Mount(PREFIX, web)] if web is not None else []),
            *viewer,
        ],
        middleware=[Middleware(_Sound)],
        exception_handlers={StoreError: _busy},
    )


class _Sound:
    """Refuses addresses with a NUL, which nothing is called and PostgreSQL cannot be asked for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "\0" not in scope["path"] and b"%00" not in scope["query_string"]:
            await self._app(scope, receive, send)
            return
        answer = JSONResponse({"error": "expected an address without NUL (%00), got one"}, 400)
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(answer)
        else:
            await answer(scope, receive, send)


def _busy(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StoreError)
    log.error("store failed", extra={"reason": str(error)})
    return JSONResponse({"error": error.told}, 503, RETRY_AFTER)


class HttpServer:
    """Serves an application from a thread.

    Parameters
    ----------
    tls
        The certificates of the port; None: it speaks plainly.
    within_s
        How long the TLS handshake and the head of a request may take, and the client to take a piece of its answer,
        or what a WebSocket tells it.

    Raises
    ------
    SettingsError
        The address cannot be bound.
    """

    def __init__(
        self, app: Starlette, host: str, port: int, tls: Rotating | None = None, within_s: float = 60.0
    ) -> None:
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # connections inherit it, and the next:
            # else the system takes megabytes at once, and a slow client seems to take nothing for minutes
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 2 * PIECE)
        except OSError as error:
            raise SettingsError(f"HTTP port: {host}:{port} cannot be bound: {error.strerror}") from error
        self.port = int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            Pieces(app),
            log_config=None,
            access_log=False,
            lifespan="off",
            http=partial(Punctual, within_s=within_s, tls=tls.context if tls else None),  # type: ignore[arg-type]
            ws=partial(Channel, within_s=within_s),  # type: ignore[arg-type]
            ws_max_size=MOST_MESSAGE,
            timeout_graceful_shutdown=GRACE_S,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="wetread-http", daemon=True
        )

    def start(self) -> None:
        """Start to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Answer what was asked, then end."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
