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
