"""Who gets what: documents by their kinds, and the received objects that go on."""

from __future__ import annotations

from collections.abc import Iterable

from wetread.errors import BadInput, StoreError
from wetread.jobs.lanes import facts_of
from wetread.jobs.parcels import Addressed, Images
from wetread.jobs.store import Store
from wetread.records import Reading, Sender
from wetread.routes import UNROUTED, Decision, decide
from wetread.settings import IMAGE, Destination, Settings
from wetread.wire.glance import LAST, glance


def destination_name(destination: Destination) -> str:
    """Return the name under which the outbox knows a destination."""
    return destination.names[0]


def destination_kinds(settings: Settings, decision: Decision = UNROUTED) -> dict[str, tuple[str, ...]]:
    """Return the name of each destination that gets results, with the kinds of documents that it gets."""
    chosen = (one for one in settings.destinations if decision.goes_to(*one.names))
    return {destination_name(one): decision.documents(*one.names) or one.documents for one in chosen}


def addressed(readings: Iterable[Reading], settings: Settings) -> list[Addressed]:
    """Return every document of some readings with the destinations that the rules name for it."""
    return [
        (document, kinds)
        for reading in readings
        for kinds in (destination_kinds(settings, reading.decision),)
        for document in reading.documents
    ]


def images(store: Store, settings: Settings, job: int) -> Images:
    """Return which of the objects that came for a job go on to whom; the rules are asked for each by itself.

    None goes back to where it came from, by AE title, as it is.

    Raises
    ------
    StoreError
        The index cannot be read now.
    """
    if not settings.forwards:
        return {}
    titles = {destination_name(one): one.ae_title for one in settings.destinations if not one.deidentify}
    ways: dict[str, list[str]] = {}
    for uid, digest, sender in store.studies.arrived(job):
        decision = _decided(store, digest, sender, settings) if settings.routes else UNROUTED
        for name, kinds in destination_kinds(settings, decision).items():
            if IMAGE in kinds and titles.get(name) != (sender.calling_ae or None):
                ways.setdefault(name, []).append(uid)
    return ways


def _decided(store: Store, digest: str, sender: Sender, settings: Settings) -> Decision:
    """What the rules say of an object; of one that is damaged they know who sent it."""
    try:
        data, head = store.spool.beginning(digest, LAST)
        seen = glance(data[head.offset :], head.transfer_syntax)
    except (StoreError, BadInput):
        seen = {}
    return decide(settings.routes, facts_of(seen, sender))
