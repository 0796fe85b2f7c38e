"""De-identification by PS3.15 Annex E for every copy that leaves, and the way back for its results."""

from wetread.acquire.deidentify.apply import Asked, Deidentified, answered, asked, deidentify, deidentify_result
from wetread.acquire.deidentify.back import note_identity, reidentify
from wetread.acquire.deidentify.ledger import Ledger
from wetread.acquire.deidentify.names import Answers
from wetread.acquire.deidentify.profile import OPTIONS, Profile

__all__ = [
    "OPTIONS",
    "Answers",
    "Asked",
    "Deidentified",
    "Ledger",
    "Profile",
    "answered",
    "asked",
    "deidentify",
    "deidentify_result",
    "note_identity",
    "reidentify",
]
