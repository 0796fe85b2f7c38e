"""The names of UIDs, as PS3.6 Annex A has them."""

from __future__ import annotations

from pydicom.uid import UID

#: Newer than pydicom's registry.
_NEW = {"1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage"}


def class_name(uid: str) -> str:
    """Return the name of a SOP class, or its UID if it has none."""
    return _NEW.get(uid, UID(uid).name)
