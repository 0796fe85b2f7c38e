"""Images that go outside, seen from there: Orthanc takes them by both protocols, dciodvfy finds no new error."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pydicom
import pytest
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from tests import peers, phantoms
from tests.acquire.deidentify.test_deidentify import planted
from tests.jobs import fake
from wetread.acquire.deidentify import Ledger, reidentify
from wetread.jobs.delivery import Outbox
from wetread.jobs.instances import Arrival
from wetread.jobs.states import State
from wetread.jobs.store import Store
from wetread.jobs.watch import Watch
from wetread.jobs.worker import Worker
from wetread.routes import BurnedIn
from wetread.settings import Destination, Settings
from wetread.wire.deliver import deliver
from wetread.wire.part10 import identify, meta

pytestmark = pytest.mark.peer

#: Of scanners, as pydicom has them: native, RLE and JPEG 2000, an enhanced CT and an enhanced MR.
SCANNED = ("CT_small.dcm", "MR_small_RLE.dcm", "MR2_J2KR.dcm", "eCT_Supplemental.dcm", "emri_small.dcm")
RULES = (BurnedIn((), modality=("CT", "MR")), BurnedIn(((8, 4, 30, 10),), 96, 80, modality=("US",)))


def sources() -> list[bytes]:
    """Images of scanners, one full of canaries, and one with text in its pixels."""
    found = [get_testdata_file(name, download=False) for name in SCANNED]
    scanned = [Path(path).read_bytes() for path in found if isinstance(path, str)]
    assert scanned
    sonogram = phantoms.make_film(
        modality="US",
        syntax=uid.RLELossless,
        BurnedInAnnotation="YES",
        SOPInstanceUID=f"{phantoms.ROOT}.2.1.1",
        StudyInstanceUID=f"{phantoms.ROOT}.2",
    )
    return [*scanned, phantoms.to_bytes(planted()[0]), phantoms.to_bytes(sonogram)]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.Orthanc]:
    plugin = peers.dicomweb_plugin()
    with peers.orthanc(tmp_path_factory.mktemp("orthanc"), Plugins=[plugin], OverwriteInstances=True) as running:
        yield running


def place(orthanc: peers.Orthanc, protocol: str) -> Destination:
    to = {"documents": ("IMAGE",), "deidentify": ("shifted-dates", "descriptors", "patient", "safe-private")}
    if protocol == "dimse":
        return Destination("ORTHANC", "127.0.0.1", orthanc.port, **to)  # type: ignore[arg-type]
    return Destination("ORTHANC", url=f"http://127.0.0.1:{orthanc.http_port}/dicom-web", **to)  # type: ignore[arg-type]


def send(files: list[bytes], destination: Destination, state: Path) -> Settings:
    """Receive files, read them, and deliver what goes on."""
    given = Settings(destinations=(destination,), state=state, burned_in=RULES, retry_first_s=0.0)
    with closing(Store(given.state_dir)) as store:
        for data in files:
            head = meta(data)
            known = identify(memoryview(data)[head.offset :], head.transfer_syntax)
            uids = (known.sop_class_uid, known.sop_instance_uid, known.study_uid)
            store.instances.admit([Arrival(*uids, head.transfer_syntax, "CT1", store.spool.put(data), len(data))])
            store.studies.complete(known.study_uid)
        worker = Worker(store, fake.READER, given, Watch())
        while worker.step():
            pass
        with closing(Outbox(destination.names[0], destination, store, post, given, Watch())) as outbox:
            while outbox.step() is not None:
                pass
        counts = store.overview.counts()
        assert counts[State.DELIVERED] == sum(counts.values())
    return given


def post(destination: Destination, files: Sequence[bytes], on_status: Callable[[int, int], None]) -> None:
    deliver(destination, files, "WETREAD", 20.0, on_status)


def errors(path: Path) -> set[str]:
    program = peers.require("dciodvfy", "dicom3tools")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, timeout=60, check=False)
    return {line for line in done.stderr.splitlines() if "Error" in line}


@pytest.mark.parametrize("protocol", ["dimse", "dicomweb"])
def test_images_arrive_without_the_patient(orthanc: peers.Orthanc, protocol: str, tmp_path: Path) -> None:
    files = sources()
    given = send(files, place(orthanc, protocol), tmp_path / "state")
    instances = orthanc.call("/instances")
    got = [orthanc.file(instance) for instance in instances]
    for instance in instances:
        orthanc.call(f"/instances/{instance}", method="DELETE")
    assert len(got) == len(files)
    with Ledger(given.ledger_path) as ledger:
        for data in got:
            copy = pydicom.dcmread(io.BytesIO(data))
            old = ledger.original("uid", copy.SOPInstanceUID)
            (source,) = [one for one in files if pydicom.dcmread(io.BytesIO(one)).SOPInstanceUID == old]
            check(copy, data, source, tmp_path)
            home = pydicom.dcmread(io.BytesIO(reidentify(data, ledger)))
            assert home.PatientID == pydicom.dcmread(io.BytesIO(source)).get("PatientID", "")


def check(copy: Dataset, data: bytes, source: bytes, folder: Path) -> None:
    """Hold a copy against its source."""
    before = pydicom.dcmread(io.BytesIO(source))
    named = [str(before.get(name, "")) for name in ("PatientName", "StudyInstanceUID", "SOPInstanceUID")]
    assert not [name for name in (*named, *phantoms.SECRETS) if name and name.encode() in data]
    if copy.Modality == "US":
        assert copy.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
        assert len({*copy.pixel_array[4:14, 8:38].flat}) == 1
        return
    assert copy.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    changed = {
        place for place, (now, once) in enumerate(zip(copy.PixelData, before.PixelData, strict=True)) if now != once
    }
    assert not any(copy.PixelData[place] for place in changed)
    # An encoder of JPEG 2000 names itself and its version, and fills up behind the end.
    assert len(changed) == (12 if before.file_meta.TransferSyntaxUID == uid.JPEG2000Lossless else 0)
    if before.SOPInstanceUID == phantoms.INSTANCE:  # no IOD holds all that was planted there
        assert b"Canary900" not in data
        return
    for name, content in (("before.dcm", source), ("after.dcm", data)):
        (folder / name).write_bytes(content)
    assert errors(folder / "after.dcm") - errors(folder / "before.dcm") == set()
