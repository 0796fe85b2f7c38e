"""The encoding: against literals, against pydicom, there and back."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from wetread.errors import DocumentError
from wetread.report.elements import Item, decode, encode, entry_of, get, item, walk


def whole(**more: object) -> Item:
    return item(SOPClassUID="1.2.840.10008.5.1.4.1.1.7", SOPInstanceUID="1.2.3", **more)


def test_literal() -> None:
    data = encode(whole(PatientID="AB1", Rows=258, ConceptNameCodeSequence=item(CodeValue="1")))
    body = data[data.index(b"\x08\x00\x16\x00") :]
    assert body == (
        b"\x08\x00\x16\x00UI\x1a\x001.2.840.10008.5.1.4.1.1.7\x00"  # (0008,0016) padded with a null
        b"\x08\x00\x18\x00UI\x06\x001.2.3\x00"
        b"\x10\x00\x20\x00LO\x04\x00AB1 "  # padded with a space
        b"\x28\x00\x10\x00US\x02\x00\x02\x01"  # little endian
        b"\x40\x00\x43\xa0SQ\x00\x00\x12\x00\x00\x00"  # long form, 18 bytes
        b"\xfe\xff\x00\xe0\x0a\x00\x00\x00"  # an item of 10 bytes
        b"\x08\x00\x00\x01SH\x02\x001 "
    )


def test_pydicom_reads_the_same() -> None:
    pixels = np.arange(6, dtype=np.uint16).reshape(2, 3)
    data = encode(
        whole(
            SpecificCharacterSet="ISO_IR 192",
            PatientName="Wang^XiaoDong=王^小东",
            DimensionIndexPointer=(0x0062000B,),
            RealWorldValueSlope=0.5,
            RecommendedDisplayCIELabValue=(1, 2, 3),
            PixelData=pixels,
        )
    )
    read = dcmread(io.BytesIO(data))
    assert str(read.PatientName) == "Wang^XiaoDong=王^小东"
    assert read.DimensionIndexPointer == 0x0062000B
    assert read.RealWorldValueSlope == 0.5
    assert list(read.RecommendedDisplayCIELabValue) == [1, 2, 3]
    assert read.PixelData == pixels.tobytes()


def test_there_and_back() -> None:
    given = whole(
        SpecificCharacterSet="ISO_IR 100",
        PatientName="Müller^Jürgen",
        AcquisitionContextSequence=[],
        ContentSequence=[item(TextValue="one", ContentSequence=item(ReferencedSegmentNumber=(1, 2))), {}],
        PixelData=b"\1\2\3",
    )
    meta, read = decode(encode(given))
    assert get(meta, "TransferSyntaxUID") == "1.2.840.10008.1.2.1"
    assert bytes(get(read, "PixelData")) == b"\1\2\3\0"
    rest = {tag: entry for tag, entry in given.items() if tag != entry_of("PixelData")[0]}
    assert {tag: entry for tag, entry in read.items() if tag in rest} == rest
    assert ("ContentSequence[1].ContentSequence[1].", entry_of("ReferencedSegmentNumber")[0], ("US", (1, 2))) in list(
        walk(read)
    )


def test_sequences_of_undefined_length_are_read() -> None:
    inner = Dataset()
    inner.CodeValue = "1"
    given = Dataset()
    given.SOPClassUID, given.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    given.ConceptNameCodeSequence = [inner]
    given["ConceptNameCodeSequence"].is_undefined_length = True
    given.ConceptNameCodeSequence[0].is_undefined_length_sequence_item = True
    given.PatientID = "x"
    target = io.BytesIO()
    given.ensure_file_meta()
    given.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    given.save_as(target, enforce_file_format=True)
    _, read = decode(target.getvalue())
    assert get(get(read, "ConceptNameCodeSequence")[0], "CodeValue") == "1"
    assert get(read, "PatientID") == "x"


@pytest.mark.parametrize("cut", [0, 100, 131, 140, -81, -1, -7])
def test_a_damaged_file_is_named_as_such(cut: int) -> None:
    data = encode(whole(PatientID="AB1", PixelData=b"\1\2" * 40))
    with pytest.raises(DocumentError, match=r"PS3\.(5|10)"):
        decode(data[:cut])


def test_text_outside_the_character_set_is_refused() -> None:
    with pytest.raises(DocumentError, match="PatientName"):
        encode(whole(PatientName="Müller"))
    with pytest.raises(DocumentError, match="SpecificCharacterSet"):
        encode(whole(SpecificCharacterSet="ISO_IR 999"))


def test_values_too_long_for_their_vr_are_refused() -> None:
    with pytest.raises(DocumentError, match="fit their VR"):
        encode(whole(PatientComments="x" * 70000))


def test_an_unknown_keyword_is_refused() -> None:
    with pytest.raises(DocumentError, match="NoSuchKeyword"):
        item(NoSuchKeyword="1")
