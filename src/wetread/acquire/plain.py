"""An object in Explicit VR Little Endian, its pixels decoded: for whoever reads nothing else.

References
----------
PS3.3 Section C.7.6.1.1.5 (what was lost stays lost); PS3.5 Section A.2 (Explicit VR Little Endian); PS3.18
Section 8.7.3.5 (the transfer syntax that a client asks for).
"""

from __future__ import annotations

from io import BytesIO

from pydicom import Dataset, dcmread, dcmwrite, uid

from wetread.acquire.attributes import whole
from wetread.acquire.instances import max_file_bytes
from wetread.acquire.parse import parse
from wetread.acquire.quiet import FOREIGN_ERRORS, quiet
from wetread.errors import NotRead
from wetread.lossy import METHODS, was_lossy
from wetread.settings import Settings


def explicit(data: bytes, settings: Settings) -> bytes:
    """Return a DICOM file in Explicit VR Little Endian; the object stays the same one, so do its UIDs.

    What only its encoding told, that it was compressed with loss, is then told by its attributes.

    Parameters
    ----------
    data
        A DICOM file, little endian.
    settings
        `max_pixels` bounds what it may grow to.

    Raises
    ------
    NotRead
        BAD-PIXELS: they cannot be decoded; TOO-LARGE; and what `wetread.acquire.parse.parse` raises.
    """
    with quiet():
        header = parse(data, max_file_bytes(settings)).header
        values = whole(header, "Rows", default=0) * whole(header, "Columns", default=0)
        values *= whole(header, "SamplesPerPixel", default=1) * max(1, whole(header, "NumberOfFrames", default=1))
        if values * whole(header, "BitsAllocated", default=1) > 8 * max_file_bytes(settings):
            raise NotRead("TOO-LARGE", f"Its {values} values are more than may be decoded.")
        try:
            made, file = dcmread(BytesIO(data), force=True), BytesIO()
            if made.file_meta.TransferSyntaxUID.is_compressed and "PixelData" in made:
                syntax, size = str(made.file_meta.TransferSyntaxUID), len(made.PixelData)
                made.decompress(generate_instance_uid=False, correct_unused_bits=False)  # High Bit says which they are
                _tell_loss(made, syntax, size)
            made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
            dcmwrite(file, made, implicit_vr=False, little_endian=True, enforce_file_format=True)
        except FOREIGN_ERRORS as error:
            raise NotRead("BAD-PIXELS", f"It cannot be decoded ({type(error).__name__}).") from error
        return file.getvalue()


def _tell_loss(made: Dataset, syntax: str, size: int) -> None:
    """Say of decoded pixels what was lost; `size` is that of their compressed bytes."""
    if not was_lossy(str(made.get("LossyImageCompression", "")), syntax):
        return
    made.LossyImageCompression = "01"
    if syntax in METHODS and "LossyImageCompressionMethod" not in made:
        if "LossyImageCompressionRatio" not in made:
            made.LossyImageCompressionRatio = f"{len(made.PixelData) / size:.4g}"
        made.LossyImageCompressionMethod = METHODS[syntax]
