"""WebSockets by which subscribers are told of events: each reads on in the log of events from where it began.

References
----------
PS3.18 Sections 8.10.4 (opening a connection) and 8.10.5 (an event report is a text of DICOM JSON).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time

from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from wetread.errors import StoreError
from wetread.jobs.subscriptions import Subscriptions
from wetread.wire.dicomjson import dataset
from wetread.wire.upsevents import status_change

log = logging.getLogger("wetread.serve")

POLL_S = 1.0  # another node may have written an event
FAREWELL_S = 1.0  # so long a subscriber may take to hear that the node goes down
GOING_AWAY = 1001  # RFC 6455 Section 7.4.1


class Channels:
    """The open channels of a node.

    Parameters
    ----------
    subscriptions
        Holds the log.
    shared
        Other nodes write into it, too.
    """

    def __init__(self, subscriptions: Subscriptions, shared: bool) -> None:
        self._subscriptions = subscriptions
        self._timeout_s = POLL_S if shared else None
        self._open: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._greeted: set[str] = set()  # AE titles that know of this start
        self._ended = False

    def wake(self) -> None:
        """There may be something to tell; may be called from any thread."""
        for woken, loop in list(self._open.items()):
            loop.call_soon_threadsafe(woken.set)

    def close(self) -> None:
        """Tell everybody that the node goes down, and close; wait for that: the server cuts off who is still open."""
        self._ended = True
        self.wake()
        end = time.monotonic() + FAREWELL_S
        while self._open and time.monotonic() < end:
            time.sleep(0.01)

    async def serve(self, websocket: WebSocket) -> None:
        """Tell one subscriber of its events until it leaves."""
        ae_title = websocket.path_params["aetitle"].strip()
        last = await run_in_threadpool(self._subscriptions.last)
        known = ae_title in self._greeted or not await run_in_threadpool(self._subscriptions.any_of, ae_title)
        woken = asyncio.Event()
        self._open[woken] = asyncio.get_running_loop()
        await websocket.accept()
        leaving = asyncio.create_task(_left(websocket))
        try:
            if not known:
                await _send(websocket, json.dumps(status_change("RESTARTED")), 0)
            self._greeted.add(ae_title)
            while not leaving.done() and not self._ended:
                woken.clear()
                last = await self._tell(websocket, ae_title, last)
                await self._pause(leaving, woken)
            if self._ended and not leaving.done():
                await _send(websocket, json.dumps(status_change("GOING DOWN")), 0)
                await websocket.close(GOING_AWAY)
        except WebSocketDisconnect:
            pass
        finally:
            leaving.cancel()
            del self._open[woken]

    async def _tell(self, websocket: WebSocket, ae_title: str, last: int) -> int:
        try:
            found = await run_in_threadpool(self._subscriptions.since, ae_title, last)
        except StoreError as error:
            log.error("store failed", extra={"reason": str(error)})
            await asyncio.sleep(POLL_S)
            return last
        for number, report in found:
            await _send(websocket, report, number)
            last = number
        return last

    async def _pause(self, leaving: asyncio.Task[None], woken: asyncio.Event) -> None:
        waiting = asyncio.create_task(woken.wait())
        await asyncio.wait({leaving, waiting}, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()


async def _left(websocket: WebSocket) -> None:
    """Wait until the other side leaves; what it says is not listened to."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def _send(websocket: WebSocket, report: str, number: int) -> None:
    told = json.loads(report) | dataset({"MessageID": number & 0xFFFF})
    await websocket.send_text(json.dumps(dict(sorted(told.items()))))
