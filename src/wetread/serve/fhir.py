"""FHIR over what the node holds: our own results, to be read and searched.

References
----------
FHIR R4 and R5, RESTful API Sections 3.1.0 (read), 3.1.1 (search), CapabilityStatement, OperationOutcome.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from wetread import __version__
from wetread.errors import StoreError
from wetread.jobs.resources import PREFIXES, Resources, Wanted
from wetread.serve.dicomweb import Guard
from wetread.serve.stow import RETRY_AFTER
from wetread.settings import Settings
from wetread.wire.fhir import JSON
from wetread.wire.web import WebAccess

log = logging.getLogger("wetread.serve")

PREFIX = "/fhir"
USUAL, MOST = 50, 500  # matches on a page
MOST_VALUES = 100  # of one parameter: databases bound what a query may hold
#: Resource -> the date that it is searched by; these four can be searched.
SEARCHED = {"DiagnosticReport": "date", "Observation": "date", "ImagingStudy": "started", "Device": ""}
#: What else our bundles hold; it can be read.
READ = ("AuditEvent", "BodyStructure", "DocumentReference", "Endpoint", "Media", "Provenance", "Task")
#: `_include` -> the element whose references are followed.
INCLUDES = {
    "DiagnosticReport:result": "result",
    "Observation:has-member": "hasMember",
    "Observation:derived-from": "derivedFrom",
    "Observation:device": "device",
}
_VERSIONS = {"R4": "4.0.1", "R4B": "4.3.0", "R5": "5.0.0"}

Json = dict[str, Any]


class Fhir:
    """The service of a node.

    Parameters
    ----------
    resources
        What it holds.
    version
        "R4", "R4B" or "R5".
    """

    def __init__(self, resources: Resources, version: str) -> None:
        self._resources = resources
        self._version = version

    def routes(self) -> list[Route]:
        """Return where each interaction is."""
        return [
            Route("/metadata", self._metadata),
            Route("/{type}", self._search),
            Route("/{type}/{id}", self._read),
        ]

    def _metadata(self, request: Request) -> Response:
        return _json(request, capabilities(self._version, _base(request)))

    def _read(self, request: Request) -> Response:
        kind, id_ = request.path_params["type"], request.path_params["id"]
        found = self._resources.read(kind, [id_]) if kind in (*SEARCHED, *READ) else []
        if not found:
            raise HTTPException(404, f"expected a resource that is held, found no such {_named(kind)}")
        return _json(request, found[0])

    def _search(self, request: Request) -> Response:
        kind = request.path_params["type"]
        if kind not in SEARCHED:
            raise HTTPException(404, f"expected one of {', '.join(SEARCHED)} to search, got another")
        given = [(name, value) for name, value in request.query_params.multi_items() if name != "_format"]
        wanted, count, offset, includes = asked(kind, given)
        found, total = self._resources.search(wanted, count, offset)
        base = _base(request)
        entries = [_entry(base, one, "match") for one in found]
        entries += [_entry(base, one, "include") for one in self._included(found, includes)]
        links = [{"relation": "self", "url": f"{base}/{kind}?{urlencode(given)}".rstrip("?")}]
        if offset + len(found) < total and found:
            rest = [one for one in given if one[0] != "_offset"]
            following = urlencode([*rest, ("_offset", str(offset + len(found)))])
            links.append({"relation": "next", "url": f"{base}/{kind}?{following}"})
        made: Json = {"resourceType": "Bundle", "type": "searchset", "total": total, "link": links}
        return _json(request, made | ({"entry": entries} if entries else {}))

    def _included(self, found: Iterable[Json], includes: Iterable[str]) -> list[Json]:
        """Follow references, each once; those of an included resource are not followed."""
        named: dict[str, dict[str, None]] = {}
        for element in includes:
            for one in found:
                given = one.get(element, [])
                for reference in given if isinstance(given, list) else [given]:
                    kind, _, id_ = str(reference.get("reference", "")).partition("/")
                    named.setdefault(kind, {})[id_] = None
        there = {(one["resourceType"], one["id"]) for one in found}
        read = [one for kind, ids in named.items() if id_known(kind) for one in self._resources.read(kind, list(ids))]
        return [one for one in read if (one["resourceType"], one["id"]) not in there]


def id_known(kind: str) -> bool:
    """Whether resources of a type are ours to read."""
    return kind in SEARCHED or kind in READ


def asked(kind: str, given: Iterable[tuple[str, str]]) -> tuple[Wanted, int, int, list[str]]:
    """Read the parameters of a search; one that is unknown is an error, as what it would leave out might harm.

    Returns
    -------
    tuple
        What is wanted, how much of it at most, from where, and the elements to include.
    """
    lists: dict[str, tuple[str, ...]] = {}
    dates: list[str] = []
    numbers = {"_count": USUAL, "_offset": 0}
    includes = []
    names = {"_id": "ids", "identifier": "identifiers", "status": "statuses"}
    names |= {"patient:identifier": "patient", "subject:identifier": "patient"} if kind != "Device" else {}
    for name, value in given:
        if name in names and names[name] not in lists and value and value.count(",") < MOST_VALUES:
            lists[names[name]] = tuple(value.split(","))
        elif name == SEARCHED[kind] and name and _is_date(value) and len(dates) < MOST_VALUES:
            dates.append(value)
        elif name in numbers and value.isascii() and value.isdigit() and len(value) < 10:
            numbers[name] = int(value)
        elif name == "_include" and value in INCLUDES and value.startswith(f"{kind}:"):
            includes.append(INCLUDES[value])
        else:
            expected = f"expected parameters of /fhir/metadata, of at most {MOST_VALUES} values"
            raise HTTPException(400, f"search of {kind}: {expected}, got another or its value")
    wanted = Wanted(kind, dates=tuple(dates), **lists)
    return wanted, min(numbers["_count"], MOST), numbers["_offset"], includes


def _is_date(value: str) -> bool:
    """Whether it is a year, month or day, with a prefix or without."""
    day = value[2:] if value[:2] in PREFIXES else value
    return [part.isascii() and part.isdigit() and len(part) for part in day.split("-")] in ([4], [4, 2], [4, 2, 2])


def capabilities(version: str, base: str) -> Json:
    """Say what this service does, and nothing else."""
    searched = [_searchable(kind) for kind in SEARCHED]
    read = [{"type": kind, "interaction": [{"code": "read"}]} for kind in READ]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-11-29",
        "kind": "instance",
        "software": {"name": "Wetread", "version": __version__},
        "implementation": {"description": "Results of this node", "url": base},
        "fhirVersion": _VERSIONS[version],
        "format": ["json"],
        "rest": [{"mode": "server", "resource": [*searched, *(one for one in read if _known(version, one["type"]))]}],
    }


def _known(version: str, kind: Any) -> bool:
    return str(kind) != ("Media" if version == "R5" else "DocumentReference")


def _searchable(kind: str) -> Json:
    parameters = [("_id", "token"), ("identifier", "token"), ("status", "token")]
    made = [{"name": name, "type": of} for name, of in parameters]
    if kind != "Device":
        said = "by the modifier :identifier only, as in patient:identifier=system|value"
        made += [{"name": name, "type": "reference", "documentation": said} for name in ("patient", "subject")]
        said = "years, months and days, with eq, ge, le, gt, lt"
        made.append({"name": SEARCHED[kind], "type": "date", "documentation": said})
    includes = [name for name in INCLUDES if name.startswith(f"{kind}:")]
    return {
        "type": kind,
        "interaction": [{"code": "read"}, {"code": "search-type"}],
        **({"searchInclude": includes} if includes else {}),
        "searchParam": made,
    }


def _entry(base: str, resource: Json, mode: str) -> Json:
    url = f"{base}/{resource['resourceType']}/{resource['id']}"
    return {"fullUrl": url, "resource": resource, "search": {"mode": mode}}


def _base(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}{PREFIX}"


def _named(kind: str) -> str:
    return kind if id_known(kind) else "type"


def _json(request: Request, body: Json, status: int = 200) -> Response:
    accepted = ",".join(request.headers.getlist("accept"))
    if accepted and not any(kind in accepted for kind in ("*/*", "application/*", "json")):
        raise HTTPException(406, f"expected to be asked for {JSON}")
    return Response(json.dumps(body, ensure_ascii=False), status, media_type=f"{JSON}; charset=utf-8")


def mounted(resources: Resources, settings: Settings) -> list[Mount]:
    """Return the service at its place, where bundles are made; who may use it is who may use DICOMweb.

    Raises
    ------
    SettingsError
        As `WebAccess`.
    """
    if "FHIR" not in settings.kinds:
        return []
    app = Starlette(
        routes=Fhir(resources, settings.fhir or "R4").routes(),
        middleware=[Middleware(Guard, WebAccess(settings))],
        exception_handlers={HTTPException: _refused, StoreError: _busy},
    )
    return [Mount(PREFIX, app)]


def _outcome(code: str, text: str, status: int, headers: Any = None) -> Response:
    issue = {"severity": "error", "code": code, "diagnostics": text}
    body = json.dumps({"resourceType": "OperationOutcome", "issue": [issue]})
    return Response(body, status, headers, media_type=f"{JSON}; charset=utf-8")


def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not-found", 405: "not-supported", 406: "not-supported"}.get(error.status_code, "invalid")
    return _outcome(code, error.detail, error.status_code)


def _busy(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StoreError)
    log.error("store failed", extra={"reason": str(error)})
    return _outcome("transient", error.told, 503, RETRY_AFTER)
