"""The tables of the statement, each from what the code itself goes by.

References
----------
PS3.2 Annex N; PS3.7 Annex D.3.3 (what is negotiated), PS3.8 Tables 9-21 and 9-26 (rejections and aborts).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID
from starlette.routing import Route, WebSocketRoute

from wetread.acquire.deidentify import OPTIONS
from wetread.acquire.deidentify.private import safe_elements
from wetread.acquire.deidentify.profile import BASIC, CLEANED, PIXELS
from wetread.acquire.syntaxes import SYNTAXES
from wetread.errors import BLOCKED
from wetread.report.characters import TERMS
from wetread.report.context import KINDS
from wetread.serve import dicomweb
from wetread.serve.channels import Channels
from wetread.serve.conformance.names import class_name
from wetread.settings import Settings
from wetread.uids import IMPLEMENTATION_CLASS_UID
from wetread.wire import commitment, query, retrieve, worklist
from wetread.wire.access import ANSWERS, RESERVE
from wetread.wire.associate import (
    APPLICATION_CONTEXT,
    MAX_CONTEXTS,
    STORAGE_COMMITMENT,
    VERIFICATION,
    is_kept,
    is_read,
    is_storage,
    right_of,
)
from wetread.wire.part10 import EXPLICIT_LITTLE, IMPLEMENTATION_VERSION, IMPLICIT_LITTLE
from wetread.wire.queryable import ATTRIBUTES, Level
from wetread.wire.requestor import OUR_MAX_PDU
from wetread.wire.tls import SUITES
from wetread.wire.transport import AbortReason
from wetread.wire.ups import MEANINGS, TRANSITIONS, Action, StepState, StepStatus, http_status
from wetread.wire.workitem import RULES

_EITHER = (EXPLICIT_LITTLE, IMPLICIT_LITTLE)
#: What we ask others for: SOP class -> by what, and the transfer syntaxes that we propose.
SCU: dict[str, tuple[str, Sequence[str]]] = {
    VERIFICATION: ("`wetread echo`", (IMPLICIT_LITTLE,)),
    query.STUDY_ROOT_FIND: ("`archives`, `wetread pull`", _EITHER),
    retrieve.STUDY_ROOT_MOVE: ("`wetread pull`", _EITHER),
    retrieve.STUDY_ROOT_GET: ("`wetread pull --to`", _EITHER),
    worklist.WORKLIST_FIND: ("`worklists`, `wetread worklist`", _EITHER),
    STORAGE_COMMITMENT: ("destinations with `commitment`", (IMPLICIT_LITTLE,)),
}
#: PS3.2 puts what is neither transfer nor query under workflow management.
_CATEGORIES = dict.fromkeys(
    (query.STUDY_ROOT_FIND, retrieve.STUDY_ROOT_MOVE, retrieve.STUDY_ROOT_GET), "Query/Retrieve"
)
_CATEGORIES[VERIFICATION] = "Verification"
#: Which right of a line of `peers` lets it use us.
_RIGHTS = {STORAGE_COMMITMENT: "`commit` (as SCU of ours), `notify` (its reports to us)"}
#: Storage classes by name: those that acquire what can be read, and those of other software's results.
_STORAGE = (
    *("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "13.1.1", "13.1.2", "13.1.3", "13.1.4", "13.1.5"),
    *("2", "2.1", "2.2", "4", "4.1", "4.2", "4.3", "4.4", "3.1", "6.1", "6.2", "12.1", "12.1.1", "12.2", "12.2.1"),
    *("20", "128", "128.1", "130", "7", "7.1", "7.2", "7.3", "7.4", "30", "66", "66.1", "66.2", "66.3", "66.4"),
    *("66.5", "66.7", "67", "11.1", "11.2", "11.3", "11.4", "88.11", "88.22", "88.33", "88.34", "88.50", "88.59"),
    *("88.65", "88.67", "88.68", "104.1", "481.1", "481.2", "481.3", "481.5"),
)
#: Settings that a peer's administrator asks for.
_NETWORK = (
    *("ae_title", "host", "port", "peers", "open_doors", "destinations", "archives", "worklists", "max_associations"),
    *("managers", "workitem_codes"),
    *("max_pdu_bytes", "max_object_bytes", "peer_timeout_s", "idle_timeout_s", "quiet_s", "expect_s"),
    *("tls_certificate", "tls_key", "tls_authority", "http_host", "http_port", "dicomweb_tokens"),
    *("dicomweb_origins", "retry_first_s", "retry_most_s", "max_rejections", "institution"),
)


def table(head: str, rows: Iterable[Sequence[object]]) -> str:
    """Return a table of Markdown; `head` names its columns, parted by a bar."""
    columns = head.split("|")
    lines = [f"| {head.replace('|', ' | ')} |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def provided() -> dict[str, str]:
    """Return the SOP classes that we provide, but for storage, each with the right that a peer needs."""
    found = {uid: right_of(uid) for uid, row in UID_dictionary.items() if row[1] == "SOP Class"}
    return {uid: _RIGHTS.get(uid, f"`{right}`") for uid, right in found.items() if right not in ("", "store")}


def services() -> str:
    """Return the overview of the services over associations."""
    ours = provided()
    rows = [("Transfer", "Every storage class, [by name](#storage-classes)", "", "results; `wetread send`", "`store`")]
    for uid in dict.fromkeys((*ours, *SCU)):
        category = _CATEGORIES.get(uid, "Workflow Management")
        rows.append((category, class_name(uid), f"`{uid}`", SCU.get(uid, ("no",))[0], ours.get(uid, "no")))
    return table("category|SOP class|UID|as SCU, by|as SCP, for peers with the right", sorted(rows))


def storage() -> str:
    """Return the storage classes."""
    made = {kind.sop_class_uid: name for name, kind in KINDS.items()}
    uids = [f"1.2.840.10008.5.1.4.1.1.{arc}" for arc in _STORAGE]
    rows = ((class_name(uid), f"`{uid}`", made.get(uid, ""), "yes" if is_storage(uid) else "no") for uid in uids)
    return table("SOP class|UID|sent as result|as SCP", rows)


def kinds() -> str:
    """Return the kinds of objects that we create."""
    rows = (
        (name, class_name(kind.sop_class_uid), f"`{kind.sop_class_uid}`", kind.modality or "of the image")
        for name, kind in KINDS.items()
    )
    return table("kind|SOP class|UID|modality", rows)


def association(settings: Settings) -> str:
    """Return the policies of associations."""
    most = settings.max_associations
    return table(
        "item|value",
        [
            ("AE title", f"`{settings.ae_title}` (setting `ae_title`)"),
            ("application context", f"`{APPLICATION_CONTEXT}`"),
            ("implementation class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
            ("implementation version name", f"`{IMPLEMENTATION_VERSION}`"),
            ("largest PDU that we take as acceptor", f"{settings.max_pdu_bytes} bytes (setting `max_pdu_bytes`)"),
            ("largest PDU that we take as requestor", f"{OUR_MAX_PDU} bytes"),
            ("presentation contexts of one association", f"{MAX_CONTEXTS}"),
            (
                "associations at a time as acceptor",
                f"{most} (setting `max_associations`), and {RESERVE} more for each line of `peers`",
            ),
            ("associations at a time as requestor", "one for each destination, archive or worklist and task"),
            ("ARTIM timer, wait for an answer", f"{settings.peer_timeout_s:g} s (setting `peer_timeout_s`)"),
            ("silence after which an association is closed", f"{settings.idle_timeout_s:g} s (`idle_timeout_s`)"),
        ],
    )


def rejections() -> str:
    """Return the reasons of an A-ASSOCIATE-RJ."""
    rows = ((str(why), *(int(code) >> shift & 0xFF for shift in (16, 8, 0))) for why, code in ANSWERS.items())
    return table("because of|result|source|reason", rows)


def aborts() -> str:
    """Return the reasons of an A-ABORT."""
    return table("reason|code", ((one.name.lower().replace("_", " "), one.value) for one in AbortReason))


def proposed() -> str:
    """Return the presentation contexts that we propose."""
    rows = [(class_name(uid), f"`{uid}`", _names(transfers), by) for uid, (by, transfers) in SCU.items()]
    return table("abstract syntax|UID|transfer syntaxes|for", rows)


def _names(transfers: Iterable[str]) -> str:
    return ", ".join(UID(transfer).name for transfer in transfers)


def accepted() -> str:
    """Return the presentation contexts that we accept."""
    rows = [("every storage class", "all below, and every other that carries its own pixels")]
    both = [one for one in SYNTAXES if is_read(one)]
    rows += [(f"{class_name(uid)} `{uid}`", _taken(uid, both)) for uid in provided()]
    return table("abstract syntax|transfer syntaxes", rows)


def _taken(uid: str, both: Sequence[str]) -> str:
    return _names(both) if right_of(uid) == "notify" else "as for storage"


def syntaxes() -> str:
    """Return the transfer syntaxes that are decoded."""
    rows = ((one.name, f"`{uid}`", one.decoder, "yes" if is_kept(uid) else "no") for uid, one in SYNTAXES.items())
    return table("name|UID|decoder|kept as it came", rows)


def resources() -> str:
    """Return every address below the service's, as the server has it."""
    return table("resource|methods", _routes())


def _routes() -> Iterator[tuple[str, str]]:
    found: dict[str, set[str]] = {}
    nothing = cast(Any, None)
    for route in dicomweb.application(nothing, nothing, nothing, Settings(), Channels(nothing, shared=False)).routes:
        assert isinstance(route, Route | WebSocketRoute)
        methods = route.methods if isinstance(route, Route) else {"WebSocket"}
        found.setdefault(route.path, set()).update(set(methods or ()) - {"HEAD"})
    for path, methods in found.items():
        yield f"`{path}`", ", ".join(sorted(methods))


def keys() -> str:
    """Return the attributes by which what is held is found."""
    rows = (
        (
            level.name.lower(),
            ", ".join(
                f"{one.keyword} ({one.tag >> 16:04X},{one.tag & 0xFFFF:04X})"
                for one in ATTRIBUTES.values()
                if one.level == level
            ),
        )
        for level in Level
    )
    return table("level|matching keys, all returned", rows)


def reasons() -> str:
    """Return the failure reasons of our reports of commitments."""
    return ", ".join(f"0x{one.value:04X}" for one in commitment.Failure)


def step_states() -> str:
    """Return what a work item answers in each state: PS3.4 Table CC.1.1-2, as the server goes by it."""
    heads = "|".join(("asked", "with its Transaction UID", "none here", *StepState))
    rows = (
        (action.value, "yes" if correct else "no", *(_cell(action, status) for status in row))
        for (action, correct), row in TRANSITIONS.items()
    )
    return table(heads, rows)


def _cell(action: Action, status: StepStatus) -> str:
    shown = "done" if status is StepStatus.SUCCESS else f"{status:04X}"
    return f"{shown}, {http_status(action, status)}"


def step_statuses() -> str:
    """Return what the statuses of work items mean."""
    return table("status|meaning", ((f"{status:04X}", meaning) for status, meaning in MEANINGS.items()))


def step_attributes() -> str:
    """Return what a work item must hold when."""
    rows = ((rule.keyword, rule.create, rule.change, rule.final) for rule in RULES)
    return table("attribute|created|changed|ended", rows)


def settings_of_the_network() -> str:
    """Return the settings that matter to a peer."""
    known = {field.name: field for field in fields(Settings)}
    rows = (
        (f"`{name}`", f"`{_shown(known[name].default)}`", known[name].metadata["unit"], known[name].metadata["help"])
        for name in _NETWORK
    )
    return table("setting|default|unit|meaning", rows)


def _shown(default: object) -> object:
    """Return a default as it is written in a file: an empty path is none, as "." it would name this folder."""
    return "" if default == Path() else default


def suites() -> str:
    """Return the cipher suites of TLS 1.2."""
    return ", ".join(f"`{suite}`" for suite in SUITES)


def deidentification() -> str:
    """Return the profile and its options."""
    rows = [("always", *coded) for coded in (BASIC, *CLEANED)]
    rows += [(f"`{name}`", *coded) for name, coded in OPTIONS.items()]
    rows += [("`burned_in` with rectangles", *PIXELS)]
    return table("by|code (DCM)|meaning", rows)


def safe_private() -> str:
    """Return the private elements that the Retain Safe Private Option keeps."""
    rows = [
        (f"({one.group:04X},xx{one.element:02X})", one.creator, one.vr, one.meaning) for one in safe_elements().values()
    ]
    return table("element|private creator|VR|meaning", rows)


def blocked() -> str:
    """Return why an object may not leave de-identified."""
    return table("code|why", [(f"`{code}`", told) for code, told in BLOCKED.items()])


def character_sets() -> str:
    """Return the defined terms of Specific Character Set that are read and repeated."""
    return ", ".join(f"`{term}`" for term in TERMS)
