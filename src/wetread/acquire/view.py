"""What a viewer wants of an object: its attributes as JSON.

References
----------
PS3.18 Section 10.4.1.1.2 (metadata) and Annex F (DICOM JSON model).
"""

from __future__ import annotations

import json
from typing import Any

from pydicom.dataset import Dataset

from wetread.acquire.instances import max_file_bytes
from wetread.acquire.parse import Parsed, parse
from wetread.acquire.quiet import FOREIGN_ERRORS, quiet
from wetread.settings import Settings

#: A longer value of a binary VR is told by its address.
INLINE_BYTES = 1024
_BINARY = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))


def metadata(data: bytes, url: str, settings: Settings) -> str:
    """Return the attributes of an object, bulk data by address.

    Parameters
    ----------
    data
        A DICOM file.
    url
        Address of the object.
    settings
        `max_pixels` bounds what a deflated file may inflate to.

    Returns
    -------
    str
        JSON of one object; an attribute whose value cannot be read is left out.

    Raises
    ------
    NotRead
        As `wetread.acquire.parse.parse`.
    """
    with quiet():
        parsed = parse(data, max_file_bytes(settings))
        made = {}
        for tag in sorted(parsed.header.keys()):
            try:
                text = json.dumps(_told(parsed.header, tag, url), allow_nan=False)
            except FOREIGN_ERRORS:
                continue
            made[f"{tag:08X}"] = json.loads(text)
    made["00083002"] = {"vr": "UI", "Value": [parsed.syntax]}
    if "00080005" in made:
        made["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}  # of this text, PS3.18 Section F.2
    if parsed.pixel is not None:
        made[_pixel_tag(parsed)] = {"vr": parsed.pixel.vr, "BulkDataURI": f"{url}/bulkdata/{_pixel_tag(parsed)}"}
    return json.dumps(made)


def _pixel_tag(parsed: Parsed) -> str:
    assert parsed.pixel is not None
    return {"FloatPixelData": "7FE00008", "DoubleFloatPixelData": "7FE00009"}.get(parsed.pixel.keyword, "7FE00010")


def _told(header: Dataset, tag: Any, url: str) -> dict[str, Any]:
    one = header[tag]
    if one.VR in _BINARY and one.value is not None and len(one.value) > INLINE_BYTES:
        return {"vr": one.VR, "BulkDataURI": f"{url}/bulkdata/{tag:08X}"}
    told: dict[str, Any] = one.to_json_dict(None, 0)
    return told
