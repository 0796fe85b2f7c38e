"""DCMTK and Orthanc as peers by TLS, both directions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests import peers
from tests.certificates import Authority, Side
from tests.wire.objects import film
from tests.wire.test_listener import Bench
from tests.wire.test_peers import pixels, write
from wetread.errors import PeerUnreachable
from wetread.settings import Destination, Settings, load
from wetread.wire.access import check_exposure
from wetread.wire.dimse import echo, send

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Side:
    return authority.issue("ours")


@pytest.fixture(scope="module")
def theirs(authority: Authority) -> Side:
    return authority.issue("theirs")


@pytest.fixture
def bench(ours: Side) -> Iterator[Bench]:
    made = Bench(replace(Settings(port=0, peer_timeout_s=5.0), **ours.settings))
    yield made
    made.listener.stop(0.5)


@pytest.fixture(scope="module")
def orthanc(theirs: Side, tmp_path_factory: pytest.TempPathFactory) -> Iterator[peers.Orthanc]:
    given = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(theirs.certificate),
        "DicomTlsPrivateKey": str(theirs.key),
        "DicomTlsTrustedCertificates": str(theirs.authority),
    }
    with peers.orthanc(tmp_path_factory.mktemp("orthanc"), **given) as running:
        yield running


def options(side: Side) -> list[str | Path]:
    """How DCMTK's programs are told of TLS."""
    return ["+tls", side.key, side.certificate, "+cf", side.authority, "+pz"]


def test_echoscu_and_storescu(bench: Bench, theirs: Side, tmp_path: Path) -> None:
    place = ["-aec", "WETREAD", "127.0.0.1", str(bench.listener.port)]
    asked = peers.dcmtk("echoscu", *options(theirs), *place)
    assert asked.returncode == 0, asked.stderr
    paths = write(tmp_path, 3)
    sent = peers.dcmtk("storescu", *options(theirs), *place, *paths)
    assert sent.returncode == 0, sent.stderr
    assert [kept.data for kept in bench.objects] == [path.read_bytes() for path in paths]


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_profiles_of_dcmtk(bench: Bench, theirs: Side, profile: str) -> None:
    given = [*options(theirs)[:-1], profile, "-aec", "WETREAD", "127.0.0.1", str(bench.listener.port)]
    asked = peers.dcmtk("echoscu", *given)
    assert asked.returncode == 0, asked.stderr


def test_echoscu_without_a_certificate_or_without_tls(bench: Bench, theirs: Side) -> None:
    place = ["-aec", "WETREAD", "127.0.0.1", str(bench.listener.port)]
    anonymous = peers.dcmtk("echoscu", "+tla", "+cf", theirs.authority, *place)
    assert anonymous.returncode != 0
    plain = peers.dcmtk("echoscu", *place)
    assert plain.returncode != 0
    assert "Association Rejected" in plain.stderr
    assert peers.dcmtk("echoscu", *options(theirs), *place).returncode == 0


def test_storescp(ours: Side, theirs: Side, tmp_path: Path) -> None:
    with peers.storescp(tmp_path / "received", *options(theirs)) as port:
        destination = Destination("STORESCP", "127.0.0.1", port, tls=True, **ours.settings)
        assert echo(destination) < 5.0
        assert send(destination, [film(instance=f"1.2.3.1.{n}", size=200_000) for n in range(3)]) == [0] * 3
        with pytest.raises(PeerUnreachable, match="TLS"):
            echo(Destination("STORESCP", "127.0.0.1", port), timeout_s=5.0)
    received = sorted((tmp_path / "received").iterdir())
    assert [pixels(path.read_bytes()) for path in received] == [pixels(film(size=200_000))] * 3


def test_tls_to_a_plain_storescp(ours: Side, tmp_path: Path) -> None:
    with peers.storescp(tmp_path / "received") as port:
        with pytest.raises(PeerUnreachable, match="speak TLS at this port"):
            echo(Destination("STORESCP", "127.0.0.1", port, tls=True, **ours.settings), timeout_s=5.0)
        assert echo(Destination("STORESCP", "127.0.0.1", port)) < 5.0


def test_the_commands_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page for administrators: its authority, its settings, and its call with DCMTK."""
    peers.require("openssl", "openssl")
    page = (Path(__file__).parents[2] / "docs/how-to/connect.md").read_text(encoding="utf-8")
    page = page.replace("wetread.example", "localhost").replace("pacs.example", "localhost")
    (script,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    subprocess.run(["bash", "-ec", script], check=True, capture_output=True, timeout=30)
    shutil.copy("node.pem", "ct1.pem")
    shutil.copy("node.key", "ct1.key")
    for number, lines in enumerate(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)):
        (tmp_path / f"{number}.toml").write_text(lines)
    assert [peer.ae_title for peer in load(tmp_path / "0.toml", {}).peers] == ["CT1", "PACS", "RIS", "MR1", "*"]
    check_exposure(load(tmp_path / "0.toml", {}))
    settings = load(tmp_path / "1.toml", {}, port=0)
    bench = Bench(settings)
    try:
        (call,) = re.findall(r"\$ echoscu (.*) localhost 11112\n", page)
        asked = peers.dcmtk("echoscu", *call.split(), "localhost", str(bench.listener.port))
        assert asked.returncode == 0, asked.stderr
        back = replace(settings.destinations[0], ae_title="WETREAD", port=bench.listener.port)
        assert echo(back) < 5.0
    finally:
        bench.listener.stop(0.5)


def test_orthanc_takes_what_we_send(orthanc: peers.Orthanc, ours: Side) -> None:
    destination = Destination("ORTHANC", "127.0.0.1", orthanc.port, tls=True, **ours.settings)
    assert echo(destination) < 5.0
    assert send(destination, [film("1.2.3", f"1.2.3.1.{n}") for n in range(3)]) == [0] * 3
    assert len(orthanc.call("/instances")) == 3


def test_orthanc_sends_to_us(orthanc: peers.Orthanc, bench: Bench) -> None:
    item = film("1.2.9", "1.2.9.1.1", 300_000)
    made = orthanc.call("/instances", item)
    peer = {"AET": "WETREAD", "Host": "127.0.0.1", "Port": bench.listener.port, "UseDicomTls": True}
    orthanc.call("/modalities/wetread", json.dumps(peer).encode(), "PUT")
    assert orthanc.call("/modalities/wetread/echo", b"") == {}
    orthanc.call("/modalities/wetread/store", made["ID"].encode())
    assert [pixels(kept.data) for kept in bench.objects] == [pixels(item)]
