"""What a viewer wants of objects, parsed and decoded in a child of its own: no study waits for who looks at it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from typing import Any

from wetread.acquire.rendering import Window
from wetread.contain.children import OneChild
from wetread.contain.handover import read
from wetread.contain.process import POSSIBLE
from wetread.contain.shown import Drawn, Shown, drawn, shown, told
from wetread.contain.talk import Body
from wetread.errors import REFUSALS, DecoderDied, NotRead
from wetread.records import Pixels, Segmentation


class Viewer(OneChild):
    """Asks one child."""

    def metadata(self, files: Iterable[tuple[str, bytes]]) -> list[str]:
        """Return the attributes of objects as DICOM JSON.

        Parameters
        ----------
        files
            Address and bytes of each.

        Returns
        -------
        list of str
            "" for one that cannot be parsed.

        Raises
        ------
        DecoderDied
            The child ended over one of them.
        """
        if not POSSIBLE:
            return [told(url, data, self._settings) for url, data in files]
        return self._ask("metadata", (({"url": url}, data) for url, data in files), _texts)

    def explicit(self, data: bytes) -> bytes:
        """Return an object in another encoding: `wetread.acquire.plain.explicit`, which names the errors, too."""
        (made,) = self._show(data, what="explicit")
        return made.tobytes()

    def bulk(self, data: bytes, tag: int) -> list[bytes]:
        """Return the value of an attribute: `wetread.acquire.view.bulk`, which names the errors, too."""
        return [one.tobytes() for one in self._show(data, what="bulk", tag=tag)]

    def frames(self, data: bytes, numbers: Sequence[int], stored: bool) -> list[bytes]:
        """Return frames: `wetread.acquire.view.frames`, which names the errors, too."""
        return [one.tobytes() for one in self._show(data, what="frames", numbers=list(numbers), stored=stored)]

    def picture(self, data: bytes, frame: int, window: Window | None) -> Pixels:
        """Return one frame for people: `wetread.acquire.rendering.rendered`, which names the errors, too."""
        (made,) = self._show(data, what="picture", frame=frame, window=window and list(astuple(window)))
        return made

    def segmentation(self, data: bytes) -> Segmentation:
        """Read a segmentation: `wetread.acquire.segmentation.segmentation`, which names the errors, too."""
        if POSSIBLE:
            refusal, made = self._ask("segmentation", iter([({}, data)]), _drawn)
        else:
            refusal, made = drawn(data, self._settings)
        if refusal is not None or made is None:
            raise NotRead(refusal.code, refusal.detail) if refusal is not None else DecoderDied("LIE")
        return made

    def _show(self, data: bytes, **asked: Any) -> list[Pixels]:
        if POSSIBLE:
            code, planes = self._ask("show", iter([({}, data)]), _shown, **asked)
        else:
            code, planes = shown(asked, data, self._settings)
        if code:
            raise NotRead(code)
        return [plane.pixels for plane in planes]


def _drawn(head: bytes, body: Body) -> Drawn:
    refusal, made = read(head, Drawn, body)
    if (refusal is None) == (made is None):
        raise ValueError("expected a refusal or a segmentation")
    if made is not None and len(made.frames) != len(made.pixels):
        raise ValueError("expected pixels of each frame")
    return refusal, made


def _shown(head: bytes, body: Body) -> Shown:
    code, planes = read(head, Shown, body)
    if code and code not in REFUSALS:
        raise ValueError("expected a refusal code")
    if any(plane.pixels.dtype != "u1" for plane in planes):
        raise ValueError("expected bytes")
    return code, planes


def _texts(head: bytes, _body: Body) -> list[str]:
    """Expect texts that are JSON objects, or nothing."""
    texts = json.loads(head)
    if not isinstance(texts, list):
        raise ValueError("expected a list")
    for text in texts:
        if not isinstance(text, str) or (text and not isinstance(json.loads(text), dict)):
            raise ValueError("expected objects of JSON")
    return texts
