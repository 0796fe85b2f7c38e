"""What the tests of the worklist share: a client that speaks plain HTTP, and work items."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from wetread.errors import ModelError
from wetread.jobs.worker import Reader
from wetread.wire.dicomjson import DataSet, code, dataset, text

JSON = "application/dicom+json"
DETECTION = code("110004", "DCM", "Computer Aided Detection")
GLOBAL, FILTERED = "1.2.840.10008.5.1.4.34.5", "1.2.840.10008.5.1.4.34.5.1"


def nothing_is_read() -> Reader:
    raise ModelError("none")


def step(**more: Any) -> DataSet:
    """A work item as a scheduler sends it."""
    return dataset(
        {
            "ScheduledProcedureStepPriority": "MEDIUM",
            "ProcedureStepLabel": "Wet read",
            "WorklistLabel": "AI",
            "ScheduledProcedureStepStartDateTime": "20260101120000+0000",
            "InputReadinessState": "READY",
            "ProcedureStepState": "SCHEDULED",
            "ScheduledWorkitemCodeSequence": DETECTION,
            **more,
        }
    )


def performed(**more: Any) -> DataSet:
    """What a performer sets before it completes a step."""
    done = {
        "PerformedStationNameCodeSequence": code("CAD1", "99SITE", "CAD 1"),
        "PerformedProcedureStepStartDateTime": "20260101120000+0000",
        "PerformedWorkitemCodeSequence": DETECTION,
        "PerformedProcedureStepEndDateTime": "20260101120100+0000",
        "OutputInformationSequence": None,
        **more,
    }
    return dataset({"UnifiedProcedureStepPerformedProcedureSequence": dataset(done)})


class Client:
    """Asks a worklist service as the standard writes its requests; knows nothing of how ours is made."""

    def __init__(self, port: int, **headers: str) -> None:
        self.at = f"127.0.0.1:{port}/dicomweb"
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        self._http = httpx.Client(base_url=f"http://{self.at}", headers=headers, timeout=30, limits=limits)

    def close(self) -> None:
        self._http.close()

    def ask(self, method: str, path: str, data: Any = None, **headers: str) -> httpx.Response:
        body = None if data is None else json.dumps([data])
        kind = {} if data is None else {"Content-Type": JSON}
        return self._http.request(method, path, content=body, headers={"Accept": JSON, **kind, **headers})

    def create(self, uid: str, **more: Any) -> httpx.Response:
        return self.ask("POST", f"/workitems?{uid}", step(**more))

    def change(self, uid: str, state: str, transaction: str = "") -> httpx.Response:
        body = dataset({"ProcedureStepState": state, "TransactionUID": transaction or None})
        return self.ask("PUT", f"/workitems/{uid}/state", body)

    def update(self, uid: str, data: DataSet, transaction: str = "") -> httpx.Response:
        return self.ask("POST", f"/workitems/{uid}" + (f"?{transaction}" if transaction else ""), data)

    def cancel(self, uid: str, **reason: Any) -> httpx.Response:
        return self.ask("POST", f"/workitems/{uid}/cancelrequest", dataset(reason) if reason else None)

    def item(self, uid: str) -> DataSet:
        (data,) = self.ask("GET", f"/workitems/{uid}").json()
        return dict(data)

    def state(self, uid: str) -> str:
        return text(self.item(uid), "ProcedureStepState")

    def subscribe(self, uid: str, ae_title: str, query: str = "") -> httpx.Response:
        return self.ask("POST", f"/workitems/{uid}/subscribers/{ae_title}{query}")

    def unsubscribe(self, uid: str, ae_title: str) -> httpx.Response:
        return self.ask("DELETE", f"/workitems/{uid}/subscribers/{ae_title}")

    def search(self, query: str = "") -> list[str]:
        """The SOP Instance UIDs of a search."""
        response = self.ask("GET", f"/workitems{query}")
        found = response.json() if response.status_code == 200 else []
        assert (response.status_code == 204) == (not found)
        return [text(one, "SOPInstanceUID") for one in found]

    @contextmanager
    def channel(self, ae_title: str) -> Iterator[Channel]:
        with connect(f"ws://{self.at}/subscribers/{ae_title}", proxy=None) as connection:
            yield Channel(connection)


class Channel:
    """An open WebSocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def next(self, timeout_s: float = 10.0) -> tuple[str, int, DataSet]:
        """The next event: of which step, its type, and all of it."""
        made = json.loads(self.connection.recv(timeout_s))
        return text(made, "AffectedSOPInstanceUID"), int(text(made, "EventTypeID")), made

    def states(self, number: int) -> list[tuple[str, str]]:
        """The next events, all of them state reports: of which step, and its state."""
        found = []
        for _ in range(number):
            uid, kind, made = self.next()
            assert kind == 1, made
            found.append((uid, text(made, "ProcedureStepState")))
        return found

    def silent(self) -> bool:
        """Whether nothing more is on its way: asked for after something that would have come first."""
        try:
            self.connection.recv(0.2)
        except TimeoutError:
            return True
        return False
