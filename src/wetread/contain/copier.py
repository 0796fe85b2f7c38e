"""De-identified copies of images, made in a child of its own: no study waits for them.

The child knows no secret.  It says which names an image holds, is told what stands for each, and makes the copy.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from wetread.acquire.deidentify import Answers, Asked, Profile
from wetread.contain.children import OneChild
from wetread.contain.copied import Copy, Question, copied, question
from wetread.contain.handover import read
from wetread.contain.process import POSSIBLE, Files
from wetread.contain.talk import Body
from wetread.errors import BLOCKED, Blocked, DecoderDied

Made = TypeVar("Made")


class Copier(OneChild):
    """Asks one child."""

    def asked(self, data: bytes, profile: Profile) -> Asked:
        """Return what the ledger must be asked for a copy: `wetread.acquire.deidentify.asked`, which names the errors.

        Raises
        ------
        Blocked
            It must not leave.
        DecoderDied
            The child ended over it.
        """
        told = _told(profile)
        code, made = self._tell("question", told, data, _question) if POSSIBLE else question(told, data)
        return _unless(code, made)

    def answered(self, data: bytes, profile: Profile, answers: Answers) -> bytes:
        """Return the copy: `wetread.acquire.deidentify.answered`; raises as `asked`."""
        told = _told(profile) | {"answers": asdict(answers)}
        code, planes = self._tell("copy", told, data, _copied) if POSSIBLE else copied(told, data, self._settings)
        return _unless(code, planes[0].pixels if planes else None).tobytes()

    def _tell(self, do: str, told: dict[str, Any], data: bytes, made: Callable[[bytes, Body], Made]) -> Made:
        files: Files = iter([({}, json.dumps(told).encode()), ({}, data)])  # names are too long for a message
        return self._ask(do, files, made)


def _told(profile: Profile) -> dict[str, Any]:
    return {"profile": asdict(profile) | {"options": sorted(profile.options)}}


def _unless(code: str, made: Made | None) -> Made:
    if code:
        raise Blocked(code)
    if made is None:
        raise DecoderDied("LIE")
    return made


def _question(head: bytes, body: Body) -> Question:
    made: Question = read(head, Question, body)
    return _checked(made)


def _copied(head: bytes, body: Body) -> Copy:
    made: Copy = read(head, Copy, body)
    if any(plane.pixels.dtype != "u1" for plane in made[1]):
        raise ValueError("expected bytes")
    return _checked(made)


def _checked(made: Made) -> Made:
    code = made[0]  # type: ignore[index]
    if code and code not in BLOCKED:
        raise ValueError("expected a reason")
    return made
