"""The real film of the demonstrations and benchmarks."""

from __future__ import annotations

import io
from pathlib import Path

from wetread.errors import BadInput


def real_film() -> Path:
    """The chest CR of the package `pydicom-data`: 1955 x 1841, MONOCHROME1.

    Raises
    ------
    BadInput
        The package is not installed.
    """
    from pydicom.data import get_testdata_file

    found = get_testdata_file("RG1_UNCR.dcm", download=False)
    if found is None:
        raise BadInput("the film RG1_UNCR.dcm was not found; pip install pydicom-data, or name a film of your own")
    return Path(str(found))


def film_for_every_model() -> bytes:
    """The same film under a header that makes the patient, an adult, four years old: every model for films reads it.

    For times and tests of the whole row; what is then said about pneumonia means nothing.
    """
    from pydicom import dcmread

    film, out = dcmread(real_film()), io.BytesIO()
    film.PatientBirthDate, film.PatientAge = "", "004Y"
    film.save_as(out)
    return out.getvalue()
