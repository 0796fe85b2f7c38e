"""Who made a result and from what: Device by algorithm, Provenance, AuditEvent.

References
----------
FHIR R4 and R5: Device, Provenance, AuditEvent; HL7 dicom-sr, TID 4019 (algorithm as Device); IHE AIR Rev 1.3,
Section 6.5.3.1 (Device UID by build).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wetread.records import ModelIdentity
from wetread.report.equipment import Algorithm, algorithm, software
from wetread.report.fhir.coding import DCM, Json, concept, dicom_uid, digest, full_url, term
from wetread.report.fhir.shared import Shared, entry, tagged


def devices(shared: Shared) -> Iterator[Json]:
    """Make an entry of each algorithm and of this software, whose part they are."""
    digests = {algorithm(model).device_uid: model.sha256 for model in shared.context.result.models}
    for one in shared.algorithms:
        identifier = dicom_uid(one.device_uid)
        resource = _device(shared, one, digests.get(one.device_uid, ""))
        yield entry(resource, full_url("Device", one.device_uid), identifier)


def _device(shared: Shared, one: Algorithm, sha256: str) -> Json:
    r5 = shared.site.r5
    name, family = {"type": "model-name"}, concept(one.family)
    made: Json = {
        "resourceType": "Device",
        "identifier": [dicom_uid(one.device_uid), *([digest(sha256)] if sha256 else [])],
        "status": "active",
        "manufacturer": one.manufacturer,
        "modelNumber": one.name,
        "version": [{"value": one.version}],
    }
    if r5:
        made |= {"name": [{"value": one.name, **name}], "type": [family]}
    else:
        made |= {"deviceName": [{"name": one.name, **name}], "type": family}
    return made if one == software() else made | {"parent": shared.device(software())}


def provenance(shared: Shared, targets: Sequence[Json]) -> Json:
    """Make the entry that says which builds and which image everything comes from, by their digests."""
    result = shared.context.result
    agents = [(one, "assembler" if one == software() else "author") for one in shared.algorithms]
    image = {"identifier": digest(result.digest), "display": "Image that was read"}
    made: Json = {
        "resourceType": "Provenance",
        "target": [shared.to("DiagnosticReport", shared.report_uid), *targets],
        "recorded": shared.issued,
        "agent": [
            {"type": term("provenance-participant-type", role), "who": shared.device(one)} for one, role in agents
        ],
        "entity": [
            {"role": "source", "what": shared.study},
            {"role": "source", "what": image},
            *({"role": "source", "what": _build(model)} for model in result.models),
        ],
    }
    return tagged(made, full_url("Provenance", shared.report_uid), shared.report_uid)


def _build(model: ModelIdentity) -> Json:
    run = f"{model.engine} {model.engine_version} on {model.device}; recipe {model.recipe}"
    return {"identifier": digest(model.sha256), "display": f"{model.id} {algorithm(model).version} by {run}"}


def audit(shared: Shared) -> Json:
    """Make the entry that records the reading."""
    made: Json = {"resourceType": "AuditEvent"}
    lifecycle = ("iso-21089-lifecycle", "originate", "Originate/Retain Record Lifecycle Event")
    event = term(*lifecycle)
    outcome = "0" if shared.context.result.refusal is None else "4"
    if shared.site.r5:
        made |= {"code": event, "action": "C", "recorded": shared.issued}
        made |= {"outcome": {"code": term("audit-event-outcome", outcome)["coding"][0]}}
    else:
        made |= {"type": event["coding"][0], "action": "C", "recorded": shared.issued, "outcome": outcome}
    application = {"coding": [{"system": DCM, "code": "110150", "display": "Application"}]}
    made |= {
        "agent": [{"type": application, "who": shared.device(software()), "requestor": False}],
        "source": {"observer": shared.device(software())},
        "entity": [{"what": shared.study}, {"what": shared.to("DiagnosticReport", shared.report_uid)}],
    }
    return tagged(made, full_url("AuditEvent", shared.report_uid), shared.report_uid)
