"""How old the patient was: from Patient's Age, and from the birth date and the date of the study."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

from wetread.acquire.attributes import text

_AGE = re.compile(r"(\d{3})([DWMY])")
#: A year in each unit of the VR AS.
_A_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12, "Y": 1}
#: Some devices write this for everybody; an infant's age comes in days, weeks or months.
_FILLER = "000Y"
_DATE = re.compile(r"(\d{4})\.?(\d\d)\.?(\d\d)")
#: The day of the image, best first.
_DAYS = ("StudyDate", "AcquisitionDate", "SeriesDate", "ContentDate")


def ages(header: Dataset) -> tuple[int, ...]:
    """Return the patient's age in completed years, each one that the header tells.

    Two that differ contradict each other; whoever asks must be content with both.

    Returns
    -------
    Rising; () when the age is not known.

    References
    ----------
    DICOM PS3.3 Section C.7.2.2 (Patient's Age), PS3.5 Section 6.2 (VR AS and DA).
    """
    told = {_stated(text(header, "PatientAge")), _counted(header)}
    return tuple(sorted(age for age in told if age is not None))


def _stated(value: str) -> int | None:
    found = _AGE.fullmatch(value)
    return None if found is None or value == _FILLER else int(int(found[1]) / _A_YEAR[found[2]])


def _counted(header: Dataset) -> int | None:
    """Return the years from birth to the image; None for a birth after it, which tells nothing."""
    born = _date(text(header, "PatientBirthDate"))
    day = next((found for keyword in _DAYS if (found := _date(text(header, keyword)))), None)
    if born is None or day is None or day < born:
        return None
    return day[0] - born[0] - (day[1:] < born[1:])


def _date(value: str) -> tuple[int, ...] | None:
    found = _DATE.fullmatch(value)
    return None if found is None else tuple(map(int, found.groups()))
