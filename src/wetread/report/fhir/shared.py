"""What the resources of one bundle share: who, which study and order, when, and how they name each other.

References
----------
FHIR R4, RESTful API Sections 3.1.0.8.1 (conditional create), 3.1.0.11 (transaction, conditional references).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wetread.errors import DocumentError
from wetread.records import Document, Identifier
from wetread.report.context import Context, instance_uid
from wetread.report.elements import get, sequence
from wetread.report.equipment import Algorithm, contributors, software
from wetread.report.fhir.coding import DICOM_UID, Json, full_url, identified, moment, query
from wetread.report.fhir.site import Site
from wetread.report.oru import patients
from wetread.uids import derive

_ACSN = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}


@dataclass(frozen=True, slots=True)
class Shared:
    """One result on its way to be a bundle."""

    context: Context
    site: Site
    base: str  # where our HTTP port can be reached; "": nowhere
    made: Sequence[Document]  # the DICOM documents of the result
    subject: Json  # Reference(Patient), never by name
    orders: list[Json]  # Reference(ServiceRequest), by accession number
    effective: str  # dateTime: when the image was made; "" not known
    issued: str  # instant: when it was read

    @property
    def report_uid(self) -> str:
        """The SOP Instance UID of the structured report, which identifies the DiagnosticReport too."""
        return instance_uid(self.context, "SR")

    @property
    def study(self) -> Json:
        """Reference(ImagingStudy)."""
        return self.to("ImagingStudy", self.context.source.study_uid)

    def to(self, kind: str, *parts: str) -> Json:
        """Return a reference to an entry of the same bundle."""
        return {"reference": full_url(kind, *parts)}

    def device(self, one: Algorithm) -> Json:
        """Return Reference(Device)."""
        return self.to("Device", one.device_uid)

    def uid(self, *parts: str) -> str:
        """Derive the UID of something that this result says."""
        return derive(self.context.fingerprint, "fhir", *parts)

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        """The builds that contributed, and this software, once each."""
        return tuple(dict.fromkeys((software(), *contributors(self.context.result.models))))


def entry(resource: Json, url: str, identifier: Json) -> Json:
    """Create a resource, without what is empty, unless one with the identifier exists."""
    kind = resource["resourceType"]
    return {
        "fullUrl": url,
        "resource": {name: value for name, value in resource.items() if value not in ([], "")},
        "request": {"method": "POST", "url": kind, "ifNoneExist": query(identifier)},
    }


def tagged(resource: Json, url: str, uid: str) -> Json:
    """Create a resource of a kind that has no identifier unless one with its tag exists."""
    tag = {"system": DICOM_UID, "code": f"urn:oid:{uid}"}
    kind = resource.pop("resourceType")
    return {
        "fullUrl": url,
        "resource": {"resourceType": kind, "meta": {"tag": [tag]}, **resource},
        "request": {"method": "POST", "url": kind, "ifNoneExist": f"_tag={tag['system']}|{tag['code']}"},
    }


def shared_of(context: Context, site: Site, base: str, made: Sequence[Document]) -> Shared:
    """Gather what the resources share.

    Raises
    ------
    DocumentError
        Nobody said when the result was read.
    """
    result, source = context.result, context.source
    if not result.read_at:
        raise DocumentError("bundle: expected a result with the time of its reading, got one without")
    (date, time), offset = source.moment, get(source.modules, "TimezoneOffsetFromUTC", "")
    effective = moment(date, time if source.timed else "", offset) if source.dated else ""
    return Shared(
        context,
        site,
        base.rstrip("/"),
        made,
        _subject(context, site),
        _orders(context, site),
        effective,
        result.read_at,
    )


def _subject(context: Context, site: Site) -> Json:
    """Refer to the patient: by a conditional reference where the identifier's system is known, else by it alone."""
    _, known = patients(context)[0]
    identifier = identified(Identifier(*known), site, "PATIENT")
    made: Json = {"type": "Patient", "identifier": identifier}
    return {"reference": f"Patient?{query(identifier)}", **made} if "system" in identifier else made


def _orders(context: Context, site: Site) -> list[Json]:
    """Refer to the order: where it was found, if the bundle goes there alone, and by its accession number.

    Whether another record knows it is not ours to demand.
    """
    modules, order = context.source.modules, context.result.order
    said = (sequence(modules, "IssuerOfAccessionNumberSequence") or [{}])[0]
    names = ("LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType")
    told = Identifier(get(modules, "AccessionNumber", ""), *(get(said, name, "") for name in names))
    accession = order.accession if order is not None and order.accession.value else told
    found = order.reference if order is not None else ""
    here = site.server != "" and found.startswith(f"{site.server}/")
    made: Json = {"reference": found.removeprefix(f"{site.server}/")} if here else {}
    if accession.value:
        made["identifier"] = {"type": _ACSN, **identified(accession, site, "ACCESSION")}
    return [{**made, "type": "ServiceRequest"}] if made else []
