"""Objects that come by STOW-RS: what each is, and what the sender is told of it.

References
----------
PS3.18 Section 10.5 (store transaction), 10.5.3 and Annex I (response, reasons); PS3.4 Table B.2-1 (statuses).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wetread.wire import qido
from wetread.wire.acceptor import Received
from wetread.wire.associate import is_kept, is_storage
from wetread.wire.command import STORED, Status
from wetread.wire.glance import Tag, glance
from wetread.wire.part10 import header, identify, meta

#: Stands where the AE title of a DIMSE sender does, also for rules.
SENDER = "DICOMWEB"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one object."""

    status: int  # as for C-STORE
    received: tuple[str, str, str] | None = None  # SOP Class, SOP Instance and Study Instance UID, where known
    series_uid: str = ""  # where known


def received(data: bytes | bytearray, called_ae: str, association: int) -> Received:
    """Return a file as C-STORE would have brought it: our file meta information, the data set byte for byte.

    Raises
    ------
    BadInput
        It is no DICOM file, or cannot be filed.
    """
    about = meta(data)
    body = memoryview(data)[about.offset :]
    found = identify(body, about.transfer_syntax)
    head = header(found.sop_class_uid, found.sop_instance_uid, about.transfer_syntax)
    return Received(
        found.sop_class_uid,
        found.sop_instance_uid,
        found.study_uid,
        about.transfer_syntax,
        b"".join((head, body)),
        SENDER,
        association,
        called_ae,
    )


def is_taken(given: Received) -> bool:
    """Whether C-STORE takes such objects; of private SOP classes nobody says here that they are stored."""
    standard = given.sop_class_uid.startswith("1.2.840.10008.")
    return is_kept(given.transfer_syntax) and (is_storage(given.sop_class_uid) or not standard)


def series_of(given: Received) -> str:
    """Return the Series Instance UID of an object; "" where it has none."""
    body = memoryview(given.data)[meta(given.data).offset :]
    found = glance(body, given.transfer_syntax).get(Tag.SERIES, "")
    return found if re.fullmatch(r"[0-9.]{1,64}", found) else ""


def http_status(outcomes: Sequence[Outcome]) -> int:
    """Return 200 if all is stored, 202 for some or with warnings, 503 for no room, 409 where nothing can be stored."""
    if all(one.status == Status.SUCCESS for one in outcomes):
        return 200
    if any(one.status in STORED for one in outcomes):
        return 202
    return 503 if any(one.status == Status.OUT_OF_RESOURCES for one in outcomes) else 409


def response(outcomes: Sequence[Outcome], base: str) -> dict[str, Any]:
    """Return the DICOM JSON of the Store Instances Response Module (PS3.18 Table I.1-1).

    Parameters
    ----------
    base
        URL of the service.
    """
    stored, failed, others = [], [], []
    studies = set()
    for one in outcomes:
        if one.received is None:
            others.append({"00081197": {"vr": "US", "Value": [one.status]}})
            continue
        sop_class, instance, study = one.received
        item: dict[str, Any] = {
            "00081150": {"vr": "UI", "Value": [sop_class]},
            "00081155": {"vr": "UI", "Value": [instance]},
        }
        if one.status not in STORED:
            failed.append({**item, "00081197": {"vr": "US", "Value": [one.status]}})
            continue
        studies.add(study)
        item["00081190"] = _retrieve([qido.url(base, (study, one.series_uid, instance))] if one.series_uid else [])
        if one.status != Status.SUCCESS:
            item["00081196"] = {"vr": "US", "Value": [one.status]}
        stored.append(item)
    made = {"00081190": _retrieve([qido.url(base, studies)] if len(studies) == 1 else [])}
    for tag, items in (("00081198", failed), ("00081199", stored), ("0008119A", others)):
        if items:
            made[tag] = {"vr": "SQ", "Value": items}
    return made


def _retrieve(urls: list[str]) -> dict[str, Any]:
    """Retrieve URL (0008,1190), of Type 2: it is there, if empty."""
    return {"vr": "UR", "Value": urls} if urls else {"vr": "UR"}
