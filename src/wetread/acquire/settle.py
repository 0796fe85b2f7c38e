"""Elements as they stand in a file -> converted values, within bounds; what is heavy or unreadable leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from wetread.acquire.escapes import ESCAPE, unescape
from wetread.acquire.quiet import FOREIGN_ERRORS
from wetread.errors import NotRead

#: Tag, VR, bytes, little endian?, Specific Character Set as it stands: all that a conversion depends on.
Key = tuple[int, str, bytes | None, bool, bytes]
Known = dict[Key, DataElement]
MAX_KNOWN = 20_000
MAX_KNOWN_BYTES = 1024
MAX_ITEMS = 50_000
MAX_DEPTH = 32
#: Larger values leave the header: overlays, curves, icons, waveforms, vendors' blobs.
MAX_VALUE_BYTES = 1 << 16
MAX_PRIVATE_BYTES = 1 << 12
MAX_SEQUENCE_BYTES = 1 << 20
#: Of the functional groups of a multi-frame object, which has one item a frame.
MAX_FRAMES_BYTES = 1 << 24

_MODALITY_LUT, _LUT_DATA = 0x00283000, 0x00283006
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_ICON = 0x00880200
_PER_FRAME = 0x52009230
CHARACTER_SET = 0x00080005
#: VRs whose conversion looks at nothing else in the data set; UN, SQ and what depends on other elements do.
_PLAIN = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "ST", "TM", "UI", "UL", "US"}
)
_TEXTS = _PLAIN - {"FD", "FL", "SL", "UL", "US"}


@dataclass(slots=True)
class Recalled:
    """Which elements of a data set are known."""

    fresh: dict[BaseTag, Key] = field(default_factory=dict)  # what is not, by what it is kept under
    done: set[BaseTag] = field(default_factory=set)  # what is, and stands in the data set already


def settle(
    dataset: Dataset, known: Known | None = None, recalled: Recalled | None = None, everything: bool = False
) -> frozenset[int]:
    """Convert every element now, drop what is heavy or cannot be converted; name the latter.

    Whoever looks into the header later meets no surprise.

    Parameters
    ----------
    dataset
        What `pydicom.filereader.read_dataset` gave; it is changed.
    known
        Elements of other data sets by what they were converted from.  The same bytes under the
        same tag, VR and character set are not converted again; new ones are added.  Such
        elements are shared: a header is read-only.
    recalled
        What was found among them already; looked up here if it was not.
    everything
        Keep what is heavy, too.

    Returns
    -------
    Tags of the elements at the top that cannot be converted, or are sequences by the dictionary and came as something
    else (PS3.6 Section 6).

    Raises
    ------
    NotRead
        DAMAGED-FILE: nested deeper than 32, or more than 50 000 sequence items.
    """
    recalled = recalled or (Recalled() if known is None else _recall(dataset, known))
    budget = MAX_ITEMS
    unreadable = set()
    waiting = [(dataset, 0)]
    while waiting:
        inner, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise NotRead("DAMAGED-FILE", f"Sequences are nested deeper than {MAX_DEPTH}.")
        for tag in [tag for tag in inner._dict if inner is not dataset or tag not in recalled.done]:
            try:
                budget -= _items_inside(inner, tag)
                if budget < 0:
                    raise NotRead("DAMAGED-FILE", f"The header has more than {MAX_ITEMS} sequence items.")
                if tag >> 16 == 0 or (not everything and _is_heavy(inner, tag)):
                    del inner[tag]
                    continue
                _name_text(inner, tag)
                escaped = ESCAPE.encode() in _raw(inner, tag)
                element = inner[tag]
                if escaped:
                    unescape(element)
                items = _items(element)
            except FOREIGN_ERRORS:
                del inner[tag]
                if inner is dataset:
                    unreadable.add(int(tag))
                continue
            waiting += [(item, depth + 1) for item in items]
    if known is not None:
        _remember(dataset, recalled.fresh, known)
    return frozenset(unreadable)


def _recall(dataset: Dataset, known: Known) -> Recalled:
    """Put in what is known already."""
    charset = _raw(dataset, CHARACTER_SET)
    made = Recalled()
    for tag, raw in dataset._dict.items():
        if not isinstance(raw, RawDataElement) or not is_plain(tag, raw.VR) or len(raw.value or b"") > MAX_KNOWN_BYTES:
            continue
        key = (int(tag), str(raw.VR), raw.value, raw.is_little_endian, charset)
        found = known.get(key)
        if found is None:
            made.fresh[tag] = key
        else:
            dataset._dict[tag] = found  # the tag is there: the dictionary keeps its size
            made.done.add(tag)
    return made


@lru_cache(maxsize=4096)
def is_plain(tag: int, vr: str | None) -> bool:
    """Whether a value's conversion looks at nothing else in the data set; without a VR the dictionary tells it."""
    if vr is None and not BaseTag(tag).is_private and dictionary_has_tag(tag):
        vr = dictionary_VR(tag)
    return vr in _PLAIN


def _remember(dataset: Dataset, fresh: dict[BaseTag, Key], known: Known) -> None:
    """Keep what could be converted, up to a bound."""
    for tag, key in fresh.items():
        element = dataset._dict.get(tag)
        if isinstance(element, DataElement) and len(known) < MAX_KNOWN:
            known[key] = element


def _raw(dataset: Dataset, tag: int) -> bytes:
    """Return the bytes of an element that is not converted yet, else b""."""
    value = getattr(dataset._dict.get(BaseTag(tag)), "value", None)
    return value if isinstance(value, bytes) else b""


def _name_text(dataset: Dataset, tag: BaseTag) -> None:
    """Give text that came as bytes, as an ID of VR OB, the VR that the dictionary has for it, as filing reads it."""
    raw = dataset._dict.get(tag)
    if isinstance(raw, RawDataElement) and raw.VR in ("OB", "OW") and (vr := _text_vr(tag)):
        dataset._dict[tag] = raw._replace(VR=vr)


@lru_cache(maxsize=4096)
def _text_vr(tag: int) -> str:
    """Name the VR that the dictionary has under a tag where it is one of text, else ""."""
    vr = dictionary_VR(tag) if dictionary_has_tag(tag) else ""
    return vr if vr in _TEXTS else ""


def _is_sequence(dataset: Dataset, tag: int) -> bool:
    vr = getattr(dataset._dict.get(BaseTag(tag)), "VR", None)
    return vr == "SQ" or (vr in (None, "UN") and _names_sequence(tag))


@lru_cache(maxsize=4096)
def _names_sequence(tag: int) -> bool:
    """Whether the dictionary has a sequence under a tag."""
    return dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"


def _items(element: DataElement) -> list[Dataset]:
    """The items of a sequence, [] of anything else; raises `TypeError` for one that came under another VR."""
    if element.VR == "SQ":
        return list(element.value or [])
    if _names_sequence(element.tag):
        raise TypeError("expected a sequence")
    return []


def _items_inside(dataset: Dataset, tag: int) -> int:
    """Count the sequence items in bytes that pydicom has not parsed yet, without parsing them."""
    raw = _raw(dataset, tag)
    return sum(raw.count(item) for item in _ITEM_TAGS) if raw and _is_sequence(dataset, tag) else 0


def _is_heavy(dataset: Dataset, tag: int) -> bool:
    """Whether an element is a blob that nobody downstream needs."""
    if tag == _ICON or (tag >> 16 & 0xFF00 in (0x5000, 0x6000) and tag & 0xFFFF == 0x3000):
        return True
    if tag in (_MODALITY_LUT, _LUT_DATA):
        return False
    if _is_sequence(dataset, tag):
        return len(_raw(dataset, tag)) > (MAX_FRAMES_BYTES if tag == _PER_FRAME else MAX_SEQUENCE_BYTES)
    return len(_raw(dataset, tag)) > (MAX_PRIVATE_BYTES if tag >> 16 & 1 else MAX_VALUE_BYTES)
