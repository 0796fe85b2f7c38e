"""What a viewer wants of objects, parsed and decoded in a child of its own: no study waits for who looks at it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from wetread.acquire import view
from wetread.contain.children import Children
from wetread.contain.process import POSSIBLE
from wetread.contain.talk import Body
from wetread.errors import NotRead
from wetread.settings import Settings


class Viewer:
    """Asks one child; it starts with the first question."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children = Children(replace(settings, decoders=1))

    def close(self) -> None:
        """End the child."""
        self._children.close()

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
        job = {"do": "metadata", "settings": {"max_pixels": self._settings.max_pixels}}
        return self._children.ask(job, (({"url": url}, data) for url, data in files), _texts)


def told(url: str, data: bytes, settings: Settings) -> str:
    """Return the attributes of one object, or "" if it cannot be parsed."""
    try:
        return view.metadata(data, url, settings)
    except NotRead:
        return ""


def _texts(head: bytes, _body: Body) -> list[str]:
    """Expect texts that are JSON objects, or nothing."""
    texts = json.loads(head)
    if not isinstance(texts, list):
        raise ValueError("expected a list")
    for text in texts:
        if not isinstance(text, str) or (text and not isinstance(json.loads(text), dict)):
            raise ValueError("expected objects of JSON")
    return texts
