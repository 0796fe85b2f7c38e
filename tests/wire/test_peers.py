"""DCMTK and Orthanc as peers of the wire alone."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from tests import peers
from tests.wire.objects import film
from tests.wire.test_listener import Bench
from wetread.settings import Destination
from wetread.wire.dimse import echo, send

pytestmark = pytest.mark.peer


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.listener.stop(0.5)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.Orthanc]:
    with peers.orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


def write(folder: Path, number: int, size: int = 300_000) -> list[Path]:
    paths = [folder / f"{n}.dcm" for n in range(number)]
    for n, path in enumerate(paths):
        path.write_bytes(film("1.2.3", f"1.2.3.1.{n + 1}", size))
    return paths


def pixels(data: bytes) -> bytes:
    return bytes(pydicom.dcmread(io.BytesIO(data)).PixelData)


def test_echoscu(bench: Bench) -> None:
    port = str(bench.listener.port)
    assert peers.dcmtk("echoscu", "-aec", "WETREAD", "--repeat", "3", "127.0.0.1", port).returncode == 0
    refused = peers.dcmtk("echoscu", "-aec", "OTHER", "127.0.0.1", port)
    assert refused.returncode != 0
    assert "Called AE Title Not Recognized" in refused.stderr


@pytest.mark.parametrize("pdu", ["4096", "131072"])
def test_storescu(bench: Bench, tmp_path: Path, pdu: str) -> None:
    paths = write(tmp_path, 3)
    sent = peers.dcmtk("storescu", "-aec", "WETREAD", "--max-pdu", pdu, "127.0.0.1", str(bench.listener.port), *paths)
    assert sent.returncode == 0, sent.stderr
    assert [kept.data for kept in bench.objects] == [path.read_bytes() for path in paths]
    assert bench.ended.wait(2)
    assert bench.ends == [(1, True)]


def test_storescu_that_aborts(bench: Bench, tmp_path: Path) -> None:
    (path,) = write(tmp_path, 1)
    peers.dcmtk("storescu", "--abort", "-aec", "WETREAD", "127.0.0.1", str(bench.listener.port), path)
    assert bench.ended.wait(2)
    assert bench.ends == [(1, False)]


def test_storescp(tmp_path: Path) -> None:
    with peers.storescp(tmp_path / "received") as port:
        destination = Destination("STORESCP", "127.0.0.1", port)
        assert echo(destination) < 5.0
        assert send(destination, [film(instance=f"1.2.3.1.{n}", size=200_000) for n in range(3)]) == [0] * 3
    received = sorted((tmp_path / "received").iterdir())
    assert len(received) == 3
    assert pixels(received[0].read_bytes()) == pixels(film(size=200_000))


def test_orthanc_takes_what_we_send(orthanc: peers.Orthanc) -> None:
    destination = Destination("ORTHANC", "127.0.0.1", orthanc.port)
    assert echo(destination) < 5.0
    items = [film("1.2.3", f"1.2.3.1.{n}") for n in range(3)]
    assert send(destination, items) == [0] * 3
    instances = orthanc.call("/instances")
    assert len(instances) == 3
    stored = [orthanc.call(f"/instances/{one}/simplified-tags")["SOPInstanceUID"] for one in instances]
    assert sorted(stored) == ["1.2.3.1.0", "1.2.3.1.1", "1.2.3.1.2"]


def test_orthanc_sends_to_us(orthanc: peers.Orthanc, bench: Bench) -> None:
    item = film("1.2.9", "1.2.9.1.1", 300_000)
    made = orthanc.call("/instances", item)
    peer = {"AET": "WETREAD", "Host": "127.0.0.1", "Port": bench.listener.port}
    orthanc.call("/modalities/wetread", json.dumps(peer).encode(), "PUT")
    assert orthanc.call("/modalities/wetread/echo", b"") == {}
    orthanc.call("/modalities/wetread/store", made["ID"].encode())
    assert [kept.sop_instance_uid for kept in bench.objects] == ["1.2.9.1.1"]
    assert pixels(bench.objects[0].data) == pixels(item)
