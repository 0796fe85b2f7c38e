"""Asks a FHIR server for the order of a study: ServiceRequest, found by identifier.

Of the patient only the identifiers are kept: no name, no birth date.

References
----------
FHIR R4 and R5: ServiceRequest, RESTful search (token, _include), Identifier; HL7 Table 0203 (ACSN, PLAC, FILL).
FHIR R4 ImagingStudy, notes: a Study Instance UID is ``urn:oid:`` of the system ``urn:dicom:uid``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from wetread.records import Code, Identifier, Order
from wetread.settings import Destination
from wetread.wire.fhir import Session, objects
from wetread.wire.ordering import MOST_CHARACTERS, MOST_TEXT, UID

Json = dict[str, Any]

MOST_ORDERS = 50  # of one study
MOST_IDENTIFIERS = 50  # of one patient
DICOM_UID = "urn:dicom:uid"
#: ServiceRequest.status and intent of what is no order: not placed yet, taken back, or only thought of.
NOT_PLACED = frozenset(("draft", "revoked", "entered-in-error"))
NOT_ORDERED = frozenset(("proposal", "plan", "option"))
#: ServiceRequest.priority -> `wetread.records.Order.priority`.
PRIORITIES = {"stat": "STAT", "asap": "URGENT", "urgent": "URGENT", "routine": "ROUTINE"}
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_READ = re.compile(rf"Patient/{_ID.pattern}")


@dataclass(frozen=True, slots=True)
class Naming:
    """What systems (URI) of a FHIR server are called here."""

    authorities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # system -> assigning authorities
    accession: str = ""  # system of an accession number without an authority; "" not known
    schemes: Mapping[str, str] = field(default_factory=dict)  # system -> coding scheme designator


def naming(systems: Iterable[tuple[str, str]], schemes: Mapping[str, str]) -> Naming:
    """Turn the setting `fhir_systems` round.

    Parameters
    ----------
    schemes
        Coding scheme designator -> system (URI).
    """
    pairs = tuple(systems)
    named = [(name, uri) for name, uri in pairs if name not in ("PATIENT", "ACCESSION")]
    authorities = {uri: tuple(name for name, other in named if other == uri) for _, uri in named}
    return Naming(authorities, dict(pairs).get("ACCESSION", ""), {uri: scheme for scheme, uri in schemes.items()})


def orders(server: Destination, accession: str, study_uid: str, names: Naming, timeout_s: float = 10.0) -> list[Order]:
    """Return the orders of a study, found by accession number, else by its UID.

    Answers about other orders are passed over, and those that are not placed.

    Raises
    ------
    PeerUnreachable, PeerBusy, PeerRefused, SettingsError
        As `wetread.wire.fhir.Session`.
    """
    number = f"{_escaped(names.accession)}|{_escaped(accession)}" if names.accession else _escaped(accession)
    uid = f"{DICOM_UID}|urn:oid:{study_uid}"
    by: tuple[tuple[str, str, Callable[[Order], bool]], ...] = (
        ("identifier", number, lambda one: one.accession.value == accession),
        ("requisition", number, lambda one: one.accession.value == accession),
        ("identifier", uid, lambda one: one.study_uid == study_uid),
    )
    with Session(server, timeout_s) as session:
        for parameter, token, fits in by if accession else by[2:]:
            asked = f"ServiceRequest?{parameter}={quote(token, safe='')}&_include=ServiceRequest:patient"
            answers = session.search(f"{asked}&_count={MOST_ORDERS}")
            found = [one for one in _orders(answers, session, names) if fits(one)]
            if found:
                return list(dict.fromkeys(found))
    return []


def _escaped(text: str) -> str:
    """FHIR search, section 3.1.1.4.9."""
    return re.sub(r"([\\$,|])", r"\\\1", text)


def _orders(answers: list[Json], session: Session, names: Naming) -> Iterator[Order]:
    patients = {f"Patient/{one.get('id')}": one for one in answers if one["resourceType"] == "Patient"}
    placed = [one for one in answers if one["resourceType"] == "ServiceRequest" and _is_placed(one)]
    for resource in placed[:MOST_ORDERS]:
        patient = _patient(resource, patients, session)
        yield _order(resource, patient, session.base, names)


def _is_placed(resource: Json) -> bool:
    told = (_text(resource.get("status")) in NOT_PLACED, _text(resource.get("intent")) in NOT_ORDERED)
    return not any(told) and resource.get("doNotPerform") is not True


def _patient(resource: Json, known: dict[str, Json], session: Session) -> list[Json]:
    """Return the identifiers of the subject: as it came along, else as it is read, and as the order itself names it."""
    subject = _object(resource.get("subject"))
    said = subject.get("reference")
    reference = said.removeprefix(session.base + "/") if isinstance(said, str) else ""
    if reference not in known and _READ.fullmatch(reference):  # a server need not know _include
        known[reference] = session.resource(reference)
    return [*objects(known.get(reference, {}).get("identifier")), _object(subject.get("identifier"))]


def _order(resource: Json, patient: list[Json], base: str, names: Naming) -> Order:
    given = objects(resource.get("identifier"))
    grouped = _object(resource.get("requisition"))

    def one(kind: str, some: Iterable[Json], system: str = "") -> Identifier:
        typed = [told for told in some if kind in _types(told)]
        typed += [told for told in some if system and told.get("system") == system and not _types(told)]
        return next((found for told in typed for found in _identifiers(told, names)), Identifier(""))

    id_ = _text(resource.get("id"))
    uids = (_text(told.get("value")).removeprefix("urn:oid:") for told in given if told.get("system") == DICOM_UID)
    return Order(
        one("ACSN", [*given, grouped], names.accession),
        one("PLAC", given),
        one("FILL", given),
        procedure=_procedure(resource, names),
        patient=tuple(dict.fromkeys(found for told in patient for found in _identifiers(told, names)))[
            :MOST_IDENTIFIERS
        ],
        priority=PRIORITIES.get(_text(resource.get("priority")), ""),
        indication=_indication(resource),
        study_uid=next((uid for uid in uids if UID.fullmatch(uid)), ""),
        reference=f"{base}/ServiceRequest/{id_}" if _ID.fullmatch(id_) else "",
        source="fhir",
    )


def _types(told: Json) -> set[str]:
    return {_text(one.get("code")) for one in objects(_object(told.get("type")).get("coding"))}


def _identifiers(told: Json, names: Naming) -> Iterator[Identifier]:
    """Yield an identifier under each name of its system; `wetread.report.fhir.coding.system_of` is the way back."""
    value, system = _text(told.get("value")), _text(told.get("system"))
    scheme, _, rest = system.partition(":")
    kind, _, unique = rest.partition(":")
    if not value:
        return
    if not system:
        yield Identifier(value, _text(_object(told.get("assigner")).get("display")))
    elif scheme == "urn" and kind in ("oid", "uuid"):
        for name in names.authorities.get(system) or ("",):
            yield Identifier(value, name, unique, "ISO" if kind == "oid" else "UUID")
    elif system in names.authorities:
        for name in names.authorities[system]:
            yield Identifier(value, name)
    elif system == names.accession:
        yield Identifier(value)
    else:
        yield Identifier(value, "", system, "URI")


def _procedure(resource: Json, names: Naming) -> Code | None:
    """The first code of ServiceRequest.code; in R5 it is a reference to a concept."""
    code = _object(resource.get("code"))
    code = _object(code.get("concept")) or code
    for one in objects(code.get("coding")):
        if value := _text(one.get("code")):
            meaning = _text(one.get("display")) or _text(code.get("text"))
            return Code(value, names.schemes.get(_text(one.get("system")), ""), meaning)
    return None


def _indication(resource: Json) -> str:
    """The texts of reasonCode, in R5 of reason."""
    reasons = [*objects(resource.get("reasonCode"))]
    reasons += [_object(one.get("concept")) for one in objects(resource.get("reason"))]
    told = [_text(one.get("text"), MOST_TEXT) or _coded(one) for one in reasons]
    return "; ".join(dict.fromkeys(filter(None, told)))[:MOST_TEXT]


def _coded(concept: Json) -> str:
    codings = objects(concept.get("coding"))
    return next((text for one in codings if (text := _text(one.get("display")) or _text(one.get("code")))), "")


# ---- what a server says need not have the form that it should -----------------------------------


def _text(told: Any, most: int = 0) -> str:
    """A text without control characters, cut at `most`; "" of what is none, or is longer than an identifier may be."""
    if not isinstance(told, str) or (not most and len(told) > MOST_CHARACTERS):
        return ""
    return "".join(one if one.isprintable() else " " for one in told[: most or MOST_CHARACTERS]).strip()


def _object(told: Any) -> Json:
    return told if isinstance(told, dict) else {}
