"""HTJ2K: nothing installed here writes it, so one small codestream is kept as it was written by OpenJPH."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from pydicom import uid

from tests import phantoms
from wetread.acquire import decode
from wetread.settings import Settings

#: 36 x 34 pixels of 16 bits, reversible: the values of `expected`.
CODESTREAM = base64.b64decode(
    "/0//UQApQAAAAAAiAAAAJAAAAAAAAAAAAAAAIgAAACQAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCI"
    "kJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAvIAAf+TwAArAM0BL+E36GXxAsM0AMAAE8AA"
    "FRAABMBxgaADC3QAOQTC/gDiNAAR/AKHdADAABWQAAV0AAFUAlI740nNUQLMg5UAAlgbGGz9utEAIgG/lgAGMGe2QZIA45QAwAAW"
    "vAABa8AAFpD+AADes4HTzmgDNMQghSj+YhgAhpLJAIgzAHiBBhYSNZ8OSmfwGCZiAKBueBkAsgECmB03LGp1ou8DFAUDYhcAwAAX"
    "XQAAXoEAAF14dFkBfhAASBacaAJ2z/hr+i2d+QZgCdGDp5bxwAC1p/NTkiCkRChzRp1SUlBCAQAA4AA8A4GFXfAtGJqZAFJ8SmGY"
    "Pzj8QhmAFgC2df2lAAIYZNTDO8QMF2sCD+bgw5zIM6TDMonjYdZALec4GAGSEsAHwAd54GfB0AlP8O6D3flhZ3weAAClh/0NBADO"
    "1n7C5mGdJohM2HUA5zgSAcAAL6CgABfSMAAL3MAArQKWDYALB7Ac0HQA/P83R4UHAPj3P/7zHwD/V3/8Dx7pAQD/fucf/2u//32/"
    "f/4DAJ4PAADo37/9BWB//OcfAAAAAAAAAH7AAAAV8Z9WEguzL79LGA+GI6pLsN8UZ0GUEQzyfFqLUb9JVJVJv0GUGUG/EWotRv0l"
    "UlUkIvhAIEkDAAAAAAAAAAAA4B8A+BeA/g8AAAD+R/96j/74DwD8AwD/fsM//tO//eM//AHAAMIAIYAYgDEANwGs5vtXmfpDGQCA"
    "GQDgDAA4AwAFSAOkAGoA6wBB+IQFOmiCR8TEICm6GBM8F7sYDAIECuKM7rrrqTB+YEwwwwww6gAAF1111111Mhhhhhhh1AAArnOc"
    "5zgfA5IkJUlKkpQkAeB/APyf/31fkgAAwP93v/8DwP8AAID/e7//ff9/+58IAADofwD0/wAIAAAAQAAAACD+ABI8NuY0D5sfUIYW"
    "dlAYBWrjjO6666kwfmBMMMMMMOoAABdddddddTIYYYYYYdQAAK5znOc4GAP/2Q=="
)


def expected() -> phantoms.Array:
    y, x = np.mgrid[0:36, 0:34]
    return np.asarray((y * 97 + x * 53 + (y * x) // 3) % 4096)


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K])
def test_a_reversible_codestream_is_read_exactly(syntax: str) -> None:
    film = phantoms.make_film(expected(), bits=(16, 16, 15))
    (study,) = decode([("film", phantoms.encapsulated(film, syntax, [CODESTREAM]))], Settings())
    assert study.rejected == ()
    np.testing.assert_array_equal(study.images[0].pixels[0], expected())


def test_a_cut_codestream_is_refused() -> None:
    film = phantoms.make_film(expected(), bits=(16, 16, 15))
    for length in (10, 60, 400, len(CODESTREAM) - 10):
        data = phantoms.encapsulated(film, uid.HTJ2KLossless, [CODESTREAM[:length]])
        (study,) = decode([("film", data)], Settings())
        assert study.rejected[0].refusal.code == "TRUNCATED-PIXELS"
