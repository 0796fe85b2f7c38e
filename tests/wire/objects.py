"""Small encoded objects, written byte by byte so that no library is needed to make them."""

from __future__ import annotations

import struct

from wetread.wire.part10 import EXPLICIT_LITTLE, header

CR = "1.2.840.10008.5.1.4.1.1.1"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
LONG = ("OB", "OW", "SQ", "UN", "UT")


def element(
    tag: int, vr: str, value: bytes, order: str = "<", implicit: bool = False, undefined: bool = False
) -> bytes:
    """Encode one element; `undefined` leaves its length open."""
    value += (b"\0" if vr in ("UI", "OB") else b" ") * (len(value) % 2)
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    length = 0xFFFFFFFF if undefined else len(value)
    if implicit:
        return head + struct.pack(order + "L", length) + value
    if vr in LONG:
        return head + vr.encode() + struct.pack(order + "HL", 0, length) + value
    return head + vr.encode() + struct.pack(order + "H", length) + value


def data_set(
    study: str,
    instance: str,
    size: int = 64,
    sop_class: str = CR,
    order: str = "<",
    implicit: bool = False,
    of_study: int = 0,
    of_series: int = 0,
) -> bytes:
    """Encode an object with `size` bytes of pixels; the patient's name is a canary for the logs.

    `of_study` and `of_series`: Number of Study and Series Related Instances; 0: not there.
    """
    series = f"{study}.1"
    rows = [
        (0x00080016, "UI", sop_class.encode()),
        (0x00080018, "UI", instance.encode()),
        (0x00080060, "CS", b"CR"),
        (0x00100010, "PN", b"Canary^Patient"),
        (0x00100020, "LO", b"CANARY-ID-77"),
        (0x0020000D, "UI", study.encode()),
        (0x0020000E, "UI", series.encode()),
        *((0x00201208, "IS", str(of_study).encode()) for _ in range(bool(of_study))),
        *((0x00201209, "IS", str(of_series).encode()) for _ in range(bool(of_series))),
        (0x7FE00010, "OW", bytes(i % 251 for i in range(size))),
    ]
    return b"".join(element(tag, vr, value, order, implicit) for tag, vr, value in rows)


def film(study: str = "1.2.3", instance: str = "1.2.3.1.1", size: int = 64, sop_class: str = CR) -> bytes:
    """Return the file of an object in Explicit VR Little Endian."""
    return header(sop_class, instance, EXPLICIT_LITTLE) + data_set(study, instance, size, sop_class)
