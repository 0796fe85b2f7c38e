"""Takes objects by C-STORE into a folder: stands in for a PACS in the demo and the tests."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from wetread.settings import Settings
from wetread.wire.dimse import Listener, Received, Status


@dataclass(frozen=True, slots=True)
class Receipt:
    """One object that was received."""

    sop_class_uid: str
    sop_instance_uid: str
    study_uid: str
    path: Path


class Receiver:
    """A small C-STORE SCP; it keeps what it gets, but promises no durability.

    Parameters
    ----------
    folder
        Where the files go, each named by its SOP Instance UID.
    ae_title, host, port
        Where it listens; port 0 means one from the operating system.
    """

    def __init__(self, folder: Path, ae_title: str = "PACS", host: str = "127.0.0.1", port: int = 0) -> None:
        self.folder = folder
        self.receipts: list[Receipt] = []  # every C-STORE, repeated ones too
        self._arrived = threading.Condition()
        self._listener = Listener(Settings(ae_title=ae_title, host=host, port=port), self._keep)
        self.port = port

    def start(self) -> None:
        """Start to listen; afterwards `port` is the port in use."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._listener.start()
        self.port = self._listener.port

    def stop(self) -> None:
        """Stop to listen."""
        self._listener.stop(grace_s=1.0)

    def wait(self, number: int, timeout_s: float) -> bool:
        """Wait until so many objects were received; return whether they were."""
        end = time.monotonic() + timeout_s
        with self._arrived:
            while len(self.receipts) < number and (left := end - time.monotonic()) > 0:
                self._arrived.wait(left)
            return len(self.receipts) >= number

    def _keep(self, received: Received) -> int:
        path = self.folder / f"{received.sop_instance_uid}.dcm"
        temporary = path.with_suffix(f".{threading.get_ident()}.part")
        temporary.write_bytes(received.data)
        os.replace(temporary, path)
        with self._arrived:
            self.receipts.append(Receipt(received.sop_class_uid, received.sop_instance_uid, received.study_uid, path))
            self._arrived.notify_all()
        return Status.SUCCESS
