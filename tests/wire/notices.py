"""Notices as pynetdicom sends them: an implementation that is not ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association

from tests.serve.stage import until
from tests.wire.objects import CR
from wetread.wire.associate import INSTANCE_AVAILABILITY, PERFORMED_STEP


def availability(study: str, instances: Iterable[str], gone: Iterable[str] = ()) -> Dataset:
    """An Instance Availability Notification, PS3.4 Table R.3.2-1."""
    notice = Dataset()
    notice.StudyInstanceUID = study
    notice.ReferencedPerformedProcedureStepSequence = []
    series = Dataset()
    series.SeriesInstanceUID = f"{study}.1"
    series.ReferencedSOPSequence = [
        *(_available(one, "ONLINE") for one in instances),
        *(_available(one, "UNAVAILABLE") for one in gone),
    ]
    notice.ReferencedSeriesSequence = [series]
    return notice


def _available(instance: str, how: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = CR
    item.ReferencedSOPInstanceUID = instance
    item.InstanceAvailability = how
    item.RetrieveAETitle = "PACS"
    return item


def begun(*studies: str, status: str = "IN PROGRESS") -> Dataset:
    """What a modality tells at the beginning of a step, PS3.4 Table F.7.2-1 (N-CREATE)."""
    step = Dataset()
    step.SpecificCharacterSet = "ISO_IR 100"
    step.PatientName = "Canary^Patient"
    step.PatientID = "CANARY-ID-77"
    step.Modality = "CR"
    scheduled = []
    for study in studies:
        item = Dataset()
        item.AccessionNumber = "A1"
        item.ReferencedStudySequence = [_named("1.2.840.10008.3.1.2.3.1", study)]
        item.StudyInstanceUID = study
        item.ScheduledProtocolCodeSequence = []
        scheduled.append(item)
    step.ScheduledStepAttributesSequence = scheduled
    step.PerformedProcedureStepID = "P1"
    step.PerformedStationAETitle = "CR1"
    step.PerformedProcedureStepStartDate = "20260101"
    step.PerformedProcedureStepStartTime = "120000"
    step.PerformedProcedureStepStatus = status
    step.PerformedSeriesSequence = []
    return step


def ended(images: Iterable[str], others: Iterable[str] = (), status: str = "COMPLETED") -> Dataset:
    """What it tells at the end (N-SET)."""
    step = Dataset()
    step.PerformedProcedureStepStatus = status
    step.PerformedProcedureStepEndDate = "20260101"
    series = Dataset()
    series.SeriesInstanceUID = "1.2.3.1"
    series.ReferencedImageSequence = [_named(CR, one) for one in images]
    series.ReferencedNonImageCompositeSOPInstanceSequence = [_named(CR, one) for one in others]
    step.PerformedSeriesSequence = [series]
    return step


def _named(sop_class: str, instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = instance
    return item


def awake(association: Association) -> Association:
    """An association whose own thread has come round since its last request; before, it might take the next answer."""
    until(lambda: not association._is_paused)
    return association


class Modality:
    """An association of pynetdicom for notices."""

    def __init__(self, association: Association, answers: list[Dataset]) -> None:
        self._association = association
        self.answers = answers  # whole command sets, as they came

    def create(self, data: Dataset, instance: str | None, sop_class: str = PERFORMED_STEP) -> Dataset:
        """The command set of the answer to an N-CREATE."""
        status, _ = awake(self._association).send_n_create(data, sop_class, instance)
        return status

    def notify(self, data: Dataset, instance: str | None = None) -> Dataset:
        """The command set of the answer to an IAN."""
        return self.create(data, instance, INSTANCE_AVAILABILITY)

    def change(self, data: Dataset, instance: str, sop_class: str = PERFORMED_STEP) -> Dataset:
        """The command set of the answer to an N-SET."""
        status, _ = awake(self._association).send_n_set(data, sop_class, instance)
        return status


@contextmanager
def modality(port: int, calling: str = "CR1", transfer_syntax: str | None = None) -> Iterator[Modality]:
    """Ask a node for an association, and release it when the block ends."""
    ae = AE(calling)
    for sop_class in (INSTANCE_AVAILABILITY, PERFORMED_STEP):
        ae.add_requested_context(sop_class, transfer_syntax)
    answers: list[Dataset] = []
    seen = (evt.EVT_DIMSE_RECV, lambda event: answers.append(event.message.command_set))
    association = ae.associate("127.0.0.1", port, ae_title="WETREAD", evt_handlers=[seen])
    assert association.is_established
    try:
        yield Modality(association, answers)
    finally:
        association.release()
