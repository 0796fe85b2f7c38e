"""Specific Character Set: text to bytes and back.

Sets without code extensions are one of Python's codecs.  Those with extensions
(Japanese, Korean, Chinese by ISO 2022) are left to pydicom.

References
----------
DICOM PS3.3 Section C.12.1.1.2, PS3.5 Section 6.1.2.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

#: VRs whose characters the Specific Character Set governs: PS3.5 Section 6.1.2.2.
CHARACTER_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})

#: Defined terms without code extensions, and Python's name for each.
_PLAIN = {
    "": "ascii",
    "ISO_IR 6": "ascii",
    "ISO_IR 100": "latin_1",
    "ISO_IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4",
    "ISO_IR 144": "iso8859_5",
    "ISO_IR 127": "iso8859_6",
    "ISO_IR 126": "iso8859_7",
    "ISO_IR 138": "iso8859_8",
    "ISO_IR 148": "iso8859_9",
    "ISO_IR 203": "iso8859_15",
    "ISO_IR 192": "utf_8",
    "GB18030": "gb18030",
    "GBK": "gbk",
}
#: Numbers of the defined terms with code extensions, "ISO 2022 IR n".
_EXTENSIONS = (6, 13, 58, 87, 100, 101, 109, 110, 126, 127, 138, 144, 148, 149, 159, 203)
_EXTENDED = frozenset({"", *(f"ISO 2022 IR {number}" for number in _EXTENSIONS)})

#: Every defined term that is understood.
TERMS = (*filter(None, _PLAIN), *(f"ISO 2022 IR {number}" for number in _EXTENSIONS))

#: The codec of ISO 2022 IR 58, and what invokes it; pydicom writes no escape sequence for it, and removes none.
_CHINESE, _ESCAPE = "iso_ir_58", "\x1b$)A"
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")

Codecs = tuple[str, ...]
ASCII: Codecs = ("ascii",)


@lru_cache(maxsize=64)
def codecs_of(declared: str) -> Codecs:
    """Give Python's codecs for a Specific Character Set as it travels; none if it is no defined term."""
    if declared in _PLAIN:
        return (_PLAIN[declared],)
    terms = declared.split("\\")
    if all(term in _EXTENDED for term in terms):
        return tuple(convert_encodings(terms))
    return ()


@lru_cache(maxsize=4096)
def _known(character: str, codec: str) -> bool:
    try:
        character.encode("ascii" if codec == "iso8859" else codec)
    except UnicodeEncodeError:
        return False
    return True


def fits(text: str, codecs: Codecs) -> bool:
    """Tell whether a text can be written in a character set."""
    codecs = (_CHINESE,) if _CHINESE in codecs else codecs
    return text.isascii() or all(any(_known(one, codec) for codec in codecs) for one in text)


def written(vr: str, text: str, codecs: Codecs) -> bytes:
    """Encode a text.

    Raises
    ------
    UnicodeEncodeError
        The text does not fit the character set.
    """
    if vr not in CHARACTER_VRS:
        return text.encode("ascii")
    if text.isascii() or len(codecs) == 1:
        return text.encode(codecs[0])
    if not fits(text, codecs):
        raise UnicodeEncodeError("iso2022", text, 0, len(text), "not in the character set")
    if _CHINESE in codecs:  # invoked anew for every run, as line ends and delimiters end it: PS3.5 Section 6.1.2.5.3
        return _BEYOND_ASCII.sub(lambda run: _ESCAPE + run[0], text).encode(_CHINESE)
    if vr == "PN":
        return b"\\".join(PersonName(one, codecs).encode(codecs) for one in text.split("\\"))
    return encode_string(text, codecs)


def read(vr: str, raw: bytes, codecs: Codecs) -> str:
    """Decode a text; what cannot be decoded becomes the replacement character."""
    if vr not in CHARACTER_VRS:
        return raw.decode("ascii", "replace")
    if len(codecs) == 1 or b"\x1b" not in raw:
        return raw.decode(codecs[0], "replace")
    text = str(PersonName(raw, codecs)) if vr == "PN" else decode_bytes(raw, codecs, TEXT_VR_DELIMS)
    return text.replace(_ESCAPE, "")
