"""De-identified copies of results and images: made when they are sent, so that what the node keeps stays as it is.

Destinations that get no others are written into the ledger: one that is taken out of the settings while something
waits for it gets de-identified copies still.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wetread.errors import BadInput, DecoderDied, DocumentError, StoreError
from wetread.jobs.parcels import Parcel
from wetread.settings import IMAGE, Destination, Settings, parse_destination
from wetread.wire.part10 import identify, meta

if TYPE_CHECKING:
    from wetread.acquire.deidentify import Answers, Asked, Ledger, Profile
    from wetread.contain.copier import Copier

_KIND = "destination"


class Copies:
    """Makes of what waits for a destination what leaves, images in a child of its own.

    These libraries load with the first copy, not with the ports.

    Parameters
    ----------
    settings
        The state folder, `burned_in`, `decoder_*` and what bounds an image are used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._copier: Copier | None = None
        self._closed = False

    def close(self) -> None:
        """End the child; what it had in hand is no fault of the image."""
        self._closed = True
        if self._copier is not None:
            self._copier.close()

    def made(self, destination: Destination, parcel: Parcel, data: bytes) -> bytes:
        """Return what leaves for a destination.

        Raises
        ------
        BadInput, DocumentError
            It may not leave, ever; `Blocked` says why by a code.
        DecoderDied
            The child ended over it.
        StoreError
            The ledger cannot be written now, the child does not start, or the node ends.
        """
        if not destination.deidentify:
            return data
        from wetread.acquire.deidentify import Profile

        profile = Profile(frozenset(destination.options), burned_in=self._settings.burned_in)
        return self._image(data, profile) if parcel.kind == IMAGE else self._result(data, profile)

    def _result(self, data: bytes, profile: Profile) -> bytes:
        from wetread import report
        from wetread.acquire.deidentify import deidentify_result

        with self._ledger() as ledger:
            copy = deidentify_result(data, profile, ledger).data
        if found := report.check(copy):
            said = "; ".join(map(str, found[:5]))
            raise DocumentError(f"de-identified copy: expected none with a problem, got {len(found)}: {said}")
        return copy

    def _image(self, data: bytes, profile: Profile) -> bytes:
        if self._copier is None:
            from wetread.contain.copier import Copier

            self._copier = Copier(self._settings)
        try:
            asked = self._copier.asked(data, profile)
            with self._ledger() as ledger:
                answers = _answers(asked, ledger)
                expected = _expected(data, asked, ledger)
            copy = self._copier.answered(data, profile, answers)
        except DecoderDied as death:
            if death.why == "START" or self._closed:
                raise StoreError(str(death)) from death
            raise
        if _uids(copy) != expected:
            raise DecoderDied("LIE")
        return copy

    @contextmanager
    def _ledger(self) -> Iterator[Ledger]:
        """Open the ledger; what was written to it is durable at the end."""
        from wetread.acquire.deidentify import Ledger

        try:
            ledger = Ledger(self._settings.ledger_path)
        except BadInput as error:
            raise StoreError(str(error)) from error
        with ledger:
            yield ledger


def _answers(asked: Asked, ledger: Ledger) -> Answers:
    """Ask the ledger, and keep the way back."""
    from wetread.acquire.deidentify import Answers, note_identity

    uids = {old: ledger.uid(old) for old in asked.uids}
    patients = {old: ledger.pseudonym("patient", old) for old in asked.patients}
    days = ledger.shift_days(asked.patient)
    note_identity(asked.study_uid, asked.identity, ledger)  # last: earlier studies say who had an identifier first
    return Answers(uids, patients, days)


def _expected(data: bytes, asked: Asked, ledger: Ledger) -> tuple[str, str, str]:
    """SOP Class, SOP Instance and Study Instance UID of a copy, by what stands in the image, whatever a child says.

    Raises
    ------
    DecoderDied
        It spoke of another study.
    """
    sop_class_uid, sop_instance_uid, study_uid = _uids(data)
    if study_uid != asked.study_uid:
        raise DecoderDied("LIE")
    return sop_class_uid, ledger.uid(sop_instance_uid), ledger.uid(study_uid)


def _uids(data: bytes) -> tuple[str, str, str]:
    head = meta(data)
    known = identify(memoryview(data)[head.offset :], head.transfer_syntax)
    return known.sop_class_uid, known.sop_instance_uid, known.study_uid


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


def left(name: str, path: Path, named: Iterable[Destination] = ()) -> Destination:
    """Return a destination that the settings name no more, by the name under which the outbox knows it.

    Parameters
    ----------
    named
        Those of the settings: one at the same address, such as this one under a new name, tells TLS, token and keys.

    Raises
    ------
    BadInput, StoreError
        The ledger cannot be opened or read.
    """
    place = parse_destination(name)
    where = place.host, place.port, place.url
    same = (replace(one, ae_title=place.ae_title) for one in named if (one.host, one.port, one.url) == where)
    place = next(same, place)
    if not path.exists():
        return place
    from wetread.acquire.deidentify import Ledger

    with Ledger(path) as ledger:
        options = ledger.original(_KIND, name)
    if options is None:
        return place
    return replace(place, deidentify=tuple(options.split()), documents=(), commitment=False)
