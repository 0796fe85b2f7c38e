"""The HL7 message of a result: one ORU^R01 a film or series, tied to patient and order, preliminary.

It is made once and kept as bytes: sent again it has the same MSH-10.  Two readings that say the same differ in
nothing but when they were made (MSH-7, OBR-22), and have the same MSH-10 and identity, so that one of them is sent.

References
----------
HL7 v2.5.1 Sections 7.3.1 (ORU), 7.4.1 (OBR), 7.4.2 (OBX), 4.5.1 (ORC), 3.4.2 (PID), 2.15.9 (MSH), 2.A (data types);
IHE RAD TF-2 Section 4.7 (accession number in OBR-18, requested procedure in OBR-19, step in OBR-20).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from wetread.errors import BadInput, DocumentError
from wetread.records import Code, Document, Filed, Identifier
from wetread.report import pdf
from wetread.report.codes import IMAGING_REPORT
from wetread.report.context import NOTICE, Context
from wetread.report.elements import get, sequence
from wetread.report.message import problems
from wetread.report.observations import PRELIMINARY, Observation, accession, coded, observations
from wetread.report.problem import require_none
from wetread.report.sr import procedures
from wetread.report.values import current, offset
from wetread.wire import hl7
from wetread.wire.hl7 import UTF_8

APPLICATION = "WETREAD"
KINDS = ("ORU", "ORU-PDF")
#: Modality (0008,0060) -> HL7 Table 0074, diagnostic service section; others are radiology.
_SECTIONS = {"CT": "CT", "MR": "NMR", "US": "RUS"}
_SEXES = frozenset("MFO")
#: A birth date of which the day, or the month too, is not known.
_ABOUT = re.compile(r"\d{4}(0[1-9]|1[0-2])?")

#: A field, or none: numbers are the standard's.
Fields = dict[int, Any]


def document(context: Context, kind: str, stem: str, base: str = "", character_set: str = UTF_8) -> Document | None:
    """Make the message of a result.

    Parameters
    ----------
    kind
        "ORU", or "ORU-PDF" with the page beside the values.
    stem
        Of the file's name.
    base
        Where this node's HTTP port can be reached, for links; "" leaves them out.
    character_set
        Of HL7 Table 0211; a message that does not fit into it is written in UTF-8, and says so.

    Returns
    -------
    Document or None
        None where nobody knows whose image it is: no record could file it.

    Raises
    ------
    DocumentError
        The message failed our own check.
    """
    if not patients(context):
        return None
    said = list(observations(context, base))
    if kind == "ORU-PDF":
        page = base64.b64encode(pdf.written(context.result, context.source.moment, "AI wet read")).decode()
        said.append(Observation("ED", IMAGING_REPORT, (APPLICATION, "AP", "PDF", "Base64", page)))
    filed = filed_of(context, kind)
    return Document(kind, f"{stem}-{kind.lower()}.hl7", written(context, filed, said, character_set), filed=filed)


def filed_of(context: Context, *parts: str) -> Filed:
    """Say how a record files what is said of a result for its order; `parts` name which of it."""
    known = [value for _, value in patients(context)]
    order = context.result.order
    numbers = (order.placer.value, order.filler.value) if order is not None else ("", "")
    identity = _digest(
        context.fingerprint, *parts, accession(context), *numbers, *(one for id_ in known for one in id_)
    )
    return Filed(identity, _digest(*known[0]), _digest(context.source.study_uid, _place(context)))


def written(
    context: Context, filed: Filed, said: Iterable[Observation], character_set: str = UTF_8, urgent: bool = False
) -> bytes:
    """Write a message and check it.

    Raises
    ------
    DocumentError
        It failed our own check.
    """
    segments = [_msh(context, filed), _pid(context), *_order(context), _note(NOTICE)]
    if urgent:
        segments.append(_segment("TQ1", {1: "1", 9: "S"}))
    for number, one in enumerate(said, 1):
        segments.append(_obx(context, one, number))
        segments += [_note(text, place) for place, text in enumerate(one.notes, 1)]
    try:
        try:
            data = hl7.encode(segments, character_set)
        except hl7.BadMessage:
            data = hl7.encode(segments)
    except (BadInput, UnicodeError) as error:
        raise DocumentError(f"ORU: expected text that can be written, got: {type(error).__name__}") from error
    require_none("ORU", problems(data, context))
    return data


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _place(context: Context) -> str:
    """Name what was read: a film by its instance, a series by itself, also when more of it comes later."""
    source = context.source
    return source.series_uid if len(source.sop_uids) > 1 or not source.sop_uid else source.sop_uid


def _segment(name: str, fields: Fields) -> tuple[Any, ...]:
    """Give a segment from its fields by number; of MSH the first is MSH-3."""
    begin = 3 if name == "MSH" else 1
    return (name, *(fields.get(number, "") for number in range(begin, max(fields) + 1)))


def _msh(context: Context, filed: Filed) -> tuple[Any, ...]:
    made = _read_at(context) or "".join(context.source.moment)
    return _segment(
        "MSH",
        {
            3: APPLICATION,
            4: context.institution[:20],
            7: made,
            9: ("ORU", "R01", "ORU_R01"),
            10: filed.identity[:20].upper(),
            11: "P",
            12: "2.5.1",
        },
    )


def _pid(context: Context) -> tuple[Any, ...]:
    modules = context.source.modules
    sex, born = str(get(modules, "PatientSex", "")), str(get(modules, "PatientBirthDate", ""))
    return _segment(
        "PID",
        {
            1: "1",
            3: [_cx(value, kind) for kind, value in patients(context)],
            5: names(str(get(modules, "PatientName", ""))) or [("", "", "", "", "", "", "U")],
            7: current("DA", born) or (born if _ABOUT.fullmatch(born) else ""),
            8: sex if sex in _SEXES else "",
        },
    )


def patients(context: Context) -> list[tuple[str, tuple[str, str, str, str]]]:
    """Return the identifiers of the patient: type code, then value, namespace, universal ID and its type.

    Those of the order, which follows merges, stand instead of that of the image.
    """
    order = context.result.order
    if order is not None and order.patient:
        known = [one for one in order.patient if one.value]
        return [("", (one.value, one.authority, one.universal_id, one.universal_id_type)) for one in known]
    modules = context.source.modules
    value = str(get(modules, "PatientID", "")).strip()
    if not value:
        return []
    qualifiers = next(iter(sequence(modules, "IssuerOfPatientIDQualifiersSequence")), {})
    universal, kind, code = (
        str(get(qualifiers, keyword, "")).strip()
        for keyword in ("UniversalEntityID", "UniversalEntityIDType", "IdentifierTypeCode")
    )
    issuer = str(get(modules, "IssuerOfPatientID", "")).strip()
    return [(code, (value, issuer, universal, kind if universal else ""))]


def _cx(value: tuple[str, str, str, str], kind: str) -> tuple[Any, ...]:
    return (value[0], "", "", value[1:], kind)


def names(person: str) -> list[tuple[str, ...]]:
    """Turn a DICOM PN into repetitions of XPN: suffix and prefix change places, each group becomes a repetition.

    Of several names each has its own; spaces around a component mean nothing (PS3.5 Section 6.2).
    """
    made: list[tuple[str, ...]] = []
    for name in person.split("\\"):
        for group, representation in zip(name.split("="), "AIP", strict=False):
            parts = (*(part.strip() for part in group.split("^")), "", "", "", "", "")
            family, given, middle, prefix, suffix = parts[:5]
            if any(parts):
                made.append((family, given, middle, suffix, prefix, "", "", representation if "=" in name else ""))
    return made


def _doctors(person: str) -> list[tuple[str, ...]]:
    """Turn a DICOM PN into repetitions of XCN: each name by the first of its groups that says something."""
    told = (names(one) for one in person.split("\\"))
    return [("", *groups[0][:5]) for groups in told if groups]


def _order(context: Context) -> Iterator[tuple[Any, ...]]:
    source, order = context.source, context.result.order
    request = next(iter(source.requests), {})
    number = accession(context)
    placer = _ei(order.placer) if order is not None and order.placer.value else ""
    filler = (
        _ei(order.filler) if order is not None and order.filler.value else (number or source.study_uid, APPLICATION)
    )
    procedure = order.procedure if order is not None and order.procedure is not None else procedures(context)[0]
    asked = order.procedure_id if order is not None else ""
    yield _segment("ORC", {1: "RE", 2: placer, 3: filler})
    yield _segment(
        "OBR",
        {
            1: "1",
            2: placer,
            3: filler,
            4: coded(procedure) if isinstance(procedure, Code) else _copied(procedure),
            7: moment(context),
            16: _doctors(str(get(source.modules, "ReferringPhysicianName", ""))),
            18: number,
            19: asked or str(get(request, "RequestedProcedureID", "")),
            20: str(get(request, "ScheduledProcedureStepID", "")),
            22: _read_at(context),
            24: _SECTIONS.get(source.modality, "RAD"),
            25: PRELIMINARY,
            31: ("", order.indication) if order is not None and order.indication else "",
        },
    )


def _ei(one: Identifier) -> tuple[str, ...]:
    return one.value, one.authority, one.universal_id, one.universal_id_type


def _copied(procedure: Any) -> tuple[str, str, str]:
    value, scheme, meaning = (
        str(get(procedure, keyword, "")) for keyword in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
    )
    return coded(Code(value, scheme, meaning))


def moment(context: Context) -> str:
    """Return when the image was made, as DTM: to the day where no time is known, "" where nobody knows."""
    date, time = context.source.moment
    if not context.source.dated:
        return ""
    if not context.source.timed:
        return date
    whole, _, fraction = time.partition(".")
    zone = offset(str(get(context.source.modules, "TimezoneOffsetFromUTC", "")))
    return f"{date}{whole}{f'.{fraction[:4]}' if fraction else ''}{zone}"


def _read_at(context: Context) -> str:
    """Return when it was read, as DTM in UTC; "" where the result does not say."""
    digits = re.sub(r"\D", "", context.result.read_at)
    return f"{digits[:14]}+0000" if len(digits) >= 14 else ""


def _note(text: str, number: int = 1) -> tuple[Any, ...]:
    return _segment("NTE", {1: str(number), 2: "L", 3: text})


def _obx(context: Context, one: Observation, number: int) -> tuple[Any, ...]:
    """Write one observation; by its sub-ID films of one order are apart, and a film that is read again is the same."""
    group = _digest(context.source.study_uid, _place(context))[:6].upper()
    fields: Fields = {
        1: str(number),
        2: one.type,
        3: coded(one.code),
        4: f"{group}.{one.group}" if one.group else group,
        5: one.value,
        6: coded(one.unit) if one.unit is not None else "",
        7: one.range,
        8: one.flag,
        11: one.status,
        14: moment(context),
    }
    if one.model is not None:
        model = one.model
        version = f"{model.id} {model.version}+{model.build}"
        fields[17] = (*coded(model.family), model.id, version, "99WETREAD")
        fields[18] = (model.device_uid, model.manufacturer[:20])
    return _segment("OBX", fields)
