"""Sends FHIR transactions to a server, each in a request of its own, on one connection; searches and reads.

A bundle counts as stored only where the answer says so of every entry: a page that says 200 has stored nothing.

References
----------
FHIR R4, RESTful API Sections 3.1.0.11 (transaction), 3.1.0.1.6 (Prefer) and 3.1.1 (search).
"""

from __future__ import annotations

import http.client
import json
import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

from wetread.errors import PeerBusy, PeerRefused, PeerUnreachable
from wetread.settings import Destination
from wetread.wire import smart
from wetread.wire.command import Status
from wetread.wire.https import PATIENCE, asked, bearer, connect, read, retry_after_s
from wetread.wire.tls import reason

log = logging.getLogger("wetread.wire")

JSON = "application/fhir+json"
MOST_ANSWER = 1 << 24  # bytes: some servers give everything back
MOST_PAGES = 4  # of one search
_FULL = (429, 503, 507)  # it has no room now, whatever is sent
_TOO_LARGE = 413  # of this bundle, whoever says so: a proxy in front of the server has no OperationOutcome
_UNWANTED = (400, 404, 409, 410, 412, 415, 422)  # with an OperationOutcome: it does not want this bundle


def send(
    destination: Destination,
    items: Sequence[bytes],
    timeout_s: float = 10.0,
    on_status: Callable[[int, int], None] | None = None,
) -> list[int]:
    """Send bundles.

    Parameters
    ----------
    destination
        `url`, `token` or `client_id` and `client_key`, and its TLS files are used.
    items
        Transactions in JSON; they leave byte for byte.
    timeout_s
        How long the server may be silent.
    on_status
        Called with index and status of an item as soon as it is answered.

    Returns
    -------
    list of int
        The status of each item, as C-STORE would have it: 0x0000 where every entry succeeded, else 0xC000.

    Raises
    ------
    PeerUnreachable
        No connection, no answer in time, or the server broke off.
    PeerBusy
        It has no room now (429, 503, 507).
    PeerRefused
        It answered with a status that is not about the bundle, or said 200 without a transaction's answer.
    SettingsError
        A token, key or TLS file cannot be used.
    """
    connection = connect(destination, timeout_s)
    statuses = []
    try:
        for index, item in enumerate(items):
            statuses.append(_post(destination, connection, item, timeout_s))
            if on_status is not None:
                on_status(index, statuses[-1])
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(destination, error) from error
    finally:
        connection.close()
    return statuses


def echo(destination: Destination, timeout_s: float = 10.0) -> str:
    """Ask a server what it can do, with our token; return what it says of itself.

    Raises
    ------
    PeerUnreachable, PeerBusy, PeerRefused, SettingsError
        As `send`.
    """
    connection = connect(destination, timeout_s)
    path = urlsplit(destination.url).path.rstrip("/") + "/metadata"
    try:
        headers = {"Accept": JSON, **_token(destination, timeout_s)}
        with asked(connection, "GET", path, None, headers) as response:
            told = _parsed(read(response, PATIENCE * timeout_s, MOST_ANSWER))
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(destination, error) from error
    finally:
        connection.close()
    if response.status != 200 or told.get("resourceType") != "CapabilityStatement":
        expected = f"expected 200 and a CapabilityStatement at {path}"
        raise PeerRefused(f"{destination.ae_title}: FHIR: {expected}; got {response.status}")
    does = [one.get("code") for each in objects(told.get("rest")) for one in objects(each.get("interaction"))]
    takes = "takes transactions" if "transaction" in does else "does not say that it takes transactions"
    return f"speaks FHIR {str(told.get('fhirVersion', ''))[:10]} and {takes}"


def _token(destination: Destination, timeout_s: float) -> dict[str, str]:
    return smart.bearer(destination, timeout_s) if destination.client_id else bearer(destination.token)


def _unreachable(destination: Destination, error: Exception) -> PeerUnreachable:
    why = reason(error) if isinstance(error, OSError) else type(error).__name__
    return PeerUnreachable(f"{destination.ae_title}: no answer by FHIR: {why}")


def _post(destination: Destination, connection: http.client.HTTPConnection, item: bytes, timeout_s: float) -> int:
    """Send one bundle."""
    path = urlsplit(destination.url).path or "/"
    headers = {"Content-Type": JSON, "Prefer": "return=minimal"}
    response, answer = _exchange(destination, connection, ("POST", path, item, headers), timeout_s)
    return _status(destination.ae_title, response, answer, item)


def _exchange(
    destination: Destination,
    connection: http.client.HTTPConnection,
    question: tuple[str, str, bytes | None, dict[str, str]],
    timeout_s: float,
) -> tuple[http.client.HTTPResponse, bytes]:
    """Ask and return what is answered; a token that is refused is fetched anew, once."""
    method, path, item, headers = question
    for again in (destination.client_id != "", False):
        told = {"Accept": JSON, **headers, **_token(destination, timeout_s)}
        with asked(connection, method, path, item, told) as response:
            answer = read(response, PATIENCE * timeout_s, MOST_ANSWER)
        if response.status == 401 and again:
            smart.forget(destination)
            continue
        break
    return response, answer


class Session:
    """Asks one server several questions on one connection.

    Its errors repeat neither what was asked nor what was answered: both may name a patient.

    Parameters
    ----------
    destination
        As for `send`.
    timeout_s
        How long the server may be silent.

    Raises
    ------
    SettingsError
        A token, key or TLS file cannot be used.
    """

    def __init__(self, destination: Destination, timeout_s: float = 10.0) -> None:
        self._destination = destination
        self._timeout_s = timeout_s
        self._connection = connect(destination, timeout_s)
        self.base = destination.url.removeprefix("fhir+").rstrip("/")

    def __enter__(self) -> Self:
        """Open nothing yet: the first question does."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Hang up."""
        self._connection.close()

    def search(self, asked: str) -> list[dict[str, Any]]:
        """Return the resources that a search finds, with those that come along, of at most `MOST_PAGES` pages.

        Raises
        ------
        PeerUnreachable, PeerBusy
            As `send`.
        PeerRefused
            It answered with something else than a searchset.
        """
        found: list[dict[str, Any]] = []
        url = f"{self.base}/{asked}"
        for _ in range(MOST_PAGES):
            page = self._get(url)
            if page.get("type") != "searchset":
                raise PeerRefused(f"{self._destination.ae_title}: FHIR: expected a searchset, got something else")
            told = [one.get("resource") for one in objects(page.get("entry"))]
            found += [one for one in told if isinstance(one, dict) and isinstance(one.get("resourceType"), str)]
            following = self._following(page, url)
            if not following:
                break
            url = following
        return found

    def resource(self, reference: str) -> dict[str, Any]:
        """Return a resource, {} where there is none, or none that we may see.

        Raises
        ------
        PeerUnreachable, PeerBusy, PeerRefused
            As `search`.
        """
        return self._get(f"{self.base}/{reference}", missing=(403, 404, 410))

    def _following(self, page: dict[str, Any], url: str) -> str:
        """Return the URL of the next page; our token is shown to nobody but the server of the settings."""
        told = [one.get("url") for one in objects(page.get("link")) if one.get("relation") == "next"]
        try:
            following = urljoin(url, told[0]) if told and isinstance(told[0], str) else ""
            return following if urlsplit(following)[:2] == urlsplit(self.base)[:2] else ""
        except ValueError:  # it is no URL
            return ""

    def _get(self, url: str, missing: Sequence[int] = ()) -> dict[str, Any]:
        name, parts = self._destination.ae_title, urlsplit(url)
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        try:
            response, answer = _exchange(self._destination, self._connection, ("GET", path, None, {}), self._timeout_s)
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(self._destination, error) from error
        if response.status in _FULL:
            wait_s = retry_after_s(response.headers.get("Retry-After", ""))
            raise PeerBusy(f"{name}: FHIR: no room now, status {response.status}", wait_s)
        if response.status in missing:
            return {}
        made = _parsed(answer)
        if response.status != 200 or "resourceType" not in made:
            raise PeerRefused(
                f"{name}: FHIR: expected 200 and a resource in {JSON}; got {response.status}; "
                "is its base URL right, and may we read there?"
            )
        return made


def _status(name: str, response: http.client.HTTPResponse, answer: bytes, item: bytes) -> int:
    """Return what became of a bundle; what the server says in words may name a patient, and is not repeated."""
    told = _parsed(answer)
    if response.status in _FULL:
        wait_s = retry_after_s(response.headers.get("Retry-After", ""))
        raise PeerBusy(f"{name}: FHIR: no room now, status {response.status}", wait_s)
    if response.status in (200, 201) and told.get("type") == "transaction-response":
        entries = told.get("entry")
        statuses = [_entry(one) for one in entries] if isinstance(entries, list) else []
        if len(statuses) == len(_parsed(item).get("entry", ())) and all(_good(one) for one in statuses):
            return Status.SUCCESS
        return _unwanted(name, [one for one in statuses if not _good(one)], told)
    explained = response.status in _UNWANTED and told.get("resourceType") == "OperationOutcome"
    if explained or response.status == _TOO_LARGE:
        return _unwanted(name, [str(response.status)], told)
    raise PeerRefused(
        f"{name}: FHIR: expected 200 and the answer of a transaction in {JSON}; got {response.status}; "
        "is its base URL right, and may we write there?"
    )


def _unwanted(name: str, statuses: Sequence[str], told: dict[str, Any]) -> int:
    codes = [str(one.get("code", "")) for one in objects(told.get("issue"))]
    said = sorted({code for code in codes if code.replace("-", "").isalpha() and len(code) < 32})
    kept = sorted({status[:3] for status in statuses if status[:3].isdigit()})
    log.warning("bundle refused", extra={"destination": name, "reason": " ".join([*kept, *said]) or "entries missing"})
    return Status.CANNOT_UNDERSTAND


def _entry(one: Any) -> str:
    found = one.get("response") if isinstance(one, dict) else None
    return str(found.get("status", "")) if isinstance(found, dict) else ""


def _good(status: str) -> bool:
    return status[:1] == "2" or status[:3] == "304"


def objects(told: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; a server need not give one."""
    return [one for one in told if isinstance(one, dict)] if isinstance(told, list) else []


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        made = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return made if isinstance(made, dict) else {}
