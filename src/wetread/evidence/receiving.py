"""How fast a node takes slices durably, how soon it is ready, and how much memory its models take.

DCMTK's `storescu` sends over four associations with ``TCP_NODELAY=1``: without it the sender waits
for the kernel.  A pynetdicom SCP that decodes and saves is asked too where that package is installed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from wetread.evidence.figures import Figure
from wetread.evidence.node import serving
from wetread.evidence.peak import drained
from wetread.jobs.spool import sync_folder

SENDER = Path("/usr/bin/storescu")
ASSOCIATIONS, TURNS, GOAL_S, GOAL_TIMES = 4, 3, 300, 3
GOAL_MB, GOAL_READY_S = 700, 3.0
#: A small SCP as a user of pynetdicom writes it: decodes each object and saves it.
PEER = """
import sys
from pathlib import Path
from pynetdicom import AE, evt, AllStoragePresentationContexts
def keep(event):
    found = event.dataset
    found.file_meta = event.file_meta
    found.save_as(Path(sys.argv[1]) / f"{found.SOPInstanceUID}.dcm", enforce_file_format=True)
    return 0
entity = AE("PEER")
entity.supported_contexts = AllStoragePresentationContexts
server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
print(server.server_address[1], flush=True)
sys.stdin.read()
"""


def slices(folder: Path, number: int) -> None:
    """Write so many CT slices of 512 x 512, 0.53 MB each, as one study: noise, which no model has to read."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 4096, (512, 512), np.int16)
    study, series = generate_uid(), generate_uid()
    for at in range(number):
        one = Dataset()
        one.SOPClassUID, one.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID, one.Modality = study, series, "CT"
        one.PatientName, one.PatientID, one.InstanceNumber = "SPEED", "SPEED", at + 1
        one.Rows, one.Columns, one.SamplesPerPixel, one.PhotometricInterpretation = 512, 512, 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 12, 11, 0
        one.PixelData = pixels.tobytes()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.save_as(folder / f"{at}.dcm", enforce_file_format=True)


def objects_s(port: int, title: str, folders: list[Path]) -> float:
    """Objects a second that a node acknowledges, a folder an association, all at once.

    Raises
    ------
    RuntimeError
        The sender failed.
    """
    environment = {**os.environ, "TCP_NODELAY": "1"}
    start = time.perf_counter()
    command = [str(SENDER), "-aec", title, "127.0.0.1", str(port), "+sd"]
    senders = [subprocess.Popen([*command, str(folder)], env=environment) for folder in folders]
    codes = [sender.wait(timeout=300) for sender in senders]  # all of them, though one failed
    if any(codes):
        raise RuntimeError("storescu: expected every object to be taken, got a failure")
    return sum(len(list(folder.iterdir())) for folder in folders) / (time.perf_counter() - start)


@contextmanager
def peer(into: Path) -> Iterator[int]:
    """Run the SCP of pynetdicom; yields its port."""
    into.mkdir()
    command = [sys.executable, "-c", PEER, str(into)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def synced_s(folder: Path, data: bytes, number: int) -> float:
    """Files a second that the disk takes, each fsynced, then its folder; so many threads as associations."""
    folder.mkdir()

    def write(name: int) -> None:
        with (folder / str(name)).open("wb", buffering=0) as file:
            file.write(data)
            os.fsync(file.fileno())
        sync_folder(folder)

    start = time.perf_counter()
    with ThreadPoolExecutor(ASSOCIATIONS) as pool:
        list(pool.map(write, range(number)))
    return number / (time.perf_counter() - start)


def received(models: Path, each: int = 50) -> list[Figure]:
    """Slices over four associations into a node, durably; beside pynetdicom where it is installed, and the disk."""
    with tempfile.TemporaryDirectory() as place, serving(models) as served, ExitStack() as stack:
        port = stack.enter_context(peer(Path(place) / "peer")) if find_spec("pynetdicom") is not None else None
        ours, theirs, spent_s = [], [], []
        for turn in range(1 + TURNS):
            folders = [Path(place) / f"study-{turn}-{at}" for at in range(ASSOCIATIONS)]
            for folder in folders:
                slices(folder, each)
            before = served.processor_s()
            ours.append(objects_s(served.address.port, served.address.ae_title, folders))
            spent_s.append(served.processor_s() - before)
            drained(served)
            theirs.append(objects_s(port, "PEER", folders) if port else 0.0)
        slice_ = next(folders[0].iterdir()).read_bytes()
        disk = synced_s(Path(place) / "disk", slice_, ASSOCIATIONS * each)
    (first, *ours), rival = ours, statistics.median(theirs[1:])
    rate, each_ms = statistics.median(ours), 1e3 * statistics.median(spent_s[1:]) / (ASSOCIATIONS * each)
    told = f", {rate / rival:.1f} times pynetdicom's {rival:.0f}" if port else "; pynetdicom is not installed here"
    size = f"{len(slice_) / 1e6:.2f} MB"
    return [
        Figure(
            f"receiving slices of {size} from storescu over {ASSOCIATIONS} associations, durably",
            f"{GOAL_S} objects/s, {GOAL_TIMES} times pynetdicom's decode-and-save",
            f"{rate:.0f} objects/s{told}; {each_ms:.1f} ms of processor time an object; "
            f"the first {ASSOCIATIONS * each} after its start at {first:.0f}/s",
            rate >= GOAL_S and port is not None and rate >= GOAL_TIMES * rival,
            TURNS * ASSOCIATIONS * each,
            f"medians of {TURNS} turns after a first one of each; sender and receiver share the cores; ours waits for "
            "the disk before it answers, pynetdicom does not; the node begins to read when the first association ends",
        ),
        Figure(
            f"the disk below it: files of {size}, each fsynced with its folder, {ASSOCIATIONS} at a time",
            "none; it bounds the row above",
            f"{disk:.0f} files/s",
            True,
            ASSOCIATIONS * each,
            "no index, no digest and no network; a disk that others use is slower",
        ),
    ]


def started(models: Path, runs: int = 3) -> list[Figure]:
    """How soon a node with every model is ready, and its memory then."""
    seconds, memory, processor = [], [], []
    for _ in range(runs):
        start = time.perf_counter()
        with serving(models) as served:
            seconds.append(time.perf_counter() - start)
            memory.append(served.resident_mb())
            processor.append(served.processor_s())
    return [
        Figure(
            "node with every model that ships: cold start to ready",
            f"under {GOAL_READY_S:g} s",
            f"{sorted(seconds)[runs // 2]:.1f} s, slowest {max(seconds):.1f} s; {max(processor):.1f} s on a processor",
            max(seconds) < GOAL_READY_S,
            runs,
            "program files are in the page cache; no compiled graphs are, as the state folder is new each time",
        ),
        Figure(
            "node with every model that ships: resident memory when it is ready",
            f"under {GOAL_MB} MB",
            f"{max(memory):.0f} MB",
            max(memory) < GOAL_MB,
            runs,
            "VmRSS counts shared library pages too; a study on top takes what its images take",
        ),
    ]


def figures(models: Path) -> list[Figure]:
    """Every row about a node at its doors; what DCMTK is needed for is left out without it."""
    return [*(received(models) if SENDER.is_file() else []), *started(models)]
