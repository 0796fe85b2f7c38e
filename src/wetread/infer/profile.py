"""What was measured on this host: how fast each build is on each engine, and what was certified here."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from wetread.files import replacing
from wetread.infer.engine import Engine, installed
from wetread.records import Tensor

#: Of the file; one of another version is stale.
VERSION = 2
#: Lines of /proc/cpuinfo that tell a processor, of x86 and of ARM.
PROCESSOR = (
    *("cpu family", "model\t", "model name", "stepping"),
    *("CPU implementer", "CPU variant", "CPU part", "CPU revision"),
)
#: Lines of the files below /proc/driver/nvidia that tell the driver and a device.
NVIDIA = ("NVRM version:", "Model:")
#: Files below /sys/class/drm that tell a graphics processor.
PCI = ("vendor", "device", "revision")


@dataclass(frozen=True, slots=True)
class Measured:
    """The times of one build on one engine, in one shape."""

    device_uid: str  # of the build: one file may be run in two precisions
    sha256: str  # of the ONNX file, hex
    engine: str
    threads: int  # 0: all cores
    streams: int
    batch: int
    median_ms: float  # one image, asked alone
    best_ms: float
    images_s: float  # every stream busy with batches
    runs: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A build that could not be measured on an engine of this host: it is known, and no choice."""

    device_uid: str
    sha256: str
    engine: str


@dataclass(frozen=True, slots=True)
class Site:
    """A build on an engine that its certificate does not name, and that answered here as a certified engine does."""

    device_uid: str
    sha256: str
    engine: str
    reference: str  # the certified engine that it was held against
    inputs: int
    difference: float  # largest, as a share of the largest expected value
    tolerance: float


@dataclass(frozen=True, slots=True)
class Profile:
    """Measurements of one host; those of another host, engine version or file do not count."""

    host: str
    rows: tuple[Measured, ...] = ()
    failures: tuple[Failure, ...] = ()
    sites: tuple[Site, ...] = ()
    stale: str = ""  # why a profile that was written does not count

    def of(self, device_uid: str, sha256: str, engine: str) -> tuple[Measured, ...]:
        """What was measured of a build on an engine."""
        asked = (device_uid, sha256, engine)
        return tuple(row for row in self.rows if (row.device_uid, row.sha256, row.engine) == asked)

    def failed(self, device_uid: str, sha256: str, engine: str) -> bool:
        """Whether a build could not be measured on an engine."""
        return Failure(device_uid, sha256, engine) in self.failures

    def certified(self, device_uid: str, sha256: str) -> tuple[str, ...]:
        """The engines on which a build was certified here."""
        return tuple(one.engine for one in self.sites if (one.device_uid, one.sha256) == (device_uid, sha256))


def fingerprint(root: Path = Path("/")) -> str:
    """What the times depend on: processor, cores, engines and their versions, graphics processors and their driver."""
    engines = ",".join(f"{name}={number}" for name, number in sorted(installed().items()))
    return "/".join([_processor(root), str(os.cpu_count()), engines, *_devices(root)])


def _processor(root: Path) -> str:
    """Model and features of the processor, as short as they can be."""
    lines = _lines(root / "proc/cpuinfo")
    if not lines:
        return platform.processor() or platform.machine()
    return " ".join(line.split(":", 1)[1].strip() for line in lines[:12] if line.startswith(PROCESSOR))


def _devices(root: Path) -> list[str]:
    """NVIDIA's driver and the name of each of its devices, and what the bus says of each graphics processor."""
    nvidia, drm = root / "proc/driver/nvidia", root / "sys/class/drm"
    lines = [line for path in [nvidia / "version", *sorted(nvidia.glob("gpus/*/information"))] for line in _lines(path)]
    named = [" ".join(line.split(":", 1)[1].split()) for line in lines if line.startswith(NVIDIA)]
    devices = [one / "device" for one in sorted(drm.glob("renderD*"))]
    return [*named, *(" ".join(line for key in PCI for line in _lines(one / key)) for one in devices)]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def read(path: Path) -> Profile:
    """The profile of this host; one without rows if none was written, or `stale` tells why it does not count."""
    here = fingerprint()
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if table.get("version") != VERSION:
            return Profile(here, stale=f"expected version {VERSION}, got {table.get('version')}")
        if table["host"] != here:
            return Profile(here, stale="it was measured on another processor or with other engines")
        rows = tuple(Measured(**row) for row in table["rows"])
        failures = tuple(Failure(**one) for one in table.get("failures", ()))
        return Profile(here, rows, failures, tuple(Site(**one) for one in table["sites"]))
    except FileNotFoundError:
        return Profile(here)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Profile(here, stale=f"it cannot be read: {type(error).__name__}")


def write(path: Path, profile: Profile) -> None:
    """Write a profile, whole or not at all."""
    table = {"version": VERSION, "host": profile.host}
    table |= {key: [asdict(one) for one in getattr(profile, key)] for key in ("rows", "failures", "sites")}
    with replacing(path) as file:
        file.write(json.dumps(table, indent=2).encode())


def measure(engine: Engine, tensor: Tensor, runs: int = 15) -> Iterator[float]:
    """Times of `runs` answers after three that do not count, milliseconds."""
    for i in range(runs + 3):
        start = time.perf_counter()
        engine.run(tensor)
        if i >= 3:
            yield (time.perf_counter() - start) * 1e3
