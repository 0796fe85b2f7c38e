"""HL7 messages, and how they are broken: each mutation is a function of a message and a source of chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wetread.wire.mllp import CR, FS, VT, frame

CANARY = "CANARY"  # in every free text and identifier: nothing of it may come back, or stand in a log
INJECTED = "666666"  # the identifier of a patient whom no good message names
HUGE = 200_000
TOO_LARGE = 1_200_000

Mutation = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True, slots=True)
class Sent:
    """What goes over the wire."""

    kind: str  # the name of the mutation; "" of a good message
    data: bytes
    control_id: str  # of a good message
    accession: str  # of a good message
    broken: bool = False  # its framing is: the connection ends, with an answer or without


def good(number: int, chance: random.Random) -> bytes:
    """An order as a RIS sends it."""
    kind, urgent = chance.choice([("ORM^O01^ORM_O01", "S"), ("OMI^O23^OMI_O23", "R")])
    lines = [
        f"MSH|^~\\&|RIS|HOSP|WETREAD|AI|20261128120000||{kind}|M{number}|P|2.5.1|||||||UNICODE UTF-8",
        f"PID|1||{CANARY}{number}^^^HOSP&1.2.3&ISO^MR~9{number}^^^REG||{CANARY}^Müller||19700101|F",
        "PV1|1|E",
        f"ORC|NW|P{number}^RIS|F{number}^PACS|||||^^^^^{urgent}",
        f"OBR|1|P{number}^RIS|F{number}^PACS|71020^Chest^L||||||||||||||A{number}|RP{number}"
        + "|" * 12
        + f"^{CANARY} cough",
        f"NTE|1||{CANARY} since Monday",
        f"IPC|A{number}^RIS|RP{number}|1.2.840.{number}|SPS1|CR",
    ]
    return "".join(f"{line}\r" for line in lines).encode()


def _lines(data: bytes) -> list[bytes]:
    return data.split(CR)[:-1]


def _joined(lines: list[bytes]) -> bytes:
    return b"".join(line + CR for line in lines)


def _drop(data: bytes, chance: random.Random) -> bytes:
    lines = _lines(data)
    del lines[chance.randrange(len(lines))]
    return _joined(lines)


def _double(data: bytes, chance: random.Random) -> bytes:
    lines = _lines(data)
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))
    return _joined(lines)


def _reorder(data: bytes, chance: random.Random) -> bytes:
    lines = _lines(data)
    chance.shuffle(lines)
    return _joined(lines)


def _field(data: bytes, chance: random.Random, value: bytes) -> bytes:
    """Put something into one field."""
    lines = _lines(data)
    at = chance.randrange(len(lines))
    fields = lines[at].split(b"|")
    fields[chance.randrange(len(fields))] = value
    lines[at] = b"|".join(fields)
    return _joined(lines)


def _empty(data: bytes, chance: random.Random) -> bytes:
    return _field(data, chance, chance.choice([b"", b'""']))


def _huge(data: bytes, chance: random.Random) -> bytes:
    part = chance.choice([b"x", b"^", b"&", b"~", b"\\", b"|", b"\\X00\\"])
    return _field(data, chance, part * chance.randrange(HUGE))


def _many(data: bytes, chance: random.Random) -> bytes:
    return data + chance.choice(_lines(data)[1:]) + CR + b"NTE|1\r" * chance.randrange(20_000)


def _too_large(data: bytes, chance: random.Random) -> bytes:
    return _field(data, chance, b"x" * TOO_LARGE)


def _injected(data: bytes, chance: random.Random) -> bytes:
    """What a sender does not escape in a free text."""
    person = f"\rPID|1||{INJECTED}^^^HOSP\r".encode()
    marks = [b"\r", b"\n", b"|", b"^", b"~", b"&", b"\\", b"\0", b"\x1b$B", b"\\E\\", b"'; DROP", person]
    return _field(data, chance, b"".join(chance.choices(marks, k=chance.randrange(1, 6))))


def _flipped(data: bytes, chance: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(chance.randrange(1, 8)):
        made[chance.randrange(len(made))] = chance.choice([*range(0x0B), *range(0x0C, 0x1C), *range(0x1D, 0x100)])
    return bytes(made)


def _encoded(data: bytes, chance: random.Random) -> bytes:
    """Bytes of another character set than MSH-18 declares, or one that there is not."""
    text = data.decode()
    if chance.random() < 0.5:
        return text.encode(chance.choice(["latin-1", "utf-16", "utf-8-sig", "cp037"]))
    names = ["ASCII", "8859/1", "KLINGON", "UNICODE UTF-16", "ISO IR87", "~~~", "GB 18030-2000"]
    return text.replace("UNICODE UTF-8", chance.choice(names)).encode()


def _delimiters(data: bytes, chance: random.Random) -> bytes:
    marks = [b"", b"^", b"^^^^", b"|^~\\&", b"^~\\&#", b"ABCD", b"^~\\\r", b"\xff\xfe^~", b"*@!%"]
    return data.replace(b"|^~\\&|", b"|" + chance.choice(marks) + b"|", 1)


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _other(data: bytes, chance: random.Random) -> bytes:
    # No ACK: nobody acknowledges one.
    kinds = [b"ORU^R01", b"ADT^A99", b"", b"^^^^", b"ADT^A40", b"SIU^S12", b"ADT^A08", b"RRA^O18"]
    return data.replace(data.split(b"|")[8], chance.choice(kinds), 1)


#: Within whole blocks: the connection goes on, and each is answered.
CONTENT: dict[str, Mutation] = {
    "a segment dropped": _drop,
    "a segment doubled": _double,
    "segments reordered": _reorder,
    "a field emptied": _empty,
    "a field of up to 200 kB": _huge,
    "up to 20,000 segments": _many,
    "delimiters injected": _injected,
    "bytes flipped": _flipped,
    "another encoding": _encoded,
    "other delimiters in MSH-2": _delimiters,
    "cut off": _cut,
    "another type": _other,
}
#: Broken blocks: the connection ends.
FRAMING: dict[str, Mutation] = {
    "no VT": lambda data, chance: data + FS + CR,
    "VT inside": lambda data, chance: VT + data[:40] + VT + data[40:] + FS + CR,
    "FS without CR": lambda data, chance: VT + data + FS + VT + data + FS + CR,
    "FS inside": lambda data, chance: VT + data[:40] + FS + data[40:] + FS + CR,
    "more than 1 MiB": lambda data, chance: frame(_too_large(data, chance)),
    "bytes of anything": lambda data, chance: b"\xff" + chance.randbytes(300),
}


def campaign(number: int, seed: int = 1, good_every: int = 20) -> Iterator[Sent]:
    """Yield so many mutated messages, and a good one before each `good_every`."""
    chance = random.Random(seed)  # noqa: S311 - the same seed, the same campaign
    for at in range(number):
        if at % good_every == 0:
            yield Sent("", frame(good(at, chance)), f"M{at}", f"A{at}")
        message = good(at + number, chance)
        if chance.random() < 0.02:
            kind = chance.choice(sorted(FRAMING))
            yield Sent(kind, FRAMING[kind](message, chance), "", "", broken=True)
            continue
        kind = chance.choice(sorted(CONTENT))
        made = CONTENT[kind](message, chance).replace(VT, b"").replace(FS, b"")
        yield Sent(kind, frame(made), "", "")
