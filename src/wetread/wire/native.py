"""The DICOM JSON of an object as XML, and back.

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

from wetread.errors import BadInput

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


def parsed(body: bytes) -> dict[str, Any]:
    """Return the DICOM JSON of a data set in XML; `wetread.wire.dicomjson.checked` is to judge what it holds.

    Raises
    ------
    BadInput
        It is no XML in UTF-8, declares a document type (whose entities may grow without end), is another document, or
        has sequences in each other without end.
    """
    try:
        text = body.decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise BadInput("Native DICOM Model: expected no document type declaration, got one")
        root = ElementTree.fromstring(text)  # noqa: S314 - declares no entities
    except (UnicodeDecodeError, ElementTree.ParseError, ValueError) as error:
        raise BadInput("Native DICOM Model: expected XML in UTF-8, got something else") from error
    if _name(root) != "NativeDicomModel":
        raise BadInput("Native DICOM Model: expected the element NativeDicomModel, got another")
    try:
        return _read(root)
    except RecursionError as error:
        raise BadInput("Native DICOM Model: expected few sequences in each other, got many") from error


def _name(element: Element) -> str:
    """The name of an element, with or without the namespace of the model."""
    return element.tag.removeprefix(f"{{{NAMESPACE}}}")


def _read(parent: Element) -> dict[str, Any]:
    return {one.get("tag", ""): _attribute(one) for one in parent if _name(one) == "DicomAttribute"}


def _attribute(element: Element) -> dict[str, Any]:
    vr = element.get("vr", "")
    made: dict[str, Any] = {"vr": vr}
    for one in element:
        name = _name(one)
        if name == "BulkData":
            made["BulkDataURI"] = one.get("uri", "")
        elif name == "InlineBinary":
            made["InlineBinary"] = (one.text or "").strip()
        elif name in ("Value", "PersonName", "Item"):
            made.setdefault("Value", []).append(_read_value(one, vr, name))
    return made


def _read_value(element: Element, vr: str, name: str) -> Any:
    if name == "Item":
        return _read(element)
    if name == "PersonName":
        return {_name(group): _person(group) for group in element}
    text = element.text or ""
    if vr in ("US", "SS", "UL", "SL", "UV", "SV"):
        return int(text) if re.fullmatch(r"\s*[+-]?\d{1,20}\s*", text) else text
    if vr in ("FL", "FD"):
        return float(text) if re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", text) else text
    return text


def _person(group: Element) -> str:
    parts = {_name(one): one.text or "" for one in group}
    return "^".join(parts.get(part, "") for part in _PARTS).rstrip("^")
