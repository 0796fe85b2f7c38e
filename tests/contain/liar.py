"""A child that was taken over: it speaks the words of a child and means harm.

``python -m tests.contain.liar ...``, as `wetread.contain.child`; the name of the first file says how it lies.
"""

from __future__ import annotations

import dataclasses
import json
import mmap
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from wetread.contain.talk import PAGE, Said, say, take, write
from wetread.records import Image

#: A study as `wetread.contain.handover.pack` writes it, one film of 4 x 4 pixels at the beginning of the body.
IMAGE: list[Any] = [["<u2", [1, 4, 4], 0], None, 1.0, "CR", "CHEST", "PA", "1.2.3", "1.2.3.1", ["1.2.3.1.1"], "0" * 64]
IMAGE += ["film.dcm", [[], []], "", "", "", "", False, [], None, [], [], True, [], "", [], 1]
STUDY: list[Any] = ["1.2.3", [IMAGE], []]
REFUSED = [["CRASHED", "It went wrong.", ""], "film.dcm", "", None, []]


def image(**changed: Any) -> list[Any]:
    """The study with fields of its image changed."""
    names = [field.name for field in dataclasses.fields(Image)]
    return [["1.2.3", [[changed.get(name, was) for name, was in zip(names, IMAGE, strict=True)]], []]]


def deep(levels: int) -> list[Any]:
    """A header of so many nested sequences."""
    made: list[Any] = []
    for _ in range(levels):
        made = [[0x00081140, "SQ", [made]]]
    return made


#: How it lies -> what it answers.
LIES: dict[str, Any] = {
    "no study": {},
    "a study of text": ["a study"],
    "a field too few": [STUDY[:2]],
    "a field too many": [[*STUDY, 1]],
    "text for a number": image(pixel_aspect="1.0"),
    "no number": image(pixel_aspect=float("nan")),
    "a number for text": image(modality=7),
    "truth for a number": image(reduction=True),
    "endless text": image(view="x" * (1 << 17)),
    "an unknown code": [["1.2.3", [], [[["FINE", "All is well.", ""], "film.dcm", "", None, []]]]],
    "objects as pixels": image(pixels=["|O", [1, 4, 4], 0]),
    "pixels past the end": image(pixels=["<u2", [1, 4, 5000], 0]),
    "pixels before the beginning": image(pixels=["<u2", [1, 4, 4], -64]),
    "pixels of 2^62 bytes": image(pixels=["<u2", [1 << 30, 1 << 30, 1], 0]),
    "pixels without a size": image(pixels=["<u2", [1, 0, 4], 0]),
    "the same pixels twice": [["1.2.3", [IMAGE, IMAGE], []]],
    "a tag that is none": image(header=[[], [[1 << 40, "CS", "x"]]]),
    "a VR that is none": image(header=[[], [[0x00080060, "XX", "x"]]]),
    "a number that is no text": image(header=[[], [[0x00280030, "DS", 1]]]),
    "a list in a list": image(header=[[], [[0x00080060, "CS", [["x"]]]]]),
    "bytes that are none": image(header=[[], [[0x00080060, "OB", {"b": "%"}]]]),
    "a deep header": image(header=[[], deep(50)]),
}
TRUTH = image()
#: A volume of three slices: two lie in the files of 40 and 32 bytes, one in the answer.
PLAIN: list[Any] = [[0, 8, "<u2", [2, -1024, "<i2"]], [1, 0, "<u2", None], [-1, 0, "<u2", [1, 0, "<i2"]]]


def slices(*changed: Any, kind: str = "<i2") -> list[Any]:
    """The volume with a first slice that is another."""
    return image(pixels=[kind, [3, 4, 4], [list(changed), *PLAIN[1:]]])


#: How it lies about slices -> what it answers.
SLICES: dict[str, Any] = {
    "a slice past the end": slices(0, 9, "<u2", None),
    "a slice before the beginning": slices(0, -1, "<u2", None),
    "a slice of large words": slices(0, 0, "<i4", None),
    "a slice in no file": slices(2, 0, "<u2", None),
    "a slice before the first file": slices(-2, 0, "<u2", None),
    "two slices in a file": slices(1, 0, "<u2", None),
    "the same slice of the answer twice": slices(-1, 0, "<u2", None),
    "a slice past the answer": slices(-1, 1 << 20, "<u2", None),
    "a file that is no number": slices("0", 8, "<u2", None),
    "a place that is no number": slices(0, 8.0, "<u2", None),
    "a slice of objects": slices(0, 8, "|O", None),
    "a slice without a rescale": slices(0, 8, "<u2"),
    "a slope that is no whole number": slices(0, 8, "<u2", [0.5, 0, "<i2"]),
    "an endless intercept": slices(0, 8, "<u2", [1, 1 << 40, "<i2"]),
    "a rescale to fractions": slices(0, 8, "<u2", [1, 0, "<f4"]),
    "a rescale to objects": slices(0, 8, "<u2", [1, 0, "|O"]),
    "a volume of large words": slices(*PLAIN[0], kind="<i8"),
    "too few slices": image(pixels=["<i2", [3, 4, 4], PLAIN[:2]]),
    "slices that are none": image(pixels=["<i2", [3, 4, 4], [1, 2, 3]]),
}
TRUE_SLICES = slices(*PLAIN[0])
SOCK: socket.socket  # to the service
MEMORY: int  # for answers


def answer(value: Any) -> int:
    """Lay an answer and a page of pixels into the memory."""
    head = json.dumps(value).encode()
    write(MEMORY, head)
    write(MEMORY, bytes(PAGE), -(-len(head) // PAGE) * PAGE)
    return len(head)


def nested() -> None:
    """JSON so deep that a parser which recurses has no end."""
    write(MEMORY, b"[" * (1 << 20))
    say(SOCK, Said.DONE, 1 << 20)


def cut() -> None:
    """Memory that ends before what was promised."""
    size = answer(TRUTH)
    os.ftruncate(MEMORY, size - 1)
    say(SOCK, Said.DONE, size)


def talk() -> None:
    """Words without end."""
    while True:
        say(SOCK, Said.BEGIN, 0)


def ask() -> None:
    """Questions without end."""
    while True:
        say(SOCK, Said.NEXT)
        take(SOCK)


def large() -> int:
    """An answer that is not copied."""
    size = answer(TRUTH)
    os.ftruncate(MEMORY, 32 << 20)
    return size


def mapped() -> None:
    """A large answer to which it can write as long as it likes."""
    size = large()
    kept = mmap.mmap(MEMORY, PAGE)
    say(SOCK, Said.DONE, size)
    take(SOCK)
    kept.close()


def held() -> None:
    """A large answer to which it writes when the service has looked at it."""
    say(SOCK, Said.DONE, large())
    _, (memory,) = take(SOCK)  # the next job
    try:
        os.pwrite(MEMORY, b"\xff" * PAGE, PAGE)
    except PermissionError:
        text = b"PermissionError at liar.py:1"
        write(memory, text)
        say(SOCK, Said.FAILED, len(text))


def more() -> None:
    """More slices than were asked for."""
    say(SOCK, Said.NEXT)
    take(SOCK)
    say(SOCK, Said.PART, answer([[["<u2", [9, 4, 4], 0], *IMAGE[1:]]]))


def error() -> None:
    """An error whose text names a patient."""
    text = b"KeyError: Canary^Patient"
    write(MEMORY, text)
    say(SOCK, Said.FAILED, len(text))


#: How it speaks -> what it does.
WORDS: dict[str, Callable[[], Any]] = {
    "deep JSON": nested,
    "memory that was cut": cut,
    "words without end": talk,
    "questions without end": ask,
    "an unknown word": lambda: SOCK.send(b"\xff" * 8),
    "half a word": lambda: SOCK.send(b"\4"),
    "a long word": lambda: SOCK.send(b"\4" * 9),
    "a file that was not given": lambda: say(SOCK, Said.BEGIN, 7),
    "ready again": lambda: say(SOCK, Said.READY),
    "an endless head": lambda: say(SOCK, Said.DONE, 0xFFFFFFFF),
    "no head": lambda: say(SOCK, Said.DONE, 0),
    "a part that nobody asked for": lambda: say(SOCK, Said.PART, answer([IMAGE])),
    "a part of more slices": more,
}


def main() -> None:
    """Take one job, and lie about it."""
    say(SOCK, Said.READY)
    take(SOCK)  # the job
    say(SOCK, Said.NEXT)
    name = json.loads(take(SOCK)[0])[0][0]["name"]
    if name in WORDS:
        WORDS[name]()
    elif name == "memory that stays mapped":
        mapped()
    elif name == "memory that stays open":
        held()
    elif name == "an error":
        error()
    else:
        say(SOCK, Said.DONE, answer({**LIES, **SLICES, "true slices": TRUE_SLICES}.get(name, TRUTH)))
    take(SOCK)


if __name__ == "__main__":
    SOCK, MEMORY = socket.socket(fileno=0), int(sys.argv[2])
    main()
