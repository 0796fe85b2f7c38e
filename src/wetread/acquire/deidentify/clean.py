"""What of a text or a date may stay: words of anatomy and technique, and dates moved by days."""

from __future__ import annotations

import datetime
import re
from itertools import pairwise

__all__ = ["cleaned_text", "is_time", "moved_date"]

#: Words that say what was examined and how; every other word of a description goes.
WORDS = frozenset(
    """
    abdomen abdominal acute adc angio angiography ankle aorta ap apical arm arterial ascending av ax axial
    bilateral biplane bone brain breast calcaneus cardiac carotid cervical chest cine clavicle contrast
    cor coronal cr ct cta decubitus delay delayed descending diastole diffusion dixon dual dwi dx
    dynamic early elbow epi erect expiration extremity fat femur fibula fiesta finger flair flash fluoro
    follow foot forearm frontal fse full gre hand head hip hippocampus humerus iac in inspiration
    inversion ir kidney knee la landmarks lao late lateral left leg liver localizer long low lower
    lumbar lung lungs lv mandible mediastinum mip mm mpr mprage mr mra mri myocardium native neck
    nonecontrast oblique opposed orbit out pa patella pelvis perfusion phase pituitary plain portable
    post posterior pre prone proton pulmonary rao recon reformat rib ribs right routine rv sa sag
    sagittal scan scout screening sella shin short shoulder sinus skull slice soft space spair spgr
    spine spleen standard standing sternum stir stress supine swi system systole t1 t1w t2 t2w te thick
    thin thoracic thorax tibia tissue toe topogram tr tra transverse tse upper upright vein venogram
    venous ventricle vertex view volume vr weighted window with without wo wrist
    """.split()  # noqa: SIM905 - prose is easier to look through than 180 quoted words
)
#: Before one of these words a short number says how an image was made; any other may be part of an identifier.
_UNITS = frozenset({"mm"})
_PLAIN = re.compile(r"\d{1,3}(?:\.\d{1,2})?")
#: TM: each part only behind the one before; with colons as ACR-NEMA wrote it.
_CLOCK = r"(?:[01]\d|2[0-3])(?::?[0-5]\d(?::?(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?"
_OFFSET = r"[+-](?:0\d|1[0-4])[0-5]\d"
#: A time of day, or by how much it differs from UTC (0008,0201).
_TIME = re.compile(rf"(?:{_CLOCK}|{_OFFSET})?")
#: DA, and DT of at least a day: time of day and offset.
_DATE = re.compile(rf"\d{{8}}(?:{_CLOCK})?(?:{_OFFSET})?")


def cleaned_text(text: str) -> str:
    """Return the words of a description that say what was examined and how, and short numbers of millimetres."""
    words = re.split(r"[^A-Za-z0-9.]+", text)
    return " ".join(
        word
        for word, following in pairwise((*words, ""))
        if word.lower() in WORDS or (following.lower() in _UNITS and _PLAIN.fullmatch(word))
    )


def is_time(text: str) -> bool:
    """Whether a text is nothing but a time of day, or an offset from UTC; none is one too."""
    return bool(_TIME.fullmatch(text))


def moved_date(text: str, days: int) -> str:
    """Return a DA or DT moved by days, its time of day and offset kept; "" if it is no date, or more than one.

    References
    ----------
    PS3.5 Section 6.2: DA is YYYYMMDD, DT begins with it; ranges are for queries.
    """
    if not _DATE.fullmatch(text):
        return ""
    try:
        day = datetime.date(int(text[:4]), int(text[4:6]), int(text[6:8])) + datetime.timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return f"{day:%Y%m%d}{text[8:]}"
