"""What a person asks for: the options of the profile, and the codes by which an object says so."""

from __future__ import annotations

from dataclasses import dataclass

from wetread.errors import BadInput
from wetread.routes.burned import BurnedIn
from wetread.settings import KEPT

__all__ = ["OPTIONS", "Profile"]

#: Option -> code and meaning, CID 7050 of PS3.16.
OPTIONS = {
    "uids": ("113110", "Retain UIDs Option"),
    "device": ("113109", "Retain Device Identity Option"),
    "institution": ("113112", "Retain Institution Identity Option"),
    "patient": ("113108", "Retain Patient Characteristics Option"),
    "dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "shifted-dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "descriptors": ("113105", "Clean Descriptors Option"),
    "safe-private": ("113111", "Retain Safe Private Option"),
}
#: Of overlays, presentation states, reports and acquisition context nothing is left that a person wrote.
CLEANED = (("113103", "Clean Graphics Option"), ("113104", "Clean Structured Content Option"))
#: Where rules say what is burned into the pixels of which images.
PIXELS = ("113101", "Clean Pixel Data Option")
BASIC = ("113100", "Basic Application Confidentiality Profile")


@dataclass(frozen=True, slots=True)
class Profile:
    """The basic profile of PS3.15 Annex E with options; by default dates are shifted and descriptors cleaned."""

    options: frozenset[str] = frozenset(KEPT)
    pixels_clean: bool = False  # a person declares that no text is burned in where the object does not say so
    burned_in: tuple[BurnedIn, ...] = ()  # what a person says is burned in where

    def __post_init__(self) -> None:
        """Refuse options that are unknown or that contradict each other."""
        unknown = sorted(self.options - OPTIONS.keys())
        if unknown:
            raise BadInput(f"de-identification: expected options among {', '.join(OPTIONS)}, got {unknown[0]!r}")
        if {"dates", "shifted-dates"} <= self.options:
            raise BadInput("de-identification: expected dates or shifted-dates, got both")

    @property
    def times(self) -> str:
        """The value of Longitudinal Temporal Information Modified (0028,0303)."""
        return "UNMODIFIED" if "dates" in self.options else "MODIFIED" if "shifted-dates" in self.options else "REMOVED"

    @property
    def codes(self) -> list[tuple[str, str]]:
        """What was applied, for De-identification Method Code Sequence (0012,0064).

        It belongs to the patient, so it is the same in every object of a study (PS3.3 Table C.7-1).
        """
        pixels = [PIXELS] if any(rule.rectangles for rule in self.burned_in) else []
        return [BASIC, *pixels, *CLEANED, *(OPTIONS[name] for name in OPTIONS if name in self.options)]
