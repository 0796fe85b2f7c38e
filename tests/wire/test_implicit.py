"""Data sets in the default transfer syntax say what they said before."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from tests import peers
from tests.wire.objects import film
from wetread.errors import BadInput
from wetread.settings import Destination
from wetread.wire.attributes import encoded
from wetread.wire.dimse import send
from wetread.wire.implicit import DEEPEST, implicit
from wetread.wire.part10 import EXPLICIT_LITTLE, IMPLICIT_LITTLE, meta


def body(name: str) -> bytes:
    data = Path(str(get_testdata_file(name))).read_bytes()
    about = meta(data)
    assert about.transfer_syntax == EXPLICIT_LITTLE
    return data[about.offset :]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["liver.dcm", "CT_small.dcm", "reportsi.dcm"])
def test_every_element_is_as_it_was(name: str) -> None:
    path = Path(str(get_testdata_file(name)))
    given_ = dcmread(path)
    made = read_dataset(io.BytesIO(implicit(memoryview(body(name)))), is_implicit_VR=True, is_little_endian=True)
    assert [element.tag for element in made] == [element.tag for element in given_]
    for element in given_:
        if element.VR == "SQ":
            assert len(made[element.tag].value) == len(element.value)
        elif not element.tag.is_private:  # of which a reader does not know the VR any more
            assert made[element.tag].value == element.value, element.keyword


def nested(depth: int) -> Dataset:
    made = Dataset()
    made.PatientComments = "deep"
    for _ in range(depth):
        outer = Dataset()
        outer.ContentSequence = [made]
        made = outer
    return made


def test_depth_has_a_bound() -> None:
    allowed = nested(DEEPEST)
    assert implicit(memoryview(encoded(allowed, EXPLICIT_LITTLE))) == encoded(allowed, IMPLICIT_LITTLE)
    with pytest.raises(BadInput, match="within each other"):
        implicit(memoryview(encoded(nested(DEEPEST + 1), EXPLICIT_LITTLE)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF), "has no length"),
        (struct.pack("<HH2sH", 8, 0x0016, b"UI", 40), "past the end"),
        (struct.pack("<HH2sHLHHL", 8, 0x1115, b"SQ", 0, 8, 8, 0x0016, 0), "expected an item"),
        (b"\x08\x00\x16", "past the end"),
    ],
)
def test_what_is_no_data_set(data: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        implicit(memoryview(data))


def test_an_unknown_value_of_undefined_length_stays_as_it_is() -> None:
    # PS3.5 6.2.2: it is a sequence in Implicit VR already; the second item and its sequence have no length either.
    inner = struct.pack("<HHL", 0x0008, 0x0100, 4) + b"A121"
    nested_ = struct.pack("<HHLHHL", 0x0040, 0xA730, 0xFFFFFFFF, 0xFFFE, 0xE000, len(inner)) + inner
    items = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    items += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + nested_ + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    items += struct.pack("<HHL", 0xFFFE, 0xE00D, 0) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    unknown = struct.pack("<HH2sHL", 0x0009, 0x1010, b"UN", 0, 0xFFFFFFFF) + items
    after = struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", 4) + b"4711"
    made = implicit(memoryview(unknown + after))
    assert (
        made
        == struct.pack("<HHL", 0x0009, 0x1010, 0xFFFFFFFF) + items + struct.pack("<HHL", 0x0010, 0x0020, 4) + b"4711"
    )
    for end in range(12, len(unknown)):
        with pytest.raises(BadInput):
            implicit(memoryview(unknown[:end]))


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200))
def test_noise_is_refused_or_turned(noise: bytes) -> None:
    with suppress(BadInput):
        implicit(memoryview(noise))


@pytest.mark.peer
def test_an_item_that_no_accepted_syntax_can_hold_keeps_no_other_from_going(tmp_path: Path) -> None:
    good = film(instance="1.2.3.1.1")
    bad = film(instance="1.2.3.1.2") + struct.pack("<HH2sHL", 0x7FE1, 0x0010, b"OB", 0, 0xFFFFFFFF)
    with peers.storescp(tmp_path / "received", "+xi") as port:
        assert send(Destination("STORESCP", "127.0.0.1", port), [bad, good]) == [0x0122, 0]


@pytest.mark.peer
def test_a_peer_that_takes_the_default_syntax_only(tmp_path: Path) -> None:
    items = [film(instance=f"1.2.3.1.{n}", size=20_000) for n in range(3)]
    with peers.storescp(tmp_path / "received", "+xi") as port:
        assert send(Destination("STORESCP", "127.0.0.1", port), items) == [0] * 3
    received = [dcmread(path) for path in sorted((tmp_path / "received").iterdir())]
    assert {one.file_meta.TransferSyntaxUID for one in received} == {IMPLICIT_LITTLE}
    sent = [dcmread(io.BytesIO(item), force=True) for item in items]
    assert sorted(one.SOPInstanceUID for one in received) == sorted(one.SOPInstanceUID for one in sent)
    assert {one.PixelData for one in received} == {one.PixelData for one in sent}
