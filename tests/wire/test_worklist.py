"""Modality Worklist against DCMTK's wlmscpfs, Orthanc's plug-in and a peer that misbehaves; the verb and the lanes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from tests import peers
from wetread import cli
from wetread.errors import PeerRefused
from wetread.records import Code, Identifier
from wetread.settings import Destination
from wetread.wire.worklist import WORKLIST_FIND, orders, scheduled

TODAY = time.strftime("%Y%m%d")


def order(number: int, priority: str, modality: str = "CR", date: str = TODAY) -> Dataset:
    """An entry of a worklist: accession number A-n, study 1.2.n."""
    made, step = Dataset(), Dataset()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.AccessionNumber, made.StudyInstanceUID = f"A-{number}", f"1.2.{number}"
    made.PatientName, made.PatientID = "Canary^Patient", "CANARY-ID-77"
    made.PatientBirthDate, made.PatientSex = "19700101", "O"
    made.RequestedProcedureID, made.RequestedProcedureDescription = f"P{number}", "Thorax"
    made.RequestedProcedurePriority = priority
    made.IssuerOfPatientID, made.ReasonForTheRequestedProcedure = "HOSP&1.2.3&ISO", "Cough"
    made.PlacerOrderNumberImagingServiceRequest = f"PL{number}"
    made.FillerOrderNumberImagingServiceRequest = f"FI{number}"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = f"T{number}", "L", "Thorax"
    made.RequestedProcedureCodeSequence = [code]
    step.ScheduledStationAETitle, step.Modality = "CT1", modality
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = date, f"{10 + number:02d}0000"
    step.ScheduledPerformingPhysicianName, step.ScheduledProcedureStepID = "", f"S{number}"
    step.ScheduledProcedureStepDescription, step.ScheduledStationName = f"Step {number}", "Room 1"
    made.ScheduledProcedureStepSequence = [step]
    return made


ORDERS = [order(2, "ROUTINE"), order(1, "STAT"), order(3, "HIGH", "CT"), order(4, "STAT", date="20200101")]


def write(folder: Path) -> None:
    """Put the orders into a folder as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(ORDERS):
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.file_meta.MediaStorageSOPInstanceUID = UID(WORKLIST_FIND)
        one.save_as(folder / f"{number}.wl", enforce_file_format=True)


@pytest.fixture(scope="module")
def dcmtk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Destination]:
    folder = tmp_path_factory.mktemp("wlmscpfs")
    write(folder / "WORKLIST")
    with peers.wlmscpfs(folder) as port:
        yield Destination("WORKLIST", "127.0.0.1", port)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Destination]:
    folder = tmp_path_factory.mktemp("orthanc")
    write(folder / "orders")
    given: dict[str, Any] = {
        "Plugins": [peers.orthanc_plugin("ModalityWorklists")],
        "Worklists": {"Enable": True, "Database": str(folder / "orders")},
        "DicomAlwaysAllowFindWorklist": True,
        "DicomModalities": {"node": ["WETREAD", "127.0.0.1", 1]},
    }
    with peers.orthanc(folder / "orthanc", **given) as running:
        yield Destination("ORTHANC", "127.0.0.1", running.port)


@pytest.fixture(params=["dcmtk", "orthanc"])
def worklist(request: pytest.FixtureRequest) -> Destination:
    found: Destination = request.getfixturevalue(request.param)
    return found


@pytest.mark.peer
def test_what_is_scheduled(worklist: Destination) -> None:
    steps, whole = scheduled(worklist, {"ScheduledProcedureStepStartDate": TODAY})
    assert whole
    assert [one.accession for one in steps] == ["A-1", "A-2", "A-3"]  # by their time
    first = steps[0]
    assert (first.study_uid, first.priority, first.station_ae, first.modality) == ("1.2.1", "STAT", "CT1", "CR")
    assert (first.date, first.time, first.step_id, first.procedure) == (TODAY, "110000", "S1", "Thorax")
    assert [one.accession for one in scheduled(worklist, {"Modality": "CT"})[0]] == ["A-3"]
    assert scheduled(worklist, {"ScheduledStationAETitle": "MR1"}) == ([], True)


@pytest.mark.peer
def test_the_order_of_a_study(worklist: Destination) -> None:
    (found,) = orders(worklist, "A-1", "9.9")
    assert found.accession == Identifier("A-1")
    assert found.patient == (Identifier("CANARY-ID-77", "HOSP", "1.2.3", "ISO"),)
    assert found.procedure == Code("T1", "L", "Thorax")
    assert (found.placer.value, found.filler.value, found.procedure_id) == ("PL1", "FI1", "P1")
    assert (found.priority, found.study_uid, found.indication) == ("STAT", "1.2.1", "Cough")
    assert [one.priority for one in orders(worklist, "", "1.2.3")] == ["URGENT"]
    assert [one.priority for one in orders(worklist, "A-9", "1.2.2")] == ["ROUTINE"]
    assert orders(worklist, "A-9", "9.9") == []
    assert orders(worklist, "*", "") == orders(worklist, "", "") == []


@pytest.mark.peer
def test_the_verb(worklist: Destination) -> None:
    address = f"{worklist.ae_title}@{worklist.host}:{worklist.port}"
    ran = CliRunner().invoke(cli.commands, ["worklist", address, "--json"])
    assert ran.exit_code == 0, ran.output
    assert [row["accession"] for row in json.loads(ran.stdout)] == ["A-1", "A-2", "A-3"]
    ran = CliRunner().invoke(cli.commands, ["worklist", address, "--date", "any", "--modality", "CR"])
    assert all(word in ran.output for word in ("A-4", "Step 2", "STAT"))
    assert "A-3" not in ran.output
    assert "Canary" not in ran.output
    ran = CliRunner().invoke(cli.commands, ["worklist", address, "--accession", "A-4", "--json"])
    assert [row["date"] for row in json.loads(ran.stdout)] == ["20200101"]
    ran = CliRunner().invoke(cli.commands, ["worklist", address, "--station", "MR1"])
    assert "Nothing is scheduled" in ran.output
    ran = CliRunner().invoke(cli.commands, ["worklist", address, "--most", "1"])
    assert "more than 1" in ran.output


@contextmanager
def odd(*answers: Dataset, status: int = 0) -> Iterator[Destination]:
    """A worklist that answers the same, whatever it is asked."""

    def find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for one in answers:
            yield 0xFF00, one
        yield status, None

    ae = AE("ODD")
    ae.add_supported_context(WORKLIST_FIND)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    assert server is not None
    try:
        yield Destination("ODD", "127.0.0.1", server.server_address[1])
    finally:
        server.shutdown()


def test_answers_about_other_orders_are_passed_over() -> None:
    with odd(*ORDERS) as worklist:
        assert [one.accession.value for one in orders(worklist, "A-2", "")] == ["A-2"]
        assert orders(worklist, "A-9", "9.9") == []


def test_an_answer_without_a_step_or_with_two() -> None:
    bare, two = order(1, "STAT"), order(2, "STAT")
    del bare.ScheduledProcedureStepSequence
    two.ScheduledProcedureStepSequence.append(order(3, "")["ScheduledProcedureStepSequence"].value[0])
    with odd(bare, two) as worklist:
        steps, _ = scheduled(worklist, {})
    assert [(one.accession, one.step_id) for one in steps] == [("A-1", ""), ("A-2", "S2"), ("A-2", "S3")]


def test_who_is_no_worklist_says_so() -> None:
    with odd(status=0xA700) as worklist, pytest.raises(PeerRefused, match="0xA700"):
        scheduled(worklist, {})
    server = AE("ARCHIVE")
    server.add_supported_context("1.2.840.10008.1.1")
    running = server.start_server(("127.0.0.1", 0), block=False)
    assert running is not None
    with pytest.raises(PeerRefused, match="Modality Worklist"):
        scheduled(Destination("ARCHIVE", "127.0.0.1", running.server_address[1]), {})
    running.shutdown()
