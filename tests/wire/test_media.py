"""Media types are taken apart in one pass, and what is none is refused."""

from __future__ import annotations

import pytest

from wetread.errors import BadInput
from wetread.wire import media
from wetread.wire.media import Media, chosen, parsed


def test_several_with_parameters() -> None:
    several = 'multipart/related; type="application/dicom"; boundary="a,b;c", */*;q=0.5,, APPLICATION/DICOM ; '
    assert parsed(f"{several}Transfer-Syntax=*") == [
        Media("multipart/related", "application/dicom", boundary="a,b;c"),
        Media("*/*", quality=0.5),
        Media("application/dicom", transfer_syntax="*"),
    ]
    assert parsed("") == []
    assert chosen("image/png", [Media(media.JSON)]) is None


@pytest.mark.parametrize("told", ['application/dicom,aaa"', ";" * 100 + '"', 'a/b; type="x', ";a" * 2000 + '"'])
def test_a_quote_that_does_not_end_is_refused(told: str) -> None:
    with pytest.raises(BadInput, match="quotes that end"):
        parsed(told)


def test_a_header_has_a_bound() -> None:
    with pytest.raises(BadInput, match="at most 4096 characters"):
        parsed("a" * 4097)


def test_what_cannot_be_given_makes_room_for_what_is_wanted_less() -> None:
    several = "a/b; transfer-syntax=1.2, a/b; transfer-syntax=1.3;q=0.5, a/b; transfer-syntax=1.4;q=0.7, */*;q=0"
    for there, expected in (("1.2 1.3", "1.2"), ("1.3", "1.3"), ("1.3 1.4", "1.4")):

        def given(_offer: Media, wanted: Media, there: str = there) -> bool:
            return wanted.transfer_syntax in there.split()

        found = chosen(several, [Media("a/b")], given)
        assert found is not None
        assert found[1].transfer_syntax == expected
    assert chosen(several, [Media("a/b")], lambda offer, wanted: False) is None
