"""The transfer syntaxes that are decoded, and by what: the one table of it.

`docs/reference` and ``wetread doctor`` read this table.  A syntax has exactly one
decoder, never a second to fall back on: two decoders may round differently, and a
tolerant one would make an image out of what a strict one refused.  The lower levels of large
JPEG 2000 films are another image, and pillow decodes those: `wetread.acquire.reduced`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import uid

NATIVE = "numpy"


@dataclass(frozen=True, slots=True)
class Syntax:
    """One transfer syntax.

    Parameters
    ----------
    name
        Its name in PS3.6 Annex A, shortened.
    decoder
        The pydicom decoding plug-in, or `NATIVE` for pixels that are not encapsulated.
    package
        The distribution that brings the decoder.
    lossless
        Whether the syntax can only hold what was acquired.
    family
        The kind of codestream inside: "" (native), "RLE", "JPEG", "JPEG-LS", "J2K".
    """

    name: str
    decoder: str
    package: str
    lossless: bool
    family: str = ""


#: Transfer Syntax UID -> how it is decoded (PS3.5 Annex A).
SYNTAXES: dict[str, Syntax] = {
    uid.ImplicitVRLittleEndian: Syntax("Implicit VR Little Endian", NATIVE, "numpy", True),
    uid.ExplicitVRLittleEndian: Syntax("Explicit VR Little Endian", NATIVE, "numpy", True),
    uid.DeflatedExplicitVRLittleEndian: Syntax("Deflated Explicit VR Little Endian", NATIVE, "numpy", True),
    uid.ExplicitVRBigEndian: Syntax("Explicit VR Big Endian (retired)", NATIVE, "numpy", True),
    uid.RLELossless: Syntax("RLE Lossless", "pylibjpeg", "pylibjpeg-rle", True, "RLE"),
    uid.JPEGBaseline8Bit: Syntax("JPEG Baseline (Process 1)", "pillow", "pillow", False, "JPEG"),
    uid.JPEGExtended12Bit: Syntax("JPEG Extended (Process 2 and 4)", "pylibjpeg", "pylibjpeg-libjpeg", False, "JPEG"),
    uid.JPEGLossless: Syntax("JPEG Lossless (Process 14)", "pylibjpeg", "pylibjpeg-libjpeg", True, "JPEG"),
    uid.JPEGLosslessSV1: Syntax(
        "JPEG Lossless (Process 14, Selection Value 1)", "pylibjpeg", "pylibjpeg-libjpeg", True, "JPEG"
    ),
    uid.JPEGLSLossless: Syntax("JPEG-LS Lossless", "pyjpegls", "pyjpegls", True, "JPEG-LS"),
    uid.JPEGLSNearLossless: Syntax("JPEG-LS Near-Lossless", "pyjpegls", "pyjpegls", False, "JPEG-LS"),
    uid.JPEG2000Lossless: Syntax("JPEG 2000 (Lossless Only)", "pylibjpeg", "pylibjpeg-openjpeg", True, "J2K"),
    uid.JPEG2000: Syntax("JPEG 2000", "pylibjpeg", "pylibjpeg-openjpeg", False, "J2K"),
    uid.HTJ2KLossless: Syntax("HTJ2K (Lossless Only)", "pylibjpeg", "pylibjpeg-openjpeg", True, "J2K"),
    uid.HTJ2KLosslessRPCL: Syntax("HTJ2K with RPCL (Lossless Only)", "pylibjpeg", "pylibjpeg-openjpeg", True, "J2K"),
    uid.HTJ2K: Syntax("HTJ2K", "pylibjpeg", "pylibjpeg-openjpeg", False, "J2K"),
}
