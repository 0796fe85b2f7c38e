"""Asks another worklist manager (UPS-RS): what there is to do, that it is ours, how far it is; and hears its events.

References
----------
PS3.18 Sections 11.5 to 11.10 (transactions), 8.10.4 and 8.10.5 (event channel); PS3.4 Section CC.2 (users' behaviour).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from wetread import urls
from wetread.errors import BadInput, PeerRefused, PeerUnreachable
from wetread.settings import Destination
from wetread.wire import media
from wetread.wire.dicomjson import DataSet, checked, dataset, parsed
from wetread.wire.https import bearer
from wetread.wire.tls import client_context
from wetread.wire.ups import GLOBAL, StepState
from wetread.wire.webclient import WebClient

MOST_ANSWER = 1 << 24  # bytes of a search
MOST_EVENT = 1 << 20
PAGE = 100  # work items of one answer
MOST_PAGES = 20  # of one search

_GONE = (400, 404, 409, 410)  # it is somebody else's, or nobody's any more


class UpsClient:
    """Asks one manager; each request has a connection of its own.

    Parameters
    ----------
    manager
        `url`, `token` and its TLS files are used.
    timeout_s
        How long it may be silent.
    """

    def __init__(self, manager: Destination, timeout_s: float) -> None:
        self._manager = manager
        self._timeout_s = timeout_s

    def search(self, keys: Mapping[str, str]) -> list[DataSet]:
        """Return work items that match, of at most `MOST_PAGES` pages; one that cannot be understood is left out.

        Raises
        ------
        PeerUnreachable, PeerRefused, SettingsError
            As every request: no answer, or another than the standard's.
        """
        found: list[Any] = []
        for _ in range(MOST_PAGES):
            rows, more = self._page(keys, len(found))
            if not rows or rows == found[-len(rows) :]:  # a manager that knows no offset says the same again
                break
            found += rows
            if not more:
                break
        return [made for row in found if (made := _understood(row)) is not None]

    def _page(self, keys: Mapping[str, str], offset: int) -> tuple[list[Any], bool]:
        """Return some matches, and whether there may be more."""
        query = urlencode({**keys, "limit": str(PAGE), "offset": str(offset), "includefield": "all"})
        status, body = self._ask("GET", f"/workitems?{query}")
        if status == 204:
            return [], False
        if status not in (200, 206):
            raise self._refused("search", status)
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self._refused("search", status) from error
        rows = found if isinstance(found, list) else [found]
        return rows, status == 206 or len(rows) >= PAGE

    def item(self, uid: str) -> DataSet:
        """Return one work item."""
        status, body = self._ask("GET", f"/workitems/{uid}")
        if status != 200:
            raise self._refused("retrieve", status)
        try:
            return parsed(body)
        except BadInput as error:
            raise self._refused("retrieve", status) from error

    def change(self, uid: str, state: StepState, transaction_uid: str) -> bool:
        """Claim, complete or cancel; return whether that was granted, False where the item is not ours."""
        wanted = dataset({"ProcedureStepState": state.value, "TransactionUID": transaction_uid})
        return self._granted("change state", *self._ask("PUT", f"/workitems/{uid}/state", wanted))

    def update(self, uid: str, changes: DataSet, transaction_uid: str) -> bool:
        """Change attributes; return whether that was granted, False where the item is not ours."""
        return self._granted("update", *self._ask("POST", f"/workitems/{uid}?{transaction_uid}", changes))

    def subscribe(self, ae_title: str) -> str:
        """Subscribe an AE to all work items; return the URL of its event channel."""
        with WebClient(self._manager, self._timeout_s) as web:
            path = f"/workitems/{GLOBAL}/subscribers/{ae_title.replace(' ', '%20')}?deletionlock=false"
            with web.ask("POST", path, {"Accept": media.JSON}) as response:
                web.read(response, MOST_ANSWER)
                status, where = response.status, response.headers.get("Content-Location", "")
        if status not in (200, 201):
            raise self._refused("subscribe", status)
        return channel_of(self._manager.url, ae_title, where)

    def _ask(self, method: str, path: str, data: DataSet | None = None) -> tuple[int, bytes]:
        headers = {"Accept": media.JSON}
        if data is not None:
            headers["Content-Type"] = media.JSON
        body = None if data is None else json.dumps([data]).encode()
        with WebClient(self._manager, self._timeout_s) as web, web.ask(method, path, headers, body) as response:
            return response.status, web.read(response, MOST_ANSWER)

    def _granted(self, what: str, status: int, _body: bytes) -> bool:
        if status in (200, 202, 204):
            return True
        if status in _GONE:
            return False
        raise self._refused(what, status)

    def _refused(self, what: str, status: int) -> PeerRefused:
        return PeerRefused(f"{self._manager.ae_title}: UPS-RS {what}: expected the standard's answer, got {status}")


class Channel:
    """An open event channel; use it in a ``with`` statement.

    Parameters
    ----------
    manager
        Whose token and TLS files are used.
    url
        Of `UpsClient.subscribe`.
    timeout_s
        How long opening it may take.

    Raises
    ------
    PeerUnreachable
        It cannot be opened.
    SettingsError
        The token or a TLS file cannot be used.
    """

    def __init__(self, manager: Destination, url: str, timeout_s: float) -> None:
        self._name = manager.ae_title
        try:
            self._connection = connect(
                url,
                additional_headers=bearer(manager.token),
                ssl=client_context(manager) if url.startswith("wss:") else None,
                open_timeout=timeout_s,
                close_timeout=1.0,
                max_size=MOST_EVENT,
                proxy=None,
            )
        except (OSError, WebSocketException) as error:
            raise self._lost(error) from error

    def next(self, wait_s: float) -> DataSet | None:
        """Return the next event, or None if none comes in time, or none that can be understood.

        Raises
        ------
        PeerUnreachable
            The channel is closed.
        """
        try:
            return _understood(json.loads(self._connection.recv(wait_s)))
        except TimeoutError:
            return None
        except (OSError, WebSocketException) as error:
            raise self._lost(error) from error
        except (ValueError, RecursionError):
            return None

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def _lost(self, error: Exception) -> PeerUnreachable:
        return PeerUnreachable(f"{self._name}: no event channel: {type(error).__name__}")

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def channel_of(manager: str, ae_title: str, told: str) -> str:
    """Return the URL of an AE's event channel: what the manager told if our token may go there, else below its own.

    Parameters
    ----------
    manager
        Its URL.
    told
        Its Content-Location: of the same host, and encrypted if the manager is.
    """
    ours, theirs = urls.split(manager), urls.split(told)
    safe = ("wss",) if ours and ours.scheme == "https" else ("ws", "wss")
    if ours and theirs and theirs.hostname == ours.hostname and theirs.scheme in safe:
        return told
    return re.sub("^http", "ws", manager.rstrip("/")) + f"/subscribers/{ae_title.replace(' ', '%20')}"


def _understood(row: Any) -> DataSet | None:
    try:
        return checked(row)
    except BadInput:
        return None
