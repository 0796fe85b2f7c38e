"""Third-party programs that the tests speak with, on loopback, on ports from the operating system."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

#: DCMTK waits for delayed acknowledgements of TCP without it.
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


#: Where programs are looked for: a virtual environment may shadow DCMTK.
PLACES = "/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin"


def require(program: str, package: str, places: str = PLACES) -> str:
    """Return the path of a program; without it skip loudly, or fail where CI=true promises it."""
    found = shutil.which(program, path=places)
    if found is None:
        _missing(program, package)
    return found


def _missing(what: str, package: str, more: str = "") -> NoReturn:
    how = f"tests/install-peers {more}".strip()
    message = f"{what} is missing: install the package {package} ({how} does)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def dicomweb_plugin() -> str:
    """Return the path of Orthanc's DICOMweb plug-in; without it as `require`."""
    path = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    if not path.exists():
        _missing(path.name, "orthanc-dicomweb")
    return str(path)


def node_program(module: str) -> str:
    """Return the path of node, with a module of tests/npm installed; without them as `require`."""
    found = shutil.which("node", path=f"{Path(sys.prefix) / 'bin'}:{PLACES}")
    if found is None or not (Path(__file__).parent / "npm/node_modules" / module).is_dir():
        _missing(f"node 20 with {module}", "nodejs and npm")
    return found


def ohif() -> Path:
    """Return the folder of the web viewer OHIF; without it as `require`."""
    path = next(Path(__file__).parents[1].glob(".peers/ohif/package/dist"), None)
    if path is None:
        _missing("OHIF", "@ohif/app", "viewer")
    return path


def chromium() -> str:
    """Return the path of a Chromium; without it as `require`."""
    found = shutil.which("chromium", path=PLACES)
    if found is None:
        _missing("chromium", "chromium", "viewer")
    return found


@contextmanager
def fhir_server(*tls: str | Path) -> Iterator[int]:
    """Medplum's FHIR R4 router and validators, in memory; by TLS with certificate, key and authority."""
    program = node_program("@medplum/fhir-router")
    command = [program, str(Path(__file__).parent / "npm/fhir-server.mjs"), *map(str, tls)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the FHIR server ended with {process.wait()}")
        yield int(line)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[Any], timeout_s: float = 20.0) -> None:
    """Wait until something listens."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the peer ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError("the peer does not listen")


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    """A process for the time of a test; its output is dropped."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    try:
        wait_for_port(port, process)
        yield
    finally:
        process.kill()  # Orthanc takes seconds to end in order, and its folder is thrown away
        process.wait()


def dcmtk(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's programs to its end."""
    return subprocess.run(
        [require(program, "dcmtk"), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=30,
        check=False,
    )


@contextmanager
def storescp(folder: Path, *options: str | Path) -> Iterator[int]:
    """DCMTK's receiver, AE title STORESCP; yields its port."""
    program = require("storescp", "dcmtk")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [program, "-aet", "STORESCP", "+B", "+xa", "-od", str(folder), *map(str, options), str(port)]
    with _running(command, port):
        yield port


@contextmanager
def dcmqrscp(folder: Path, *hosts: str) -> Iterator[int]:
    """DCMTK's archive, AE title DCMQRSCP, with lines of its table of hosts that it may send to; yields its port."""
    program = require("dcmqrscp", "dcmtk")
    (folder / "db").mkdir(parents=True, exist_ok=True)
    port = free_port()
    path = folder / "dcmqrscp.cfg"
    path.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        + "".join(f"{line}\n" for line in ("HostTable BEGIN", *hosts, "HostTable END"))
        + "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQRSCP {folder}/db RW (200, 1024mb) ANY\nAETable END\n"
    )
    with _running([program, "-c", str(path), str(port)], port):
        yield port


@contextmanager
def wlmscpfs(folder: Path) -> Iterator[int]:
    """DCMTK's worklist, AE title WORKLIST, with the files (*.wl) of folder/WORKLIST; yields its port."""
    program = require("wlmscpfs", "dcmtk")
    (folder / "WORKLIST").mkdir(parents=True, exist_ok=True)
    (folder / "WORKLIST" / "lockfile").touch()
    port = free_port()
    with _running([program, "--single-process", "-dfp", str(folder), str(port)], port):
        yield port


@dataclass(frozen=True, slots=True)
class Orthanc:
    """A running Orthanc, AE title ORTHANC."""

    port: int
    http_port: int

    def call(self, path: str, data: bytes | None = None, method: str | None = None) -> Any:
        """Ask its REST interface; return the decoded JSON."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=20) as response:
            body = response.read()
        return json.loads(body) if body.strip() else None

    def file(self, instance: str) -> bytes:
        """Return the file of one instance."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/instances/{instance}/file") as response:
            return bytes(response.read())


def orthanc_plugin(name: str) -> str:
    """Return the path of one of Orthanc's plug-ins, which come with it; without it skip loudly."""
    require("Orthanc", "orthanc")
    folders = map(Path, ("/usr/share/orthanc/plugins", "/usr/local/share/orthanc/plugins"))
    found = next((path for folder in folders if (path := folder / f"lib{name}.so").exists()), None)
    if found is None:
        pytest.skip(f"Orthanc is here without its plug-in {name}")
    return str(found)


@contextmanager
def orthanc(folder: Path, **given: Any) -> Iterator[Orthanc]:
    """Orthanc with its storage in a folder, and what is given of its configuration.

    It ends where another process took one of its ports meanwhile: then it is given others.
    """
    program = require("Orthanc", "orthanc")
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        for tries_left in (2, 1, 0):
            found = Orthanc(free_port(), free_port())
            path = _orthanc_settings(folder, found, given)
            try:
                stack.enter_context(_running([program, str(path)], found.http_port))
                break
            except RuntimeError:
                if not tries_left:
                    raise
        yield found


def _orthanc_settings(folder: Path, ports: Orthanc, given: dict[str, Any]) -> Path:
    config = {
        "Name": "peer",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "index"),
        "Plugins": [],
        "HttpPort": ports.http_port,
        "DicomPort": ports.port,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "SslEnabled": False,
        "UnknownSopClassAccepted": True,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "StableAge": 1,
        "JobsHistorySize": 10,
        "SaveJobs": False,
        **given,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(config))
    return path
