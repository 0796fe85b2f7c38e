"""The study and the pictures: ImagingStudy, its Endpoint, Media (in R5 DocumentReference).

References
----------
FHIR R4 and R5: ImagingStudy, Endpoint, Media, DocumentReference, Attachment; PS3.18 (WADO-RS).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

from wetread.counting import facing
from wetread.records import Picture
from wetread.report.codes import MODALITIES
from wetread.report.context import KINDS
from wetread.report.elements import get
from wetread.report.equipment import software
from wetread.report.fhir.coding import DCM, Json, dicom_uid, full_url, moment, oid, term
from wetread.report.fhir.shared import Shared, entry
from wetread.report.page import jpeg
from wetread.report.values import current
from wetread.uids import derive

WADO = "/dicomweb"  # below `public_url`


def endpoint(shared: Shared) -> Json | None:
    """Make the entry that says where the objects can be fetched, where a public address is set."""
    if not shared.base:
        return None
    address = shared.base + WADO
    uid = derive("endpoint", address)
    kind = {"system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type", "code": "dicom-wado-rs"}
    payload = {"coding": [{"system": DCM, "code": "113014"}]}
    made: Json = {"resourceType": "Endpoint", "identifier": [oid(uid)], "status": "active"}
    if shared.site.r5:
        made |= {"connectionType": [{"coding": [kind]}]}
        made |= {"payload": [{"type": [payload], "mimeType": ["application/dicom"]}]}
    else:
        made |= {"connectionType": kind, "payloadType": [payload], "payloadMimeType": ["application/dicom"]}
    return entry(made | {"address": address}, full_url("Endpoint", uid), oid(uid))


def study(shared: Shared, where: Json | None) -> Json:
    """Make the entry of the study: the series that was read, and ours about it.

    A study that the record knows already is left as it is.
    """
    source = shared.context.source
    modules = source.modules
    date, time = (current(vr, get(modules, f"Study{word}", "")) for vr, word in (("DA", "Date"), ("TM", "Time")))
    offset = get(modules, "TimezoneOffsetFromUTC", "")
    started = moment(date, time, offset) if date else shared.effective
    series = list(_series(shared))
    modalities = dict.fromkeys(one["modality"]["code"] for one in series)
    made: Json = {
        "resourceType": "ImagingStudy",
        "identifier": [dicom_uid(source.study_uid)],
        "status": "available",
        "modality": [_modality(shared, code) for code in modalities],
        "subject": shared.subject,
        "started": started,
        "basedOn": shared.orders,
        "endpoint": [{"reference": where["fullUrl"]}] if where is not None else [],
        "series": [one | {"modality": _modality(shared, one["modality"]["code"])} for one in series],
    }
    return entry(made, full_url("ImagingStudy", source.study_uid), dicom_uid(source.study_uid))


def _series(shared: Shared) -> Iterator[Json]:
    source = shared.context.source
    if source.referable:
        uids = [_instance(uid, source.sop_class_uid) for uid in source.sop_uids]
        about = {"numberOfInstances": len(uids), "instance": uids}
        yield {"uid": source.series_uid, "modality": {"code": source.modality or "OT"}, **about}
    for one in shared.made:
        facts = KINDS[one.kind]
        yield {
            "uid": derive(shared.context.fingerprint, one.kind, "series"),
            "number": facts.series_number,
            "modality": {"code": facts.modality or source.modality or "OT"},
            "description": facts.description,
            "numberOfInstances": 1,
            "instance": [_instance(one.sop_instance_uid, one.sop_class_uid)],
        }


def _instance(uid: str, sop_class_uid: str) -> Json:
    return {"uid": uid, "sopClass": {"system": "urn:ietf:rfc3986", "code": f"urn:oid:{sop_class_uid}"}}


def _modality(shared: Shared, code: str) -> Json:
    named = {"display": MODALITIES[code][0].meaning} if code in MODALITIES else {}
    made = {"system": DCM, "code": code, **named}
    return {"coding": [made]} if shared.site.r5 else made


def attachment(shared: Shared, data: bytes, kind: str, title: str) -> Json:
    """Write bytes with their size and SHA-1, as FHIR has it."""
    return {
        "contentType": kind,
        "language": "en",
        "data": base64.b64encode(data).decode(),
        "size": str(len(data)) if shared.site.r5 else len(data),  # an integer64 is a string in JSON
        "hash": base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode(),
        "title": title,
    }


def pictures(shared: Shared) -> dict[str, Json]:
    """Make an entry of each picture with something drawn on it, by its name."""
    drawn = (one for one in shared.context.result.pictures if one.name != "film")
    return {one.name: _picture(shared, one) for one in drawn}


def _picture(shared: Shared, picture: Picture) -> Json:
    doubtful = any(not one.trustworthy for one in shared.context.result.explanations[:1])  # the others have no picture
    title = f"Not trustworthy: {picture.caption}" if picture.name == "heat" and doubtful else picture.caption
    uid = shared.uid("picture", picture.name)
    content = attachment(shared, jpeg(picture), "image/jpeg", title)
    height, width = picture.rgb.shape[:2]
    image = shared.context.result.image
    side = facing(image) if image is not None else ""
    if shared.site.r5:
        made: Json = {
            "resourceType": "DocumentReference",
            "identifier": [oid(uid)],
            "status": "current",
            "docStatus": "preliminary",
            "type": {"text": title},
            "subject": shared.subject,
            "date": shared.issued,
            "author": [shared.device(software())],
            "description": side,
            "content": [{"attachment": content | {"height": height, "width": width}}],
        }
    else:
        made = {
            "resourceType": "Media",
            "identifier": [oid(uid)],
            "basedOn": shared.orders,
            "partOf": [shared.study],
            "status": "completed",
            "type": term("media-type", "image"),
            "subject": shared.subject,
            "createdDateTime": shared.effective,
            "issued": shared.issued,
            "device": shared.device(software()),
            "height": height,
            "width": width,
            "content": content,
            "note": [{"text": side}] if side else [],
        }
    return entry(made, full_url(made["resourceType"], uid), oid(uid))
