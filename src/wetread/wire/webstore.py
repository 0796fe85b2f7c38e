"""Sends objects to a DICOMweb server by STOW-RS, each in a request of its own, on one connection.

An object counts as stored only where the answer names it so: a proxy that says 200 has stored nothing.

References
----------
PS3.18 Section 10.5 (store transaction), Tables 10.5.3-1 and 10.5.3-2 (answers).
"""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from wetread.errors import PeerRefused
from wetread.settings import Destination
from wetread.wire import media
from wetread.wire.command import STORED, Status
from wetread.wire.https import MOST_ANSWER
from wetread.wire.part10 import meta
from wetread.wire.webclient import WebClient

_FULL = (429, 503, 507)  # it has no room now, whatever is sent
_THERE = 0xB00E  # of Azure: it has the instance, and says so to whoever sends it again as no answer came
_UNWANTED = (400, 406, 409, 413, 415, 422)  # it does not want this object


class Sender:
    """One connection over which objects are stored; use it in a ``with`` statement.

    Parameters
    ----------
    destination
        `url`, `token` and its TLS files are used.
    timeout_s
        How long the server may be silent.

    Raises
    ------
    SettingsError
        The token or a TLS file cannot be used.
    """

    def __init__(self, destination: Destination, timeout_s: float = 10.0) -> None:
        self._client = WebClient(destination, timeout_s)

    def store(self, item: bytes) -> int:
        """Store one DICOM file; return its status, as `send`.

        Raises
        ------
        BadInput, PeerUnreachable, PeerRefused
            As `send`.
        """
        instance, boundary = meta(item).sop_instance_uid, uuid.uuid4().hex
        headers = {
            "Accept": media.JSON,
            "Content-Type": f'{media.MULTIPART}; type="{media.DICOM}"; boundary={boundary}',
        }
        with self._client.ask("POST", "/studies", headers, _body(item, boundary), again=True) as response:
            answer = self._client.read(response, MOST_ANSWER)
        return _status(self._client.name, response, answer, instance)

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.__exit__(kind, error, traceback)


def send(
    destination: Destination,
    items: Sequence[bytes],
    timeout_s: float = 10.0,
    on_status: Callable[[int, int], None] | None = None,
) -> list[int]:
    """Send DICOM files.

    Parameters
    ----------
    destination
        `url`, `token` and its TLS files are used.
    items
        DICOM files (PS3.10); they leave byte for byte.
    timeout_s
        How long the server may be silent.
    on_status
        Called with index and status of an item as soon as it is answered.

    Returns
    -------
    list of int
        The status of each item, as C-STORE would have it: 0x0000, a warning or a failure reason of the server;
        0xA700 for 429, 503 and 507; 0xC000 for other refusals of an object.

    Raises
    ------
    BadInput
        An item is no DICOM file.
    PeerUnreachable
        No connection, no answer in time, or the server broke off.
    PeerRefused
        It answered with a status that is not about the object, or said 200 and did not name the object as stored.
    SettingsError
        The token or a TLS file cannot be used.
    """
    for item in items:
        meta(item)  # none is sent if one is no DICOM file
    statuses = []
    with Sender(destination, timeout_s) as sender:
        for index, item in enumerate(items):
            statuses.append(sender.store(item))
            if on_status is not None:
                on_status(index, statuses[-1])
    return statuses


def _body(item: bytes, boundary: str) -> bytes:
    head = f"--{boundary}\r\nContent-Type: {media.DICOM}\r\n\r\n".encode()
    return b"".join((head, item, f"\r\n--{boundary}--\r\n".encode()))


def _status(name: str, response: http.client.HTTPResponse, answer: bytes, instance: str) -> int:
    """Return what became of an instance."""
    if response.status in _FULL:
        return Status.OUT_OF_RESOURCES
    told = _told(answer, instance) if response.status in (200, 202, 409) else None
    if told is not None:
        return told
    if response.status in _UNWANTED:
        return Status.CANNOT_UNDERSTAND
    raise PeerRefused(
        f"{name}: STOW-RS: expected 200 or 202 and the object named as stored, in {media.JSON}; got {response.status}"
    )


def _told(answer: bytes, instance: str) -> int | None:
    """Return what the answer says of an instance, or None where it says nothing."""
    try:
        made = json.loads(answer)
        for item in _items(made, "00081199"):
            if _value(item, "00081155") == instance:
                reason = int(_value(item, "00081196") or Status.SUCCESS)
                return reason if reason in STORED else Status.COERCED  # where it stands, it is stored
        for item in _items(made, "00081198"):
            if _value(item, "00081155") == instance:
                reason = int(_value(item, "00081197") or Status.CANNOT_UNDERSTAND)
                if reason in STORED:  # what failed is not, whatever the reason looks like
                    return Status.COERCED if reason == _THERE else Status.CANNOT_UNDERSTAND
                return reason
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError):
        return None
    return None


def _items(made: Any, tag: str) -> list[Any]:
    return list(made.get(tag, {}).get("Value", []))


def _value(item: Any, tag: str) -> Any:
    return next(iter(item.get(tag, {}).get("Value", [])), None)
