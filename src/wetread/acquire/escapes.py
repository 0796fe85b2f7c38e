"""Chinese text by ISO 2022 IR 58, in which pydicom leaves the escape sequences.

References
----------
DICOM PS3.5 Section 6.1.2.5 (code extension), Annex K (Chinese).
"""

from __future__ import annotations

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

#: Invokes ISO-IR 58; Python's codec takes it for text.
ESCAPE = "\x1b$)A"


def decode(dataset: Dataset) -> None:
    """Decode every text of a data set in place, those of its items too."""
    dataset.decode()
    for element in dataset.iterall():
        unescape(element)


def unescape(element: DataElement) -> None:
    """Take the escape sequences out of a text; a value of another kind stays as it is."""
    if element.VR not in CUSTOMIZABLE_CHARSET_VR:
        return
    several = element.value if isinstance(element.value, MultiValue) else [element.value]
    texts = [str(one) for one in several]
    if any(ESCAPE in text for text in texts):
        element.value = "\\".join(texts).replace(ESCAPE, "")
