"""What a performer reads in a work item, and what it writes into it.

References
----------
PS3.4 Table CC.2.5-3 and CC.2.5-2c (Referenced Instances and Access Macro); PS3.16 CID 9231 (work item codes) and CID
9300 (reasons of discontinuation).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from wetread.wire import dicomjson, qido
from wetread.wire.dicomjson import DataSet, code, dataset, item, text, values
from wetread.wire.moments import span
from wetread.wire.ups import StepState
from wetread.wire.workitem import date_time

#: Why a step is canceled: CID 9300.
UNAVAILABLE = code("110523", "DCM", "Object Set incomplete")
FAILED = code("110501", "DCM", "Equipment failure")
UNSPECIFIED = code("110513", "DCM", "Discontinued for unspecified reason")


@dataclass(frozen=True, slots=True)
class Output:
    """One document that was made, and where it can be had."""

    series_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    ae_titles: tuple[str, ...] = ()  # of archives that confirmed it
    urls: tuple[str, ...] = ()  # of DICOMweb services that have it


def seconds(value: str) -> float | None:
    """Return a DT as seconds since the epoch, its earliest; without an offset in this machine's zone; None for none."""
    found = span("DT", value)
    return None if found is None else found[0] // 10**6


def is_for(data: DataSet, codes: Collection[str], station: str, now: float) -> bool:
    """Whether a work item may be begun by a station now.

    It is SCHEDULED and its input READY, asks for one of the codes, names no station or this one, its start has come
    and its expiration has not.

    Parameters
    ----------
    codes
        Code values of the scheme DCM.
    station
        Our AE title, as Code Value in Scheduled Station Name Code Sequence (0040,4025).
    now
        Seconds since the epoch.
    """
    if text(data, "ProcedureStepState") != StepState.SCHEDULED or text(data, "InputReadinessState") != "READY":
        return False
    asked = values(data, "ScheduledWorkitemCodeSequence")
    ours = any(text(one, "CodeValue") in codes and text(one, "CodingSchemeDesignator") == "DCM" for one in asked)
    stations = [text(one, "CodeValue") for one in values(data, "ScheduledStationNameCodeSequence")]
    begin = seconds(text(data, "ScheduledProcedureStepStartDateTime"))
    end = seconds(text(data, "ScheduledProcedureStepExpirationDateTime"))
    in_time = (begin is None or begin <= now) and (end is None or now <= end)
    return ours and in_time and (not stations or station in stations)


def study_of(data: DataSet) -> str:
    """Return the one study that a work item is about; "" where it names none, or several without saying which.

    It is the one of its Input Information Sequence (0040,4021); of several, or of none, that which its Study Instance
    UID (0020,000D) names.
    """
    inputs = {text(one, "StudyInstanceUID") for one in values(data, "InputInformationSequence")} - {""}
    if len(inputs) == 1:
        return inputs.pop()
    told = text(data, "StudyInstanceUID")
    return told if told in inputs or not inputs else ""


def sources(data: DataSet) -> frozenset[str]:
    """Return the AE titles from which the input of a work item can be retrieved, as it says."""
    inputs = values(data, "InputInformationSequence")
    ways = (way for one in inputs for way in values(one, "DICOMRetrievalSequence"))
    return frozenset(str(title).strip() for way in ways for title in values(way, "RetrieveAETitle"))


def progress(percent: int, told: str) -> DataSet:
    """Return the progress of a step, to be set."""
    made = dataset({"ProcedureStepProgress": str(percent), "ProcedureStepProgressDescription": told})
    return dataset({"ProcedureStepProgressInformationSequence": made})


def performed(
    data: DataSet, station: str, begun_at: float, ended_at: float, outputs: Iterable[DataSet], comment: str = ""
) -> DataSet:
    """Return Unified Procedure Step Performed Procedure Sequence (0074,1216), to be set.

    Parameters
    ----------
    data
        The work item.
    station
        Our AE title.
    begun_at, ended_at
        Seconds since the epoch.
    outputs
        Of `output_items`.
    comment
        For Comments on the Performed Procedure Step (0040,0280).
    """
    made = {
        "PerformedStationNameCodeSequence": code(station, "99WETREAD", station),
        "PerformedProcedureStepStartDateTime": date_time(begun_at),
        "PerformedProcedureStepDescription": text(data, "ProcedureStepLabel"),
        "CommentsOnThePerformedProcedureStep": comment or None,
        "PerformedWorkitemCodeSequence": values(data, "ScheduledWorkitemCodeSequence"),
        "PerformedProcedureStepEndDateTime": date_time(ended_at),
        "OutputInformationSequence": list(outputs),
    }
    kept = {keyword: value for keyword, value in made.items() if value is not None}
    return dataset({"UnifiedProcedureStepPerformedProcedureSequence": dataset(kept)})


def output_items(study_uid: str, outputs: Sequence[Output], base: str) -> list[DataSet]:
    """Return the items of Output Information Sequence (0040,4033), one a series.

    Parameters
    ----------
    base
        URL of our own DICOMweb service, which has them all; "" for none.
    """
    series: dict[str, list[Output]] = defaultdict(list)
    for one in outputs:
        series[one.series_uid].append(one)
    return [_item(study_uid, uid, series[uid], base) for uid in sorted(series)]


def _item(study_uid: str, series_uid: str, outputs: Sequence[Output], base: str) -> DataSet:
    titles = sorted(set.intersection(*(set(one.ae_titles) for one in outputs)))
    urls = sorted(set.intersection(*(set(one.urls) for one in outputs))) + ([base] if base else [])
    uids = sorted({(one.sop_instance_uid, one.sop_class_uid) for one in outputs})
    objects = [dataset({"ReferencedSOPClassUID": kind, "ReferencedSOPInstanceUID": uid}) for uid, kind in uids]
    made = {
        "TypeOfInstances": "DICOM",
        "StudyInstanceUID": study_uid,
        "SeriesInstanceUID": series_uid,
        "ReferencedSOPSequence": objects,
        "DICOMRetrievalSequence": [dataset({"RetrieveAETitle": title}) for title in titles],
        "WADORSRetrievalSequence": [dataset({"RetrieveURL": qido.url(url, (study_uid, series_uid))}) for url in urls],
    }
    return dataset({keyword: value for keyword, value in made.items() if value})


def because(data: DataSet, why: DataSet, told: str) -> DataSet:
    """Return why a step is canceled, to be set before it is."""
    kept = item(data, "ProcedureStepProgressInformationSequence")
    reason = {"ReasonForCancellation": told, "ProcedureStepDiscontinuationReasonCodeSequence": why}
    made = dict(sorted((kept | dataset(reason)).items()))
    return dicomjson.dataset({"ProcedureStepProgressInformationSequence": made})
