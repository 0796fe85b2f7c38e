"""Result -> one FHIR transaction: report, observations, study, devices, provenance, task, pictures, audit.

It is a pure function of the result: the same reading gives the same bytes.  Every entry is a conditional create by an
identifier that follows from what it says, so that a replay creates nothing.

References
----------
FHIR R4 (4.0.1), R4B and R5; IHE IMR 1.1.0 (RAD-141); HL7 dicom-sr.
"""

from __future__ import annotations

from collections.abc import Sequence

from wetread.records import Document
from wetread.report.context import Context
from wetread.report.fhir import checker, devices, imaging, observations, reported
from wetread.report.fhir.coding import Json, dicom_uid, encoded
from wetread.report.fhir.shared import Shared, shared_of
from wetread.report.fhir.site import Site, site_of

__all__ = ["Site", "bundle", "site_of"]


def bundle(context: Context, site: Site, base: str, made: Sequence[Document], page: bytes) -> bytes:
    """Write the transaction of a result, read or refused, as UTF-8 JSON.

    Parameters
    ----------
    base
        Where this node's HTTP port can be reached; "": nowhere.
    made
        The DICOM documents of the result; the study lists them.
    page
        The page, which the report presents.

    Raises
    ------
    DocumentError
        It did not pass our own checker, or nobody said when the result was read.
    """
    shared = shared_of(context, site, base, made)
    resource = {
        "resourceType": "Bundle",
        "identifier": dicom_uid(shared.report_uid),
        "type": "transaction",
        "timestamp": shared.issued,
        "entry": _entries(shared, page),
    }
    data = encoded(resource)
    checker.check(data, shared)
    return data


def _entries(shared: Shared, page: bytes) -> list[Json]:
    pictures = imaging.pictures(shared)
    said = list(observations.observations(shared, pictures))
    results = [{"reference": one["fullUrl"]} for one in said if one["resource"]["resourceType"] == "Observation"]
    where = imaging.endpoint(shared)
    entries = [
        *devices.devices(shared),
        where,
        imaging.study(shared, where),
        *pictures.values(),
        *said,
        reported.report(shared, results, list(pictures.values()), page),
        reported.task(shared),
        devices.provenance(shared, results),
        devices.audit(shared),
    ]
    return list({one["fullUrl"]: one for one in entries if one is not None}.values())
