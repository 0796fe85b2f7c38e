"""Receiving peers: one of ours that remembers what it got and what was promised, and DCMTK's where it is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom

from wetread.settings import Destination, Peer, Settings
from wetread.wire.dimse import Commitment, Listener, Notice, Received, Request, Status

#: A virtual environment may hold another program of the same name.
PLACES = "/usr/bin:/usr/local/bin:/opt/homebrew/bin"


@dataclass(frozen=True, slots=True)
class Filed:
    """Whom a document is about, as its header says."""

    study: str
    series: str
    instance: str
    patient: str
    accession: str
    modality: str


def filed(data: bytes) -> Filed:
    """Return whom a DICOM file is about."""
    words = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID", "AccessionNumber", "Modality")
    head = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
    return Filed(*(str(head.get(word, "")) for word in words))


class Pacs:
    """A C-STORE SCP, AE title PACS, that keeps headers in memory, and takes reports of storage commitment."""

    ae_title = "PACS"

    def __init__(self) -> None:
        self.got: list[Filed] = []  # every C-STORE, repeated ones too
        self.reports: list[Commitment] = []  # repeated ones too
        self._lock = threading.Lock()
        node = Peer("*", ("127.0.0.1",), ("echo", "store", "notify"))
        settings = Settings(ae_title=self.ae_title, port=0, max_associations=50, peers=(node,))
        self._listener = Listener(settings, self._keep, on_notice=self._hear)

    @property
    def name(self) -> str:
        """As a setting: a destination that gets everything."""
        return f"{self.ae_title}@127.0.0.1:{self._listener.port}"

    @property
    def line(self) -> dict[str, Any]:
        """As a setting: a peer that stores, asks for commitment, and takes the reports here."""
        may = ["echo", "store", "commit"]
        return {"ae_title": "*", "addresses": ["127.0.0.1"], "may": may, "port": self._listener.port}

    def start(self) -> None:
        """Start to listen."""
        self._listener.start()

    def stop(self) -> None:
        """Stop to listen."""
        self._listener.stop(1.0)

    def _keep(self, received: Received) -> int:
        one = filed(received.data)
        with self._lock:
            self.got.append(one)
        return Status.SUCCESS

    def _hear(self, notice: Notice | Commitment | Request) -> int:
        if not isinstance(notice, Commitment):
            return Status.UNRECOGNIZED_OPERATION
        with self._lock:
            self.reports.append(notice)
        return Status.SUCCESS


@contextmanager
def storescp(folder: Path) -> Iterator[Destination | None]:
    """DCMTK's receiver, which gets reports only; None where it is not installed."""
    program = shutil.which("storescp", path=PLACES)
    if program is None:
        yield None
        return
    folder.mkdir(parents=True)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    command = [program, "-aet", "STORESCP", "--fork", "-od", str(folder), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        yield Destination("STORESCP", "127.0.0.1", port, ("SR",))
    finally:
        process.kill()
        process.wait()


def _wait(port: int) -> None:
    end = time.monotonic() + 20.0
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
