"""What a bundle needs to know of the site beside the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from wetread.settings import Settings


@dataclass(frozen=True, slots=True)
class Site:
    """The settings that change what a bundle says."""

    version: str = "R4"  # "R4", "R4B" or "R5"
    systems: Mapping[str, str] = field(default_factory=dict)  # name of an assigning authority -> system (URI)
    server: str = ""  # base URL of the one server that bundles go to; "": none, or several

    @property
    def r5(self) -> bool:
        """Whether resources have the form of R5; R4B changed none of those that we write."""
        return self.version == "R5"


def site_of(settings: Settings) -> Site:
    """Take the site from the settings."""
    places = {one.url.removeprefix("fhir+").rstrip("/") for one in settings.destinations if one.protocol == "fhir"}
    return Site(settings.fhir or "R4", dict(settings.fhir_systems), places.pop() if len(places) == 1 else "")
