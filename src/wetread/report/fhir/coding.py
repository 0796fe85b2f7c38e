"""Codes, identifiers, references and times as FHIR writes them.

References
----------
FHIR R4: datatypes (CodeableConcept, Identifier, Quantity), references (logical and conditional), terminologies-systems;
ImagingStudy and DICOM PS3.16 Table 8-1 (URI of coding schemes; a DICOM UID is ``urn:oid:`` of the system
``urn:dicom:uid``); UCUM.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any
from urllib.parse import quote

from wetread.records import Code, Identifier
from wetread.report import values
from wetread.report.codes import PRIVATE_SCHEME, PRIVATE_SCHEME_UID
from wetread.report.fhir.site import Site
from wetread.report.words import decimal
from wetread.uids import derive

Json = dict[str, Any]

DICOM_UID = "urn:dicom:uid"
UCUM = "http://unitsofmeasure.org"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
#: The OID of SHA-256 (2.16.840.1.101.3.4.2.1, NIST) names what a digest identifies.
SHA256 = "urn:oid:2.16.840.1.101.3.4.2.1"
#: Coding scheme designator -> system; a code of another scheme goes without one, with its text.
SYSTEMS = {
    "DCM": DCM,
    "FMA": "urn:oid:2.16.840.1.113883.6.119",
    "ICD10": "http://hl7.org/fhir/sid/icd-10",
    "LN": "http://loinc.org",
    "NCIt": "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl",
    "RADLEX": "http://www.radlex.org",
    "RFC5646": "urn:ietf:bcp:47",
    "SCT": "http://snomed.info/sct",
    "UCUM": UCUM,
    "UMLS": "http://www.nlm.nih.gov/research/umls",
    PRIVATE_SCHEME: f"urn:oid:{PRIVATE_SCHEME_UID}",
}
_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")
#: What may stand as a system.
URI = re.compile(r"(https?://|urn:)\S+")


def encoded(bundle: Json) -> bytes:
    """Write a bundle as UTF-8 JSON."""
    return json.dumps(bundle, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def coding(code: Code) -> Json:
    """Write a coded concept as Coding."""
    made = {"code": code.value, "display": code.meaning}
    return {"system": SYSTEMS[code.scheme], **made} if code.scheme in SYSTEMS else made


def concept(*codes: Code, text: str = "") -> Json:
    """Write coded concepts that mean the same as CodeableConcept."""
    return {"coding": [coding(one) for one in codes], "text": text or codes[0].meaning}


def term(system: str, code: str, display: str = "") -> Json:
    """Write a code of HL7's own terminology as CodeableConcept."""
    return {
        "coding": [{"system": f"{TERMINOLOGY}/{system}", "code": code, **({"display": display} if display else {})}]
    }


def quantity(value: float | str, unit: Code) -> Json:
    """Write a number with the digits that the structured report prints, and its UCUM unit."""
    shown = value if isinstance(value, str) else decimal(value)
    return {"value": float(shown), "unit": unit.meaning, "system": UCUM, "code": unit.value}


def dicom_uid(uid: str) -> Json:
    """Write a DICOM UID as Identifier."""
    return {"system": DICOM_UID, "value": f"urn:oid:{uid}"}


def oid(uid: str) -> Json:
    """Write the UID of something that is no DICOM object as Identifier."""
    return {"system": "urn:ietf:rfc3986", "value": f"urn:oid:{uid}"}


def digest(sha256: str) -> Json:
    """Write a SHA-256 in hex as Identifier."""
    return {"system": SHA256, "value": sha256}


def system_of(identifier: Identifier, site: Site, kind: str) -> str:
    """Return the system of an identifier, "" where nobody told it.

    Parameters
    ----------
    kind
        "PATIENT" or "ACCESSION": the name in `fhir_systems` that stands for identifiers without an authority.
    """
    given, value = identifier.universal_id_type.upper(), identifier.universal_id
    if given == "ISO" and _OID.fullmatch(value):
        return f"urn:oid:{value}"
    said = {"UUID": f"urn:uuid:{value.lower()}", "URI": value}.get(given, "")
    if value and URI.fullmatch(said):
        return said
    return site.systems.get(identifier.authority or kind, "")


def identified(identifier: Identifier, site: Site, kind: str) -> Json:
    """Write an identifier, with its system where that is known."""
    system = system_of(identifier, site, kind)
    assigned = {"assigner": {"display": identifier.authority}} if identifier.authority and not system else {}
    return {**({"system": system} if system else {}), "value": identifier.value, **assigned}


def query(identifier: Json) -> str:
    """Write the search for an identifier with a system: FHIR search, section 3.1.1.4.9 (escaping)."""
    parts = (re.sub(r"([\\$,|])", r"\\\1", identifier[name]) for name in ("system", "value"))
    return "identifier=" + "|".join(quote(part, safe=":/.-_~") for part in parts)


def full_url(*parts: str) -> str:
    """Name an entry inside its bundle, the same for the same parts."""
    return f"urn:uuid:{uuid.UUID(int=int(derive(*parts).rpartition('.')[2]))}"


def moment(date: str, time: str, offset: str) -> str:
    """Write DA and TM as dateTime: to the day where no offset from UTC is known, as FHIR has no local time.

    Parameters
    ----------
    time
        "" not known.
    offset
        Timezone Offset From UTC (0008,0201), "" not known.
    """
    day = f"{date[:4]}-{date[4:6]}-{date[6:8]}"
    zone = values.offset(offset)
    if not (zone and time):
        return day
    clock = (time.partition(".")[0] + "000000")[:6]
    return f"{day}T{clock[:2]}:{clock[2:4]}:{clock[4:6]}{zone[:3]}:{zone[3:]}"
