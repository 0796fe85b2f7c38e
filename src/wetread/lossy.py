"""Whether an image lost something when it was compressed, told from what it declares and how it is encoded.

References
----------
PS3.3 Section C.7.6.1.1.5 (Lossy Image Compression); PS3.5 Section 8.2.1 (JPEG).
"""

from __future__ import annotations

__all__ = ["METHODS", "was_lossy"]

#: Transfer Syntax UID that may lose -> Lossy Image Compression Method (0028,2114): PS3.3 C.7.6.1.1.5.1.
METHODS = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
    "1.2.840.10008.1.2.4.203": "ISO_15444_15",
}
#: Those of them that always lose: JPEG Baseline and Extended.
_ALWAYS = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})


def was_lossy(declared: str, syntax: str) -> bool:
    """Whether an image lost something by what it declares, or by its encoding where that must or it does not say no.

    Parameters
    ----------
    declared
        Lossy Image Compression (0028,2110): "01", "00", or "" where it is not told.
    syntax
        Transfer Syntax UID that it is, or came, encoded in.
    """
    return declared == "01" or syntax in _ALWAYS or (declared != "00" and syntax in METHODS)
