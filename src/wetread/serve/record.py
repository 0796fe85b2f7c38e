"""Takes FHIR transactions into memory: stands in for a patient record in the demo.

References
----------
FHIR R4, RESTful API Sections 3.1.0.8.1 (conditional create) and 3.1.0.11 (transaction).
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wetread.serve.bodies import whole
from wetread.serve.http import HttpServer

MOST_BUNDLE = 1 << 26  # bytes
BODY_S = 60.0  # how long one may take


class Record:
    """A small FHIR server that knows conditional creates only; it believes what it gets and promises no durability.

    Parameters
    ----------
    host, port
        Where it listens; port 0 means one from the operating system.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.bundles: list[bytes] = []  # every transaction, repeated ones too
        self.resources: dict[tuple[str, str], dict[str, Any]] = {}  # by type and the search that finds it
        self._arrived = threading.Condition()
        self._server = HttpServer(Starlette(routes=[Route("/fhir", self._take, methods=["POST"])]), host, port)
        self.url = f"http://{host}:{self._server.port}/fhir"

    def start(self) -> None:
        """Start to listen."""
        self._server.start()

    def stop(self) -> None:
        """Stop to listen."""
        self._server.stop()

    def wait(self, number: int, timeout_s: float) -> bool:
        """Wait until so many transactions were received; return whether they were."""
        end = time.monotonic() + timeout_s
        with self._arrived:
            while len(self.bundles) < number and (left := end - time.monotonic()) > 0:
                self._arrived.wait(left)
            return len(self.bundles) >= number

    def reports(self) -> list[dict[str, Any]]:
        """Return the reports that it holds."""
        return [one for (kind, _), one in self.resources.items() if kind == "DiagnosticReport"]

    async def _take(self, request: Request) -> Response:
        data = await whole(request, MOST_BUNDLE, BODY_S)
        entries = [self._create(one) for one in json.loads(data)["entry"]]
        with self._arrived:
            self.bundles.append(data)
            self._arrived.notify_all()
        return JSONResponse({"resourceType": "Bundle", "type": "transaction-response", "entry": entries})

    def _create(self, entry: dict[str, Any]) -> dict[str, Any]:
        key = entry["request"]["url"], entry["request"]["ifNoneExist"]
        status = "200 OK" if key in self.resources else "201 Created"
        held = self.resources.setdefault(key, {**entry["resource"], "id": str(uuid.uuid4())})
        return {"response": {"status": status, "location": f"{key[0]}/{held['id']}"}}
