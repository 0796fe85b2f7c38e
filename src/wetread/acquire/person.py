"""Who is on the image; also as a digest, so that a follow-up is known as one, and nobody is named."""

from __future__ import annotations

import hashlib

from pydicom.dataset import Dataset

from wetread.acquire.attributes import text


def patient(header: Dataset) -> tuple[str, ...]:
    """Return who the patient is: Patient ID and its issuer; without an ID "", issuer, name and birth date."""
    identifier = text(header, "PatientID")
    issuer = text(header, "IssuerOfPatientID")
    if identifier:
        return (identifier, issuer)
    name = text(header, "PatientName").rstrip("^ ").casefold()
    return ("", issuer, name, text(header, "PatientBirthDate"))


def person(header: Dataset) -> str:
    """Digest Patient ID and its issuer.

    It is no anonymisation: who knows an identifier finds its digest.

    Returns
    -------
    SHA-256 in hex, "" where the header has no Patient ID.

    References
    ----------
    DICOM PS3.3 Section C.7.1.1 (Patient ID, Issuer of Patient ID).
    """
    identifier = text(header, "PatientID").strip()
    if not identifier:
        return ""
    parts = (identifier, text(header, "IssuerOfPatientID").strip())
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
