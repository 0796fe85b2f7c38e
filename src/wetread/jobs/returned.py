"""Results that come back from where de-identified copies went: named again, filed with their study, and sent on."""

from __future__ import annotations

import logging
from collections.abc import Callable

from wetread.errors import BadInput, StoreError
from wetread.jobs.addressing import destination_kinds
from wetread.jobs.parcels import RETURNED
from wetread.jobs.store import Store
from wetread.records import Document
from wetread.settings import Settings
from wetread.wire.command import Status
from wetread.wire.dimse import Received

log = logging.getLogger("wetread.jobs")

#: SR of other software: Basic Text, Enhanced and Comprehensive, beside those that we write.
_SR = tuple(f"1.2.840.10008.5.1.4.1.1.88.{part}" for part in (11, 22, 33))
_PSEUDONYM = "2.25."  # how each UID of a copy begins


class Returned:
    """Takes home the results that others made of copies.

    Parameters
    ----------
    settings
        `destinations` and the state folder are used.
    queued
        Called when something waits to be sent on.
    """

    def __init__(self, store: Store, settings: Settings, queued: Callable[[], None]) -> None:
        away = [one for one in settings.destinations if one.deidentify]
        self._wanted = bool(away)
        self._titles = frozenset(one.ae_title for one in away if one.protocol == "dimse")
        named = {one.names[0] for one in settings.destinations if not one.deidentify}
        self._ways = {name: kinds for name, kinds in destination_kinds(settings).items() if name in named}
        self._named = settings.destinations
        self._path = settings.ledger_path
        self._store = store
        self._queued = queued

    def take(self, received: Received) -> Status | None:
        """Return the status of an object that came back, durable; None of one that did not.

        DATA_SET_MISMATCH of what belongs to no study that was sent there, or to one that is not here;
        SOP_CLASS_NOT_SUPPORTED of what is no result; CANNOT_UNDERSTAND of what does not parse; COERCED if the
        instance is known with other bytes, which stay.

        Raises
        ------
        StoreError
            It is not durable, or the ledger cannot be read now.
        """
        if not self._wanted:
            return None
        ours = received.study_uid.startswith(_PSEUDONYM) and self._made(received.study_uid)
        if not ours and received.calling_ae not in self._titles:
            return None
        status = self._taken(received) if ours else Status.DATA_SET_MISMATCH
        say = log.info if status in (Status.SUCCESS, Status.COERCED) else log.warning
        say("result came back", extra={"calling_ae": received.calling_ae, "status": f"0x{status:04X}"})
        return status

    def _made(self, study_uid: str) -> bool:
        """Whether copies of a study went out under this UID."""
        from wetread.acquire.deidentify import Ledger

        try:
            with Ledger(self._path) as ledger:
                return ledger.original("study", study_uid) is not None
        except BadInput as error:
            raise StoreError(str(error)) from error

    def _taken(self, received: Received) -> Status:
        from wetread.acquire.deidentify import Ledger, reidentify
        from wetread.report.context import KINDS

        kinds = {one.sop_class_uid: kind for kind, one in KINDS.items()} | dict.fromkeys(_SR, "SR")
        kind = kinds.get(received.sop_class_uid)
        if kind is None:
            return Status.SOP_CLASS_NOT_SUPPORTED
        with Ledger(self._path) as ledger:
            study_uid = ledger.original("uid", received.study_uid) or ""
            instance_uid = ledger.original("uid", received.sop_instance_uid) or received.sop_instance_uid
            try:
                data = reidentify(received.data, ledger)
            except BadInput:
                return Status.CANNOT_UNDERSTAND
        document = Document(kind, f"{RETURNED}{kind.lower()}.dcm", data, received.sop_class_uid, instance_uid)
        status = self._store.studies.file_returned(study_uid, document, self._ways, self._named)
        self._queued()
        return status
