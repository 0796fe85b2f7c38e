"""What this process receives just now, told to all who share the store: none of them completes it meanwhile."""

from __future__ import annotations

import logging

from wetread.errors import StoreError
from wetread.jobs.leases import Leases

log = logging.getLogger("wetread.jobs")

_KIND = "receives/"


class Receiving:
    """The studies that associations of one process bring; each is a lease until its association is over.

    Parameters
    ----------
    leases
        Those of a store that others share.
    """

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._brought: dict[int, set[str]] = {}  # association -> names of leases
        self._over: set[str] = set()  # those of associations that are over, which could not be given back yet

    def begins(self, study_uid: str, association: int) -> None:
        """An association is about to bring an object of a study.

        Raises
        ------
        StoreError
            The others cannot be told.
        """
        names = self._brought.setdefault(association, set())
        name = f"{_of(study_uid)}{self._leases.holder}/{association}"
        if name not in names:
            self._leases.acquire(name)
            names.add(name)

    def ended(self, association: int) -> None:
        """An association is over."""
        if names := self._brought.pop(association, set()) | self._over:
            try:
                self._leases.give_back(names, _KIND)
                self._over -= names
            except StoreError as error:  # the others complete its studies when they have been silent for long enough
                self._over |= names  # with those of the next association
                log.warning("leases not released", extra={"reason": str(error)})

    def elsewhere(self, study_uid: str) -> bool:
        """Whether an association of another process brings a study.

        Raises
        ------
        StoreError
            The index cannot be read now.
        """
        return self._leases.others(_of(study_uid))


def _of(study_uid: str) -> str:
    return f"{_KIND}{study_uid}/"
