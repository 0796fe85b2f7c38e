"""Documents go to Orthanc by C-STORE and STOW-RS and come back by QIDO-RS and WADO-RS: not a byte may have changed."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wetread.evidence import stored
from wetread.records import Document
from wetread.settings import Destination
from wetread.wire import dimse, media, webstore
from wetread.wire.multipart import Multipart
from wetread.wire.part10 import meta

_PLUGIN = "libOrthancDicomWeb.so"
_PLACES = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc/plugins", "/usr/local/share/orthanc/plugins")
#: Orthanc takes label maps by C-STORE only where unknown classes are allowed.
_SETTINGS = {"DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "UnknownSopClassAccepted": True}
MOST_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Archive:
    """A running Orthanc with its DICOMweb plug-in."""

    dicom: Destination
    web: Destination

    def there_and_back(self, study_uid: str, documents: Iterable[Document], by_web: bool) -> Counter[str]:
        """Send the documents of one result one way, find and fetch them; count what is not as it was."""
        given = {one.sop_instance_uid: one.data for one in documents}
        way = "STOW-RS" if by_web else "C-STORE"
        send = webstore.send if by_web else dimse.send
        statuses = send(self.web if by_web else self.dicom, list(given.values()), timeout_s=60.0)
        told = Counter({way: len(given), f"{way} errors": sum(status != 0 for status in statuses)})
        found = self._found(study_uid)
        told += Counter({"QIDO-RS": len(given), "QIDO-RS errors": len(given.keys() ^ found)})
        back = {meta(one).sop_instance_uid: one for one in self._fetched(study_uid)}
        changed = sum(_body(data) != _body(back.get(uid, b"")) for uid, data in given.items())
        return told + Counter({"WADO-RS": len(given), "WADO-RS errors": changed})

    def _found(self, study_uid: str) -> set[str]:
        answer = self._get(f"/studies/{study_uid}/instances?limit=1000", media.JSON)[1]
        return {one["00080018"]["Value"][0] for one in json.loads(answer)}

    def _fetched(self, study_uid: str) -> list[bytes]:
        kind, body = self._get(f"/studies/{study_uid}", f'{media.MULTIPART}; type="{media.DICOM}"; transfer-syntax=*')
        (told,) = media.parsed(kind)
        return [bytes(part.body) for part in Multipart(told.boundary, MOST_BYTES).feed(body)]

    def _get(self, path: str, accept: str) -> tuple[str, bytes]:
        request = urllib.request.Request(self.web.url + path, headers={"Accept": accept})  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return str(answer.headers["Content-Type"]), answer.read()


def _body(data: bytes) -> bytes:
    """The data set behind the file meta information, which an archive may write anew."""
    return data[meta(data).offset :] if data else b""


@contextmanager
def archive() -> Iterator[Archive]:
    """Run an archive until the block ends.

    Raises
    ------
    FileNotFoundError
        Orthanc or its plug-in is not installed.
    """
    plugins = [path for place in _PLACES if (path := Path(place) / _PLUGIN).exists()]
    if not plugins:
        raise FileNotFoundError(f"{_PLUGIN}: expected the plug-in, found none; install the package orthanc-dicomweb")
    with stored.orthanc(**_SETTINGS, Plugins=[str(plugins[0])]) as running:
        url = f"http://127.0.0.1:{running.http_port}/dicom-web"
        yield Archive(running.address, Destination("ORTHANC-WEB", url=url))
