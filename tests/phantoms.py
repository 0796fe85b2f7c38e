"""Phantoms with known answers that all tests share: small films, made on the spot.

`make_film` gives a pydicom data set, `to_bytes` a file of it, in any transfer syntax
that can be written here.  Nothing is random: the same call gives the same bytes.
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.pixels.utils import compress

ROOT = "1.2.826.0.1.3680043.10.1234"
STUDY, SERIES, INSTANCE = f"{ROOT}.1", f"{ROOT}.1.1", f"{ROOT}.1.1.1"
CR_CLASS = uid.ComputedRadiographyImageStorage
DX_CLASS = uid.DigitalXRayImageStorageForPresentation
CLASSES = {"CR": CR_CLASS, "DX": DX_CLASS, "CT": uid.CTImageStorage, "MR": uid.MRImageStorage}
#: What no detail, log line or document of a refusal may hold.
SECRETS = ("Canary^Patient", "CANARY-ID-77", "19310407", "CANARY-ACC-5", "Canary^Referrer")

Array = npt.NDArray[Any]


def chest(rows: int = 96, columns: int = 80, low: int = 0, high: int = 4095) -> Array:
    """Return (y, x) int64 of a body with two dark lungs; white, `high`, is dense."""
    y, x = np.mgrid[0:rows, 0:columns]
    v, u = (y + 0.5) / rows, (x + 0.5) / columns
    body = 0.75 - 0.5 * (2 * u - 1) ** 2 + 0.1 * v
    for centre in (0.30, 0.70):
        lung = ((u - centre) / 0.15) ** 2 + ((v - 0.5) / 0.32) ** 2
        body = np.where(lung < 1, body * 0.35, body)
    texture = ((y * 31 + x * 17 + y * x) % 23) / 400
    return np.asarray(low + np.clip(body + texture, 0, 1) * (high - low)).astype(np.int64)


def stored_range(bits_stored: int, signed: bool) -> tuple[int, int]:
    """Return the smallest and largest value of the stored bits."""
    return (-(1 << bits_stored - 1), (1 << bits_stored - 1) - 1) if signed else (0, (1 << bits_stored) - 1)


def pack(stored: Array, bits_allocated: int, bits_stored: int, high_bit: int, junk: int = 0) -> bytes:
    """Lay stored values into little-endian words; `junk` fills the unused bits."""
    mask = (1 << bits_stored) - 1
    shift = high_bit + 1 - bits_stored
    words = (stored.astype(np.int64) & mask) << shift
    words |= junk & ~(mask << shift) & ((1 << bits_allocated) - 1)
    return words.astype(f"<u{bits_allocated // 8}").tobytes()


def make_film(
    stored: Array | None = None,
    *,
    bits: tuple[int, int, int] = (16, 12, 11),
    signed: bool = False,
    photometric: str = "MONOCHROME2",
    modality: str = "CR",
    syntax: str = uid.ExplicitVRLittleEndian,
    junk: int = 0,
    **attributes: Any,
) -> Dataset:
    """Make a small film.

    Parameters
    ----------
    stored
        (y, x) or (z, y, x) stored values, within the stored bits; `chest` by default.
    bits
        Bits allocated, bits stored, high bit.
    signed
        Pixel Representation.
    photometric
        Photometric Interpretation.
    modality
        Modality; it chooses the SOP class too.
    syntax
        Transfer Syntax UID that `to_bytes` writes.
    junk
        What stands in the unused bits of each word.
    attributes
        Further attributes by keyword; None removes one.

    Returns
    -------
    Dataset
        With native little-endian Pixel Data, not yet compressed.
    """
    allocated, bits_stored, high_bit = bits
    if stored is None:
        stored = chest(96, 80, *stored_range(bits_stored, signed))
    film = Dataset()
    film.SpecificCharacterSet = "ISO_IR 192"
    film.ImageType = ["ORIGINAL", "PRIMARY"]
    film.SOPClassUID, film.SOPInstanceUID = CLASSES.get(modality, CR_CLASS), INSTANCE
    film.StudyInstanceUID, film.SeriesInstanceUID = STUDY, SERIES
    film.Modality, film.BodyPartExamined, film.ViewPosition = modality, "CHEST", "PA"
    film.StudyDate, film.StudyTime, film.StudyID = "20240131", "120000", "1"
    film.PatientName, film.PatientID, film.PatientBirthDate, film.AccessionNumber = SECRETS[:4]
    film.ReferringPhysicianName, film.PatientSex, film.Manufacturer = SECRETS[4], "O", "Phantom"
    film.SeriesNumber, film.InstanceNumber = 1, 1
    film.PatientOrientation = ["L", "F"]
    film.PixelSpacing = [0.2, 0.2]
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, photometric
    film.Rows, film.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        film.NumberOfFrames = stored.shape[0]
    film.BitsAllocated, film.BitsStored, film.HighBit = bits
    film.PixelRepresentation = int(signed)
    film.add_new(0x7FE00010, "OW", _even(pack(stored, allocated, bits_stored, high_bit, junk)))
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = uid.UID(syntax)
    for keyword, value in attributes.items():
        if value is not None:
            setattr(film, keyword, value)
        elif keyword in film:
            delattr(film, keyword)
    return film


def to_bytes(film: Dataset) -> bytes:
    """Write a film as a DICOM file in the syntax of its `file_meta`; the film stays as it is."""
    syntax = film.file_meta.TransferSyntaxUID
    copy = Dataset()
    copy.update({element.tag: element for element in film})
    copy.file_meta = FileMetaDataset()
    copy.file_meta.FileMetaInformationGroupLength = 0  # pydicom puts the right one in
    copy.file_meta.FileMetaInformationVersion = b"\0\1"
    copy.file_meta.TransferSyntaxUID = syntax
    if "SOPClassUID" in copy and "SOPInstanceUID" in copy:
        copy.file_meta.MediaStorageSOPClassUID = copy.SOPClassUID
        copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    if "PixelData" in copy and syntax.is_compressed and syntax != uid.DeflatedExplicitVRLittleEndian:
        _compress(copy, syntax)
    elif syntax == uid.ExplicitVRBigEndian and "PixelData" in copy:
        _swap(copy)
    elif syntax == uid.DeflatedExplicitVRLittleEndian:
        return deflated(film)
    stream = BytesIO()
    dcmwrite(
        stream,
        copy,
        implicit_vr=syntax == uid.ImplicitVRLittleEndian,
        little_endian=syntax != uid.ExplicitVRBigEndian,
        force_encoding=True,
        enforce_file_format=False,
    )
    return _with_preamble(stream.getvalue())


def deflated(film: Dataset, level: int = 6) -> bytes:
    """Write a film in Deflated Explicit VR Little Endian."""
    plain = make_copy(film, uid.ExplicitVRLittleEndian)
    whole = rename_syntax(to_bytes(plain), uid.DeflatedExplicitVRLittleEndian)
    start = data_set_start(whole)
    machine = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return whole[:start] + machine.compress(whole[start:]) + machine.flush()


def make_copy(film: Dataset, syntax: str) -> Dataset:
    """Return the same film that `to_bytes` will write in another syntax."""
    copy = Dataset()
    copy.update({item.tag: item for item in film})
    copy.file_meta = FileMetaDataset()
    copy.file_meta.TransferSyntaxUID = uid.UID(syntax)
    return copy


def data_set_start(data: bytes) -> int:
    """Where the data set starts behind the File Meta Information (PS3.10 Section 7.1)."""
    return 144 + int.from_bytes(data[140:144], "little")


def element(group: int, number: int, vr: str, value: bytes) -> bytes:
    """Encode one explicit VR little-endian element as it is, right or wrong."""
    head = group.to_bytes(2, "little") + number.to_bytes(2, "little") + vr.encode()
    if vr in ("OB", "OW", "UN", "SQ", "UT"):
        return head + b"\0\0" + len(value).to_bytes(4, "little") + value
    return head + len(value).to_bytes(2, "little") + value


def encapsulated(film: Dataset, syntax: str, frames: list[bytes]) -> bytes:
    """Write a film around frames that were encoded elsewhere, well or badly."""
    from pydicom.encaps import encapsulate

    copy = make_copy(film, uid.ExplicitVRLittleEndian)
    del copy.PixelData
    head = to_bytes(copy)
    head = rename_syntax(head, syntax)
    value = encapsulate(frames, has_bot=False)
    pixel = bytes.fromhex("e07f1000") + b"OB\0\0\xff\xff\xff\xff" + value + bytes.fromhex("feffdde000000000")
    return head + pixel


def rename_syntax(data: bytes, syntax: str) -> bytes:
    """Exchange the Transfer Syntax UID of a file, and mend the group length."""
    new = syntax.encode() + b"\0" * (len(syntax) % 2)
    old = uid.ExplicitVRLittleEndian.encode() + b"\0"
    made = data.replace(element(2, 0x10, "UI", old), element(2, 0x10, "UI", new), 1)
    length = int.from_bytes(made[140:144], "little") + len(new) - len(old)
    return made[:140] + length.to_bytes(4, "little") + made[144:]


def _with_preamble(data: bytes) -> bytes:
    return data if data[128:132] == b"DICM" else bytes(128) + b"DICM" + data


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def _swap(film: Dataset) -> None:
    """Turn OW pixels into big-endian words, whatever the size of a pixel (PS3.5 Section 7.3)."""
    size = {8: 2, 16: 2, 32: 4}[film.BitsAllocated]
    film.PixelData = np.frombuffer(film.PixelData, f"<u{size}").byteswap().tobytes()
    film["PixelData"].VR = "OW"


def _compress(film: Dataset, syntax: uid.UID) -> None:
    plugin = {
        uid.RLELossless: "pydicom",
        uid.JPEGLSLossless: "pyjpegls",
        uid.JPEGLSNearLossless: "pyjpegls",
    }.get(syntax, "pylibjpeg")
    film.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    compress(film, syntax, encoding_plugin=plugin, generate_instance_uid=False)


def tag_of(keyword: str) -> int:
    """Return the tag of a keyword."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return tag


def insert(data: bytes, tag: int, made: bytes) -> bytes:
    """Put encoded elements into an explicit VR little-endian file, in front of the first later tag."""
    at = data_set_start(data)
    while True:
        group, number = int.from_bytes(data[at : at + 2], "little"), int.from_bytes(data[at + 2 : at + 4], "little")
        if group << 16 | number >= tag or at >= len(data):
            return data[:at] + made + data[at:]
        if data[at + 4 : at + 6] in (b"OB", b"OW", b"UN", b"SQ", b"UT"):
            at += 12 + int.from_bytes(data[at + 8 : at + 12], "little")
        else:
            at += 8 + int.from_bytes(data[at + 6 : at + 8], "little")
