"""How old the patient was, by each thing that the header tells."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import DataElement, config

from tests import phantoms
from wetread.acquire.age import ages


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, ()),
        ({"PatientAge": "004Y"}, (4,)),
        ({"PatientAge": "018M"}, (1,)),
        ({"PatientAge": "011M"}, (0,)),
        ({"PatientAge": "104W"}, (1,)),
        ({"PatientAge": "105W"}, (2,)),
        ({"PatientAge": "366D"}, (1,)),
        ({"PatientAge": "365D"}, (0,)),
        ({"PatientAge": "000Y"}, ()),
        ({"PatientAge": "4Y"}, ()),
        ({"PatientAge": "four"}, ()),
        ({"PatientBirthDate": "20191124"}, ()),
        ({"PatientBirthDate": "20191124", "StudyDate": "20241123"}, (4,)),
        ({"PatientBirthDate": "20191124", "StudyDate": "20241124"}, (5,)),
        ({"PatientBirthDate": "2019.11.24", "StudyDate": "20241124"}, (5,)),
        ({"PatientBirthDate": "20191124", "ContentDate": "20241124"}, (5,)),
        ({"PatientBirthDate": "20191124", "StudyDate": "20241124", "ContentDate": "20041124"}, (5,)),
        ({"PatientBirthDate": "20251124", "StudyDate": "20241124"}, ()),
        ({"PatientBirthDate": "20191124", "StudyDate": "20241124", "PatientAge": "005Y"}, (5,)),
        ({"PatientBirthDate": "19400305", "StudyDate": "20241124", "PatientAge": "004Y"}, (4, 84)),
        ({"PatientBirthDate": "19400305", "StudyDate": "20241124", "PatientAge": "000Y"}, (84,)),
    ],
)
def test_age_in_completed_years(attributes: dict[str, Any], expected: tuple[int, ...]) -> None:
    film = phantoms.make_film(PatientBirthDate=None, StudyDate=None)
    for keyword, value in attributes.items():
        vr = "AS" if keyword == "PatientAge" else "DA"
        film[keyword] = DataElement(keyword, vr, value, validation_mode=config.IGNORE)
    assert ages(film) == expected
