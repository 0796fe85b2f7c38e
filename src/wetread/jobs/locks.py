"""Who may use a state folder: one process with SQLite, several that know of each other with PostgreSQL."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path

from wetread.errors import StoreError

PATIENCE_S = 60.0  # while another process, just started, still holds the folder for itself


class Lock:
    """Keeps others out of a state folder, at least until `share`.

    Attributes
    ----------
    alone
        Nobody else uses the folder.

    Parameters
    ----------
    state
        The folder.
    shared
        Others may use it too.

    Raises
    ------
    StoreError
        Another process holds it for itself.
    """

    def __init__(self, state: Path, shared: bool = False) -> None:
        self._file = (state / "lock").open("w")
        self._shared = shared
        self.alone = self._take(fcntl.LOCK_EX)
        if not self.alone and not (shared and self._wait()):
            self._file.close()
            raise StoreError(f"store: {state} is in use by another process")

    def _take(self, kind: int) -> bool:
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _wait(self) -> bool:
        end = time.monotonic() + PATIENCE_S
        while not (taken := self._take(fcntl.LOCK_SH)) and time.monotonic() < end:
            time.sleep(0.1)
        return taken

    def share(self) -> None:
        """Let others in who share the index; what only one process may do is done."""
        if self._shared:
            fcntl.flock(self._file, fcntl.LOCK_SH)

    def release(self) -> None:
        """Let others in."""
        self._file.close()
