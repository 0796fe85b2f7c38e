"""De-identified copies of results: made when they are sent, so that what the node keeps stays as it is.

Destinations that get no others are written into the ledger: one that is taken out of the settings while something
waits for it gets de-identified copies still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from wetread.errors import BadInput, DocumentError, StoreError
from wetread.settings import Destination, Settings, parse_destination

_KIND = "destination"


def outgoing(destination: Destination, settings: Settings) -> Callable[[bytes], bytes]:
    """Return what makes of a document what leaves for a destination.

    It raises BadInput or DocumentError for what may not leave, ever, and StoreError where the ledger cannot be
    written now.
    """
    if not destination.deidentify:
        return _unchanged

    def copied(data: bytes) -> bytes:
        from wetread import report  # these libraries load with the first copy, not with the ports
        from wetread.acquire.deidentify import Ledger, Profile, deidentify_result

        try:
            ledger = Ledger(settings.ledger_path)
        except BadInput as error:
            raise StoreError(str(error)) from error
        with ledger:
            copy = deidentify_result(data, Profile(frozenset(destination.options)), ledger).data
        if found := report.check(copy):
            said = "; ".join(map(str, found[:5]))
            raise DocumentError(f"de-identified copy: expected none with a problem, got {len(found)}: {said}")
        return copy

    return copied


def _unchanged(data: bytes) -> bytes:
    return data


def remember(destinations: Iterable[Destination], path: Path) -> None:
    """Write those that get de-identified copies into the ledger.

    Raises
    ------
    BadInput, StoreError
        The ledger cannot be opened or written.
    """
    told = {one.names[0]: " ".join(one.options) for one in destinations if one.deidentify}
    if told:
        from wetread.acquire.deidentify import Ledger

        with Ledger(path) as ledger:
            for name, options in told.items():
                ledger.remember(_KIND, name, options)


def left(name: str, path: Path) -> Destination:
    """Return a destination that the settings name no more, by the name under which the outbox knows it.

    Raises
    ------
    BadInput, StoreError
        The ledger cannot be opened or read.
    """
    place = parse_destination(name)
    if not path.exists():
        return place
    from wetread.acquire.deidentify import Ledger

    with Ledger(path) as ledger:
        options = ledger.original(_KIND, name)
    return place if options is None else replace(place, deidentify=tuple(options.split()), documents=())
