"""The DICOM JSON of an object as XML.

References
----------
PS3.19 Section A.1 (Native DICOM Model); PS3.18 Section 8.7.3.2 and Annex F.1.1 (the same model in JSON).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from pydicom.datadict import keyword_for_tag

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 Section 2.2
_PARTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")


def xml(dataset: Mapping[str, Any]) -> bytes:
    """Return a data set of the DICOM JSON model as XML, UTF-8; characters that XML forbids become "?"."""
    root = Element("NativeDicomModel", {"xmlns": NAMESPACE})
    _fill(root, dataset)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _fill(parent: Element, dataset: Mapping[str, Any]) -> None:
    for tag, one in dataset.items():
        about = {"tag": tag, "vr": one["vr"]}
        if keyword := keyword_for_tag(int(tag, 16)):
            about["keyword"] = keyword
        made = SubElement(parent, "DicomAttribute", about)
        if "BulkDataURI" in one:
            SubElement(made, "BulkData", {"uri": one["BulkDataURI"]})
        elif "InlineBinary" in one:
            SubElement(made, "InlineBinary").text = one["InlineBinary"]
        for number, value in enumerate(one.get("Value", ()), 1):
            _value(made, one["vr"], str(number), value)


def _value(made: Element, vr: str, number: str, value: Any) -> None:
    if vr == "SQ":
        _fill(SubElement(made, "Item", {"number": number}), value or {})
    elif vr == "PN":
        person = SubElement(made, "PersonName", {"number": number})
        for group, name in (value or {}).items():
            held = SubElement(person, group)
            for part, text in zip(_PARTS, name.split("^"), strict=False):
                if text:
                    SubElement(held, part).text = _FORBIDDEN.sub("?", text)
    elif value is not None:
        SubElement(made, "Value", {"number": number}).text = _FORBIDDEN.sub("?", str(value))
