"""What is installed, which engines work, what is missing and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

from wetread import __version__, infer
from wetread.errors import SettingsError, StoreError, WetreadError
from wetread.routes import is_hook, named_models, shadowed
from wetread.settings import Destination, Settings, strangers
from wetread.wire.access import check_exposure, is_loopback, who_may_call
from wetread.wire.credentials import check_alert, check_destination, places
from wetread.wire.tls import Files, ends_at
from wetread.wire.web import WebAccess


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was looked at."""

    what: str
    ok: bool
    found: str
    remedy: str = ""
    optional: bool = False


#: package -> what cannot be done without it, how to get it, whether the node does without it
PACKAGES: dict[str, tuple[str, str, bool]] = {
    "pydicom": ("DICOM files", "pip install wetread", False),
    "pyjpegls": ("JPEG-LS pixels", "pip install wetread", False),
    "pylibjpeg-libjpeg": ("JPEG pixels", "pip install wetread", False),
    "pylibjpeg-openjpeg": ("JPEG 2000 pixels", "pip install wetread", False),
    "pylibjpeg-rle": ("fast RLE pixels", "pip install wetread", False),
    "sqlalchemy": ("wetread serve", "pip install 'wetread[serve]'", True),
    "uvicorn": ("/health, /ready, /metrics", "pip install 'wetread[serve]'", True),
    "starlette": ("/health, /ready, /metrics", "pip install 'wetread[serve]'", True),
    "prometheus-client": ("/metrics", "pip install 'wetread[serve]'", True),
    "websockets": ("events of the worklist", "pip install 'wetread[serve]'", True),
    "psycopg": ("an index that several nodes share", "pip install 'wetread[postgres]'", True),
    "pyjwt": ("tokens of a record's authorization server", "pip install 'wetread[fhir]'", True),
    "cryptography": ("tokens of a record's authorization server", "pip install 'wetread[fhir]'", True),
    "opentelemetry-exporter-otlp-proto-http": ("spans for a collector", "pip install 'wetread[tracing]'", True),
    "torch": ("wetread lab: training", "pip install 'wetread[lab]'", True),
}
#: A certificate that ends within these days is a finding.
SOON_DAYS = 30
#: Debian's programs that the tests speak with
PEERS = {"Orthanc": "orthanc", "storescu": "dcmtk", "dciodvfy": "dicom3tools"}


def examine(settings: Settings) -> tuple[Row, ...]:
    """Look at everything; nothing is changed."""
    return (
        *_host(),
        *_environment(),
        *_packages(settings),
        *_engines(settings),
        *_routes(settings),
        *_state(settings),
        *_index(settings),
        _late(settings),
        *_doors(settings),
        *_viewer(settings),
        *_peers(),
    )


def _host() -> Iterator[Row]:
    yield Row("wetread", True, __version__)
    yield Row("Python", True, platform.python_version())
    yield Row("processor", True, f"{os.cpu_count()} cores, {platform.machine()}")


def _environment() -> Iterator[Row]:
    """Whatever looks like a setting and is none."""
    if found := strangers():
        yield Row("environment", False, f"{', '.join(found)}: no setting", "wetread settings lists them", optional=True)


def _packages(settings: Settings) -> Iterator[Row]:
    asked = {"psycopg": settings.index_url, "opentelemetry-exporter-otlp-proto-http": settings.otlp_endpoint}
    for name, (use, remedy, spared) in PACKAGES.items():
        optional = spared and not asked.get(name)
        try:
            yield Row(name, True, f"{version(name)} ({use})", optional=optional)
        except PackageNotFoundError:
            yield Row(name, False, f"not installed: no {use}", remedy, optional)


def _engines(settings: Settings) -> Iterator[Row]:
    """Every certified build on every engine reproduces its golden output, or says why not."""
    try:
        models = infer.find(settings.models_dir)
        held = infer.holding(models)
    except WetreadError as error:
        yield Row("models", False, str(error), "name another folder with --models")
        return
    if not models:
        yield Row("models", False, f"none in {settings.models_dir}", "name another folder with --models")
    for model in models:
        for choice in infer.candidates(model):
            what = f"{model.id} {choice.build}"
            try:
                loaded = infer.load(model, choice, settings.threads)
                found = f"{choice.engine} {loaded.identity.engine_version} reproduces its golden output"
                yield Row(what, True, found)
            except WetreadError as error:
                yield Row(what, False, f"{choice.engine}: {error}", optional=choice.engine == "onnxruntime")
    profile = infer.read_profile(settings.profile_path)
    for model in held:
        try:
            infer.chosen_by(settings, model, profile)
        except WetreadError as error:
            yield Row(model.id, False, "the node would not start", str(error))


def _routes(settings: Settings) -> Iterator[Row]:
    """Rules that name what is not there, and rules of which something never counts.

    A destination that there is not is an error already when the settings are read.
    """
    if settings.routes:
        yield Row("routes", True, f"{len(settings.routes)} rules")
    try:
        known = {model.id for model in infer.find(settings.models_dir)}
    except WetreadError:  # told already
        return
    for rule, name in named_models(settings.routes):
        if name not in known:
            yield Row(rule.label, False, f"names the model {name!r}", f"there are {', '.join(sorted(known)) or 'none'}")
    for rule, said, above in shadowed(settings.routes):
        found = f"its {said} never count: {above.label} fits wherever it does, and stands above"
        yield Row(rule.label, False, found, "move it up, narrow the other, or delete it")


def _state(settings: Settings) -> Iterator[Row]:
    place = settings.state_dir
    # Not pathlib's: it raises where a folder may not be entered.
    parent = next(folder for folder in [place, *place.parents] if os.path.exists(folder))
    ok = parent.is_dir() and os.access(parent, os.W_OK)
    free, least = shutil.disk_usage(parent).free, settings.min_free_bytes
    remedy = "" if ok else "name another with --state"
    if ok and free < least:
        remedy = f"below min_free_bytes, {least >> 20} MiB, a node takes no object (0xA700); make room"
    yield Row("state folder", not remedy, f"{place}, {free >> 20} MiB free", remedy)
    if parent == place and place.is_dir() and place.stat().st_mode & 0o007:
        yield Row("privacy", False, f"{place}: other users may look into it", f"chmod -R o= {place}", optional=True)
    profile = infer.read_profile(settings.profile_path)
    rows = {(row.device_uid, row.engine) for row in profile.rows}
    found = f"{len(rows)} builds measured on this host" if rows else profile.stale or "nothing measured on this host"
    yield Row("profile", bool(rows), found, "" if rows else "wetread tune", optional=True)


def _index(settings: Settings) -> Iterator[Row]:
    """Whether the index that several nodes share can be opened."""
    if not settings.index_url:
        return
    try:
        from wetread.jobs.index import Index

        index = Index(settings.state_dir, settings.index_url)
        with closing(index), index.reading():
            yield Row("index", True, "PostgreSQL answers")
    except ImportError:  # a row above says what is not installed
        return
    except StoreError as error:
        yield Row("index", False, "the node would not start", str(error))


def _late(settings: Settings) -> Row:
    """What the node leaves out while studies are late."""
    found = f"{', '.join(settings.steps)}: a step each {settings.degrade_after_s:g} s" if settings.steps else "nothing"
    return Row("left out when late", True, found)


def _doors(settings: Settings) -> Iterator[Row]:
    yield Row("who may call", True, who_may_call(settings))
    yield from _certificate(settings)
    for place in places(settings):
        try:
            check_destination(place)
        except SettingsError as error:
            yield Row(f"files of {place.ae_title}", False, "cannot be used", str(error))
            continue
        yield from _certificate(place)
        yield from _record(place)
    yield from _alerts(settings)
    yield from _tokens(settings)
    http = "HTTPS" if settings.http_tls else "HTTP"
    hl7 = f"HL7 {settings.host}:{settings.hl7_port}, " if settings.hl7_port else ""
    found = f"DICOM {settings.host}:{settings.port}, {hl7}{http} {settings.http_host}:{settings.http_port}"
    try:
        check_exposure(settings)
        yield Row("doors", True, found)
    except SettingsError as error:
        yield Row("doors", False, "the node would not start", str(error))


def _viewer(settings: Settings) -> Iterator[Row]:
    """Whether the folder of the web viewer holds one."""
    if settings.viewer == Path():
        return
    try:
        from wetread.serve import viewer

        viewer.routes(settings.viewer)
        yield Row("viewer", True, str(settings.viewer))
    except ImportError:  # a row above says what is not installed
        return
    except SettingsError as error:
        yield Row("viewer", False, "the node would not start", str(error))


def _alerts(settings: Settings) -> Iterator[Row]:
    """Who is told of critical findings, and whether webhooks can be signed."""
    for rule in settings.alerts:
        told = ", then ".join(urlsplit(one).hostname or one if is_hook(one) else one for one in rule.to)
        found = f"STAT, and {told or 'nobody is told'}"
        try:
            check_alert(rule)
            yield Row(f"alert {rule.name}", True, found)
        except SettingsError as error:
            yield Row(f"alert {rule.name}", False, found, str(error))


def _tokens(settings: Settings) -> Iterator[Row]:
    """The tokens that DICOMweb clients show."""
    try:
        WebAccess(settings)
    except SettingsError as error:
        yield Row("tokens of DICOMweb", False, "cannot be used", str(error))


def _record(place: Destination) -> Iterator[Row]:
    """What is said to a record names patients."""
    parts = urlsplit(place.url)
    secret = {"hl7": "mllps", "fhir": "fhir+https"}.get(place.protocol)
    if secret is not None:
        what, said = f"record {place.ae_title}", f"{', '.join(place.documents)} by {place.protocol.upper()}"
        if parts.scheme == secret or is_loopback(parts.hostname or ""):
            yield Row(what, True, f"{said}; try it: wetread echo {place.ae_title}")
        else:
            found = f"{said} without TLS: whoever is on the way can read it"
            yield Row(what, False, found, f"use {secret}://, or a network that nobody else is on", optional=True)


def _certificate(owner: Settings | Destination) -> Iterator[Row]:
    """When our certificate for the DICOM port or a destination ends."""
    if isinstance(owner, Destination) and owner.url and owner.tls_certificate == Path():
        return  # an authority alone is enough for https
    what = f"certificate {owner.ae_title}"
    try:
        files = Files.of(owner)
        if files is None:
            return
        files.context(server=False)  # key, certificate and authority fit together
        days = (ends_at(files.certificate) - datetime.now(UTC)).days
    except SettingsError as error:
        yield Row(what, False, "cannot be used", str(error))
        return
    found = f"ends in {days} days" if days >= 0 else "has ended"
    yield Row(what, days >= SOON_DAYS, found, "" if days >= SOON_DAYS else f"put a new one at {files.certificate}")


def _peers() -> Iterator[Row]:
    for program, package in PEERS.items():
        path = shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/bin")
        remedy = "" if path else f"only for the tests: apt-get install {package}"
        yield Row(program, bool(path), path or "not installed", remedy, optional=True)
