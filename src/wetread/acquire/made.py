"""What was made of images, by people or software: a reading of it was never meant."""

from __future__ import annotations

from pydicom import uid

from wetread.acquire.attributes import text
from wetread.records import Rejected

#: Objects with pixels that say something about an image: PS3.3 Sections A.51, A.75 and A.106.
RESULTS = frozenset(
    {uid.SegmentationStorage, uid.UID("1.2.840.10008.5.1.4.1.1.66.7"), uid.ParametricMapStorage}  # .66.7: label map
)


def is_made(item: Rejected, manufacturer: str) -> bool:
    """Whether something is no image but says something about images: a report, a segmentation, or a result of ours.

    An archive that sends us everything sends our own results back.  A "not read" about a report would be a report.

    Parameters
    ----------
    manufacturer
        Manufacturer (0008,0070) of our own documents.
    """
    if item.refusal.code == "NOT-AN-IMAGE":
        return True
    header = item.header
    return header is not None and (
        text(header, "SOPClassUID") in RESULTS or text(header, "Manufacturer") == manufacturer
    )
